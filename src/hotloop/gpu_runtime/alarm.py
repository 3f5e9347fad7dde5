"""A timer that is asked for more than one time, and rings at the first of them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable


class Alarm:
    """Rings once for all that asked, then waits to be asked again.

    Args:
        clock: Gives seconds, monotonic.
        ring: Called when it is time.
    """

    __slots__ = ("_at_s", "_clock", "_ring", "_timer")

    def __init__(self, clock: Callable[[], float], ring: Callable[[], None]) -> None:
        self._clock = clock
        self._ring = ring
        self._at_s = math.inf
        self._timer: asyncio.TimerHandle | None = None

    def by(self, at_s: float) -> None:
        """Ring at a time, or earlier if it will anyway."""
        if at_s < self._at_s:
            self.set(at_s)

    def set(self, at_s: float) -> None:
        """Ring at a time and not before; never if it is infinite."""
        if at_s == self._at_s:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._at_s = at_s
        if at_s < math.inf:
            delay_s = max(0.0, at_s - self._clock())
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._rang)

    def _rang(self) -> None:
        self._timer, self._at_s = None, math.inf
        self._ring()
