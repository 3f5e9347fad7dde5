"""What a session does at the same time. Nothing of it outlives the session, and what goes wrong ends it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


class Tasks:
    """Holds tasks until they are done."""

    def __init__(self, failed: Callable[[BaseException], None]) -> None:
        """Prepare.

        Args:
            failed: Told what a task raised.
        """
        self._failed = failed
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> None:
        """Begin some work; `close` ends it."""
        self.hold(asyncio.create_task(work, name=name))

    def hold(self, task: asyncio.Task[Any]) -> None:
        """As `spawn`, for what runs already."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.guard(task)

    def guard(self, task: asyncio.Task[Any]) -> None:
        """Tell what a task raises, and leave its end to somebody else."""
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(error)

    async def close(self) -> None:
        """End what still runs."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
