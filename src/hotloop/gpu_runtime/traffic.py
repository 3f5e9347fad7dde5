"""Tells of requests one by one while they are few, and beyond that once an interval: an event each would be the bottleneck."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from hotloop.events import RequestFinished, RequestsFinished

if TYPE_CHECKING:
    from hotloop.events import Event

INTERVAL_S = 1.0
# In an interval, as many as a person reads. Each costs agent and terminal about 2 ms of CPU, while the next request is served:
# with 50, an endpoint of 12 ms a call took 0.7 ms longer than with 1.
MAX_TOLD_SINGLY = 10
JOIN_S = 0.1  # those that come so soon after another are told of together, which costs about as much as one
_BUCKETS_PER_E = 50  # times are counted in buckets, each 2 % longer than the one below
_SHORTEST_S = 1e-6

Later = Callable[[float, Callable[[], None]], Any]


class Traffic:
    """Makes events of finished requests.

    Args:
        emit: Gets them.
        later: Calls back after so many seconds.
    """

    def __init__(self, emit: Callable[[Event], None], later: Later) -> None:
        self._emit = emit
        self._later = later
        self._began_at_s = -math.inf
        self._num_told = 0
        self._told_at_s = -math.inf
        self._held: list[RequestFinished] = []
        self._statuses: Counter[int] = Counter()
        self._times: Counter[int] = Counter()
        self._longest_s = 0.0

    def finished(self, event_at_s: float, generation: int, method: str, path: str, status: int, took_s: float) -> None:
        """Take note of a finished request."""
        if event_at_s - self._began_at_s >= INTERVAL_S:
            self.flush()
            self._began_at_s, self._num_told = event_at_s, 0
        if self._num_told < MAX_TOLD_SINGLY:
            self._num_told += 1
            self._tell(RequestFinished(event_at_s, generation, method, path, status, took_s))
            return
        self.count(event_at_s, status, (took_s,))

    def tells_singly(self, at_s: float) -> bool:
        """Whether a request that finished now would be told of by itself."""
        return at_s - self._began_at_s >= INTERVAL_S or self._num_told < MAX_TOLD_SINGLY

    def count(self, at_s: float, status: int, took_s: Sequence[float]) -> None:
        """Take note of finished requests that are not told of singly."""
        if not self._statuses:
            self._later(self._began_at_s + INTERVAL_S - at_s, self.flush)
        self._statuses[status] += len(took_s)
        times, log = self._times, math.log
        for each_s in took_s:
            times[round(log(each_s + _SHORTEST_S) * _BUCKETS_PER_E)] += 1
        self._longest_s = max(self._longest_s, *took_s)

    def _tell(self, event: RequestFinished) -> None:
        """Tell of a request now, or with those that come next if another one was told of a moment ago."""
        since_s = event.at_s - self._told_at_s
        if not self._held and since_s >= JOIN_S:
            self._told_at_s = event.at_s
            self._emit(event)
            return
        self._held.append(event)
        if len(self._held) == 1:
            self._later(JOIN_S - since_s, self._release)

    def _release(self) -> None:
        if self._held:
            self._told_at_s += JOIN_S
            held, self._held = self._held, []
            for event in held:
                self._emit(event)

    def flush(self) -> None:
        """Tell of those that were not told of yet."""
        self._release()
        if not self._statuses:
            return
        event = RequestsFinished(
            at_s=self._began_at_s + INTERVAL_S,
            interval_s=INTERVAL_S,
            count=self._statuses.total(),
            statuses={str(status): count for status, count in sorted(self._statuses.items())},
            p50_s=self._quantile_s(0.5),
            p99_s=self._quantile_s(0.99),
            max_s=self._longest_s,
        )
        self._statuses.clear()
        self._times.clear()
        self._longest_s = 0.0
        self._emit(event)

    def _quantile_s(self, share: float) -> float:
        left = math.ceil(share * self._times.total())
        for bucket in sorted(self._times):
            left -= self._times[bucket]
            if left <= 0:
                return min(self._longest_s, math.exp(bucket / _BUCKETS_PER_E))
        return self._longest_s
