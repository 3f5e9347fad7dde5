"""How long requests are held while nothing can leave: until a time-out, or their own deadline."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hotloop.gpu_runtime.alarm import Alarm
from hotloop.gpu_runtime.calls import Pending


class Holding:
    """Watches those that wait, for as long as nothing leaves.

    Args:
        clock: Gives seconds, monotonic.
        timeout_s: The longest that a request is held.
        held: Gives those that wait.
        expire: Called with one that was held for too long.
        miss: Called with one whose deadline passed, and the time.

    Attributes:
        is_over: Says whether requests leave, so that nothing is held.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        timeout_s: float,
        held: Callable[[], Mapping[int, Pending]],
        expire: Callable[[Pending], object],
        miss: Callable[[Pending, float], object],
    ) -> None:
        self.is_over: Callable[[], bool] = lambda: False
        self._clock = clock
        self._timeout_s = timeout_s
        self._held = held
        self._expire = expire
        self._miss = miss
        self._since_s = clock()
        self._alarm = Alarm(clock, self._ring)

    def begin(self) -> None:
        """Take note that nothing leaves from now on."""
        self._since_s = self._clock()

    def watch(self, pending: Pending) -> None:
        """Look at a request after the time-out, or when its deadline passes."""
        self._watch(pending.wants.deadline_at_s)

    def watch_all(self) -> None:
        """Look at all of them so."""
        deadlines_s = [pending.wants.deadline_at_s for pending in self._held().values()]
        if deadlines_s:
            self._watch(min(deadlines_s))

    def _watch(self, deadline_at_s: float) -> None:
        self._alarm.by(min(self._clock() + self._timeout_s, deadline_at_s))

    def _ring(self) -> None:
        if self.is_over():
            return
        now_s = self._clock()
        for pending in list(self._held().values()):
            if pending.wants.deadline_at_s <= now_s:
                self._miss(pending, now_s)
            elif max(pending.arrived_at_s, self._since_s) + self._timeout_s <= now_s:
                self._expire(pending)
        left = self._held().values()
        if left:
            self._alarm.by(min(max(pending.arrived_at_s, self._since_s) for pending in left) + self._timeout_s)
            self.watch_all()
