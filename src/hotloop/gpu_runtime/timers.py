"""Calls that are to come: one a name, so that a newer one takes the older one's place."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Timers:
    """Those of one owner."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._handles: dict[str, asyncio.TimerHandle] = {}

    def later(self, name: str, delay_s: float, call: Callable[[], None]) -> None:
        """Make a call in a while."""
        self.cancel(name)
        self._handles[name] = self._loop.call_later(delay_s, self._rang, name, call)

    def cancel(self, name: str) -> None:
        """Do not make it, if it was to come."""
        handle = self._handles.pop(name, None)
        if handle is not None:
            handle.cancel()

    def cancel_all(self) -> None:
        """Make none of them."""
        for handle in self._handles.values():
            handle.cancel()

    def _rang(self, name: str, call: Callable[[], None]) -> None:
        del self._handles[name]  # a name may come once only, as a worker's does
        call()
