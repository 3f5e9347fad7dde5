"""Whether a batch that could leave waits for others: only if they come so soon that all are served earlier.

As many are waited for as went together last: who sends one request after the other has nobody to wait for.
"""

from __future__ import annotations

import math

from hotloop.gpu_runtime.scheduler.cost import CostModel

# Of a latency target: the call under way when a request comes and the one that it goes in take up to this much each. The
# rest is for a machine that is slower than it was a moment ago.
CALL_SHARE = 0.45
_NEWEST_WEIGHT = 0.1
_MAX_GAPS = 2.0  # nobody came for twice the usual gap: the rush is over


class Gather:
    """Decides how long one endpoint's batches wait, from its arrivals and what its calls cost.

    Args:
        max_wait_s: The longest that the oldest waits for others.
        target_s: How soon after its arrival a request should be answered; 0 for no such wish. With one, it is what
            bounds the wait.

    Attributes:
        may_wait: Whether it ever waits.
    """

    __slots__ = ("_gap_s", "_last_arrival_s", "_last_count", "_max_wait_s", "may_wait", "target_s")

    def __init__(self, max_wait_s: float, target_s: float) -> None:
        self.target_s = target_s
        self.may_wait = max_wait_s > 0 or target_s > 0
        self._max_wait_s = max_wait_s
        self._gap_s = math.inf
        self._last_arrival_s = -math.inf
        self._last_count = 0

    def arrived(self, at_s: float) -> None:
        """Take note of an arrival."""
        gap_s = max(0.0, at_s - self._last_arrival_s)
        self._last_arrival_s = max(at_s, self._last_arrival_s)
        if math.isinf(self._gap_s):
            self._gap_s = gap_s
        else:
            self._gap_s += _NEWEST_WEIGHT * (gap_s - self._gap_s)

    def left(self, count: int) -> None:
        """Take note of how many left together."""
        self._last_count = count

    def due_at_s(self, count: int, oldest_at_s: float, units_with_one_more: float, cost: CostModel) -> float:
        """Say when a batch that is not full should leave: in the past if it should not wait.

        One more costs each that waits the time until it comes. It gains what is left of the call that it would
        otherwise wait for.
        """
        took_s = cost.predict_s(units_with_one_more)
        if not cost.is_known or count >= self._last_count or (count + 1) * self._gap_s >= took_s:
            return -math.inf
        longest_s = 2 * CALL_SHARE * self.target_s - took_s if self.target_s > 0 else self._max_wait_s
        return min(oldest_at_s + longest_s, self._last_arrival_s + _MAX_GAPS * self._gap_s)

    def most_units(self, cost: CostModel, backlog_s: float) -> float:
        """Say how large a call may be for the latency target; infinite without one.

        With more waiting than the target leaves time for it can't be met: then throughput is what brings it back.
        """
        if self.target_s <= 0 or not cost.is_known or backlog_s > self.target_s:
            return math.inf
        return cost.units_within(CALL_SHARE * self.target_s)
