"""Watching where there is no inotify: watchfiles, behind the same interface. It can't say when a writer is done.

A folder named in an event is read again as a whole: what is made in a new folder before it is watched has no event
of its own (a known race of the library).
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from watchfiles import awatch  # pyright: ignore[reportUnknownVariableType]  # anyio is not installed for checks

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet
    from pathlib import Path

    from hotloop.devloop.ignore import Ignore

DEBOUNCE_MS = 20
STEP_MS = 5


class WatchfilesWatcher:
    """Gathers changed paths from a task of its own."""

    def __init__(self, root: Path, ignore: Ignore) -> None:
        self._root = root
        self._ignore = ignore
        self._changed: set[str] = set()
        self._failure: BaseException | None = None
        self._ready = asyncio.Event()
        self._stop = asyncio.Event()
        self._task = asyncio.create_task(self._gather(), name="watchfiles")
        self._task.add_done_callback(self._ended)

    async def wait(self) -> None:
        """Return when something changed.

        Raises:
            OSError: The system does not let it watch.
        """
        await self._ready.wait()
        if self._failure is not None:
            raise self._failure

    def take(self) -> tuple[set[str], bool]:
        """The paths gathered so far. The library drops the event that says it lost some, so that is never known."""
        self._ready.clear()
        changed, self._changed = self._changed, set()
        return changed, False

    def unclosed(self) -> AbstractSet[str]:
        """None: it can't say."""
        return frozenset()

    def rescan(self) -> None:
        """Nothing to do: it watches everything."""

    def close(self) -> None:
        """Stop watching."""
        self._stop.set()
        self._task.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._failure = task.exception()
            self._ready.set()

    def _relative(self, name: str) -> str:
        return os.path.relpath(name, self._root).replace(os.sep, "/")

    async def _gather(self) -> None:
        watching = awatch(
            self._root,
            watch_filter=None,
            debounce=DEBOUNCE_MS,
            step=STEP_MS,
            rust_timeout=0,  # its time-out forgets what has come so far
            stop_event=self._stop,
        )
        async for changes in watching:
            self._changed.update(self._relative(name) for _, name in changes)
            self._changed.discard(".")
            self._ready.set()
