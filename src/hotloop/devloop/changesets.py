"""The changesets of a session: read from the disk when they are wanted, numbered, sent, and taken back."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from hotloop import clock
from hotloop.devloop.machine_events import Acked, Dangerous, Refused, Snapshotted, Unchanged, Undone
from hotloop.devloop.safety import doubt_about_deletion
from hotloop.devloop.undo import Undo
from hotloop.events import Problem
from hotloop.remote_runner.told import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from hotloop.devloop import machine_state
    from hotloop.devloop.index import Index
    from hotloop.devloop.snapshot import Snapshot
    from hotloop.remote_runner.client import AgentSession
    from hotloop.remote_runner.tree import Entry

CONFIRM_HINT = "put the files back; or confirm that they are to go: y and Enter here, or dev sync --confirm"


class Changesets:
    """Makes changesets of what the index finds; what became of each is given as the machine's event."""

    def __init__(self, project: Path, index: Index, agent: AgentSession) -> None:
        self._project = project
        self._index = index
        self._agent = agent
        self._sequence = 0  # the newest
        self._snapshots: dict[int, Snapshot] = {}  # by number: not sent yet
        self._owed: set[str] = set()  # what was refused for no fault of its own goes with the next save
        self._undo = Undo()

    def remember(self, entries: Iterable[Entry]) -> None:
        """Read what edits are about to replace, for `take_back`. Blocks: for a thread of its own."""
        self._undo.contents.read(self._project, entries)

    def read(self, wanted: machine_state.Snapshot) -> Snapshotted | Unchanged | Dangerous:
        """Read a save's paths as they are now."""
        save = wanted.save
        paths = {*save.paths, *self._owed, *(self._index.differences() if save.is_full else ())}
        snapshot = self._index.snapshot(paths)
        now = clock.read_pair()
        if snapshot is None:
            return Unchanged(now.monotonic_s)
        doubt = doubt_about_deletion(
            snapshot.num_known,
            snapshot.num_deleted,
            is_root_there=self._project.is_dir(),
            is_vcs_operation=save.is_vcs,
        )
        if doubt is not None and not wanted.is_confirmed:
            self._index.revert(snapshot)
            return Dangerous(now.monotonic_s, doubt.reason, CONFIRM_HINT)
        self._owed.clear()
        is_estimated = snapshot.is_estimated or save.resumed_s is not None
        saved = clock.save_time(snapshot.saved_at_s, save.seen_s, now, is_estimated=is_estimated)
        return Snapshotted(now.monotonic_s, self._number(snapshot), saved, snapshot.paths, snapshot.size_bytes)

    def take_back(self) -> Undone:
        """Make the changeset that takes the newest edit back; the next time the one before it.

        Raises:
            UsageError: There is none, or what a file held before is not known here.
        """
        undone, snapshot = self._undo.take_back(self._index)
        now = clock.read_pair()
        began = clock.SaveTime(now.monotonic_s, now.wall_s, is_estimated=False)
        return Undone(self._number(snapshot), began, snapshot.paths, snapshot.size_bytes, undone)

    def _number(self, snapshot: Snapshot) -> int:
        self._sequence += 1
        self._snapshots[self._sequence] = snapshot
        return self._sequence

    def sent_for(self, number: int, sequence: int) -> None:
        """Note which iteration a changeset belongs to, before it is pushed: it can be taken back from now on."""
        self._undo.sent(number, self._snapshots[sequence])

    async def push(self, sequence: int) -> Acked | Refused:
        """Have a changeset applied."""
        snapshot = self._snapshots.pop(sequence)
        try:
            applied = await self._agent.push(snapshot.changeset)
        except RefusedError as error:
            self._index.revert(snapshot)
            self._undo.refused(snapshot)
            if not error.path:
                self._owed.update(snapshot.paths)
            problem = Problem("SyncRefused", error.message, hint=error.hint)
            return Refused(time.monotonic(), sequence, problem)
        self._undo.applied(snapshot)
        return Acked(sequence, applied.revision, applied.applied_at_s, self._agent.clock_error_s)
