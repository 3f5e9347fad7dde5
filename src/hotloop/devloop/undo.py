"""Taking edits back on the runner: what each edit replaced, and the contents that it takes to put that back.

Contents are kept in memory, up to a limit: the newest that were sent, and what the files held when the session began.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from typing import TYPE_CHECKING

from hotloop.changes import WHOLE_BYTES, Put, content_digest
from hotloop.errors import UsageError
from hotloop.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from hotloop.devloop.index import Index
    from hotloop.devloop.snapshot import Known, Snapshot
    from hotloop.remote_runner.tree import Entry

MAX_KEPT_BYTES = 32 << 20
MAX_EDITS = 100


class Contents:
    """Contents by digest; those that were put or asked for longest ago go first. May be used from several threads."""

    def __init__(self, max_bytes: int = MAX_KEPT_BYTES) -> None:
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, digest: str, content: bytes) -> None:
        """Keep a content, if it is not too large by itself."""
        with self._lock:
            if len(content) > self._max_bytes:
                return
            self._num_bytes += len(content) - len(self._kept.pop(digest, b""))
            self._kept[digest] = content
            while self._num_bytes > self._max_bytes:
                self._num_bytes -= len(self._kept.popitem(last=False)[1])

    def get(self, digest: str) -> bytes | None:
        """Give a content; None if it is not kept."""
        with self._lock:
            if digest in self._kept:
                self._kept.move_to_end(digest)
            return self._kept.get(digest)

    def read(self, root: Path, entries: Iterable[Entry]) -> None:
        """Read what files hold, code first, then small ones, as far as there is room. Blocks: for a thread of its own."""
        puts = [entry for entry in entries if isinstance(entry, Put) and entry.size_bytes <= WHOLE_BYTES]
        for put in sorted(puts, key=lambda put: (not put.path.endswith(".py"), put.size_bytes)):
            if self._num_bytes + put.size_bytes > self._max_bytes:
                continue
            try:
                content = (root / put.path).read_bytes()
            except OSError:
                continue
            if content_digest(content) == put.digest:  # else it was saved meanwhile
                self.put(put.digest, content)


@frozen
class Edit:
    """What an iteration's changeset replaced: what the workspace had before, by path; None: nothing."""

    number: int
    before: dict[str, Known | None]


class Undo:
    """The edits of a session that can be taken back, newest last."""

    def __init__(self, contents: Contents | None = None) -> None:
        self.contents = contents or Contents()
        self._edits: deque[Edit] = deque(maxlen=MAX_EDITS)
        self._taken: dict[int, Edit] = {}  # by the id of the snapshot that takes it back, until it is applied

    def sent(self, number: int, snapshot: Snapshot) -> None:
        """Note an edit on its way."""
        for digest, content in snapshot.changeset.contents.items():
            self.contents.put(digest, content)
        if id(snapshot) not in self._taken:
            self._edits.append(Edit(number, snapshot.before))

    def applied(self, snapshot: Snapshot) -> None:
        """The runner has it."""
        self._taken.pop(id(snapshot), None)

    def refused(self, snapshot: Snapshot) -> None:
        """The runner did not take it: an edit is none, and one that was to be taken back still can be."""
        taken = self._taken.pop(id(snapshot), None)
        if taken is not None:
            self._edits.append(taken)
            return
        kept = [edit for edit in self._edits if edit.before is not snapshot.before]
        self._edits = deque(kept, maxlen=MAX_EDITS)

    def take_back(self, index: Index) -> tuple[int, Snapshot]:
        """Set the index back to before the newest edit, and that one off the list: the next call goes one further back.

        Returns:
            The number of the edit's iteration, and what to send.

        Raises:
            UsageError: There is none, or what a file held before is not known here.
        """
        if not self._edits:
            msg = "there is no edit to take back"
            raise UsageError(msg, hint="only saves of this session can be, the newest first")
        edit = self._edits[-1]
        target = {path: known.entry if known is not None else None for path, known in edit.before.items()}
        contents: dict[str, bytes] = {}
        for entry in target.values():
            content = self.contents.get(entry.digest) if isinstance(entry, Put) else None
            if isinstance(entry, Put) and content is not None:
                contents[entry.digest] = content
            elif isinstance(entry, Put) and not index.has_content(entry.digest):
                msg = f"what {entry.path} held before #{edit.number} is not known here"
                limits = f"files up to {WHOLE_BYTES >> 20} MiB, {MAX_KEPT_BYTES >> 20} MiB in all, are remembered"
                raise UsageError(msg, hint=f"put it back with your editor or git; {limits}")
        snapshot = index.set_back(target, contents)
        self._edits.pop()
        self._taken[id(snapshot)] = edit
        return edit.number, snapshot
