"""The project's own `.hotloop` folder: history, pins, what the index knew. What can't be kept is said once."""

from __future__ import annotations

import contextlib
import sqlite3
import time
import uuid
from typing import TYPE_CHECKING, Any

from hotloop.devloop import history, pins
from hotloop.errors import HotloopError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hotloop.devloop.index import Index
    from hotloop.events import BenchFinished, Iteration


class Folder:
    """Keeps a session's records. Nothing that goes wrong here stops the loop."""

    def __init__(self, project: Path, notice: Callable[[str, str, str], None]) -> None:
        """Prepare; `open` touches the disk.

        Args:
            project: The project's folder.
            notice: Takes key, text and hint of a finding.
        """
        self._project = project
        self._notice = notice
        self._session = uuid.uuid4().hex[:12]
        self._path: Path | None = None
        self._history: history.History | None = None

    def open(self) -> None:
        """Make the folder and open the history."""
        try:
            self._path = history.make_folder(self._project)
            self._history = history.History(self._path / "history.db")
        except (sqlite3.Error, OSError) as error:
            self._no_history(error)

    def close(self) -> None:
        """Let go of the files."""
        if self._history is not None:
            self._history.close()

    def record(self, iteration: Iteration) -> None:
        """Add an iteration to the history."""
        self._write(lambda kept: kept.add(self._session, iteration))

    def record_bench(self, told: BenchFinished) -> None:
        """Add a bench to the history."""
        bench = history.Bench(
            session=self._session,
            generation=told.generation,
            endpoint=told.endpoint,
            ended_at_s=time.time(),
            num_requests=told.requests,
            num_errors=sum(told.errors.values()),
            requests_per_s=told.requests_per_s,
            p50_s=told.p50_s,
            p99_s=told.p99_s,
        )
        self._write(lambda kept: kept.add_bench(bench))

    def _write(self, write: Callable[[history.History], None]) -> None:
        if self._history is None:
            return
        try:
            write(self._history)
        except (sqlite3.Error, OSError) as error:
            self._history.close()
            self._history = None
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
        file = self._project / ".hotloop" / "history.db"
        self._notice("history", f"{file} can't be written ({error}): this session is not kept", "move the file away")
