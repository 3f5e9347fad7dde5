"""The project's own `.hotloop` folder: history, pins, what the index knew. What can't be kept is said once."""

from __future__ import annotations

import contextlib
import errno
import sqlite3
import uuid
from typing import TYPE_CHECKING, Any

from hotloop.devloop import expected, history, pins
from hotloop.devloop.metrics import Session
from hotloop.devloop.recorder import Recorder
from hotloop.errors import HotloopError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hotloop.devloop.index import Index
    from hotloop.events import Event

PAST_S = 30 * 86400.0  # older iterations say little about the next


class Folder:
    """Keeps a session's records. Nothing that goes wrong here stops the loop."""

    def __init__(self, project: Path, runner: str, notice: Callable[[str, str, str], None]) -> None:
        """Prepare; `open` touches the disk.

        Args:
            project: The project's folder.
            runner: The name of where the app runs.
            notice: Takes key, text and hint of a finding.
        """
        self._project = project
        self._runner = runner
        self._notice = notice
        self._path: Path | None = None
        self._history: history.History | None = None
        self._recorder: Recorder | None = None

    def open(self, began_at_s: float) -> expected.Past:
        """Make the folder, open the history and note that a session began; gives what earlier ones let expect.

        Args:
            began_at_s: When it did, seconds since 1970.
        """
        try:
            self._path = history.make_folder(self._project)
            self._history = history.History(self._path / history.FILE)
            session = Session(uuid.uuid4().hex[:12], began_at_s, self._runner)
            self._recorder = Recorder(self._history, session)
            return expected.of_history(self._history.trips(began_at_s - PAST_S))
        except (sqlite3.Error, OSError) as error:
            self._no_history(error)
            return {}

    def close(self, now_s: float) -> None:
        """Note that the session ended (seconds since 1970) and let go of the files."""
        self._write(lambda recorder: recorder.end(now_s))
        if self._history is not None:
            self._history.close()

    def heard(self, event: Event, now_s: float, offset_s: float, error_s: float) -> None:
        """Add to the history what an event says; see `Recorder.heard`."""
        self._write(lambda recorder: recorder.heard(event, now_s, offset_s, error_s))

    def touched(self, now_s: float, what: str) -> None:
        """Add to the history that the user did something (seconds since 1970)."""
        self._write(lambda recorder: recorder.touched(now_s, what))

    def _write(self, write: Callable[[Recorder], None]) -> None:
        if self._recorder is None:
            return
        try:
            write(self._recorder)
        except (sqlite3.Error, OSError) as error:
            self._no_history(error)

    def keep_index(self, index: Index) -> None:
        """Spare the next start from reading files that did not change."""
        if self._path is not None:
            with contextlib.suppress(OSError):
                index.save(self._path / "index.json")

    def pinned(self) -> list[dict[str, Any]]:
        """The requests that were pinned in earlier sessions."""
        try:
            return pins.load(self._path) if self._path is not None else []
        except HotloopError as error:
            self._notice("pins", error.message, error.hint)
            return []

    def keep_pins(self, requests: list[dict[str, Any]]) -> None:
        """Keep the pinned requests for the next session."""
        if self._path is None:
            return
        try:
            pins.save(self._path, requests)
        except OSError as error:
            self._notice("pins", f"the pinned requests can't be kept: {error}", "")

    def _no_history(self, error: Exception) -> None:
        file = self._project / ".hotloop" / history.FILE
        is_full = _is_full(error)
        if is_full and self._recorder is not None:  # that may pass
            said = f"{file} can't be written, the disk is full: what happens meanwhile is not kept"
            self._notice("history", said, "free some space")
            return
        if self._history is not None:
            self._history.close()
        self._history = self._recorder = None
        hint = "free some space, then start again" if is_full else "move the file away"
        self._notice("history", f"{file} can't be written ({error}): this session is not kept", hint)


def _is_full(error: Exception) -> bool:
    return getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL or (
        isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}
    )
