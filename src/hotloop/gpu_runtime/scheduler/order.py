"""In which order the requests of one endpoint have a right to go: by class, fair between tenants, by deadline, by age."""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Mapping
from itertools import islice

from hotloop.gpu_runtime.scheduler.shares import Shares
from hotloop.gpu_runtime.scheduler.waiting import Priority, Waiting

AGEING_S = 5.0  # after so long a request rises by one class
_MAX_STALE = 256  # marks of requests that are gone, beside those of the ones that wait

_CostOf = Callable[[Waiting], float]


class _Level:
    """The requests of one class: each tenant's in order of their right."""

    __slots__ = ("lines", "shares")

    def __init__(self, weights: Mapping[str, float]) -> None:
        self.lines: dict[str, list[tuple[float, int]]] = {}
        self.shares = Shares(weights)

    def add(self, entry: Waiting) -> None:
        tenant = entry.wants.tenant
        line = self.lines.get(tenant)
        if line is None:
            line = self.lines[tenant] = []
            self.shares.joined(tenant)
        insort(line, entry.right)

    def remove(self, entry: Waiting) -> None:
        tenant = entry.wants.tenant
        line = self.lines[tenant]
        del line[bisect_left(line, entry.right)]
        if not line:
            del self.lines[tenant]
            self.shares.left(tenant)


class Order:
    """The requests that wait, by their right to go.

    Args:
        weights: The tenants' weights; 1 for whoever is not named.
    """

    __slots__ = ("_ageing", "_deadlines", "_levels", "entries")

    def __init__(self, weights: Mapping[str, float]) -> None:
        self.entries: dict[int, Waiting] = {}
        self._levels = [_Level(weights) for _ in Priority]
        self._ageing: list[tuple[float, int, int]] = []
        self._deadlines: list[tuple[float, int]] = []

    def __len__(self) -> int:
        return len(self.entries)

    def add(self, entry: Waiting) -> None:
        """Put a request in line, wherever its right puts it."""
        self.entries[entry.id] = entry
        self._levels[entry.level].add(entry)
        self._will_age(entry)
        if entry.wants.deadline_at_s < math.inf:
            heapq.heappush(self._deadlines, (entry.wants.deadline_at_s, entry.id))
        if len(self._deadlines) + len(self._ageing) > 4 * len(self.entries) + _MAX_STALE:
            self._forget_the_gone()

    def remove(self, request_id: int) -> Waiting | None:
        """Take a request out; None if it does not wait."""
        entry = self.entries.pop(request_id, None)
        if entry is not None:
            self._levels[entry.level].remove(entry)
        return entry

    def grow_older(self, now_s: float) -> None:
        """Let those rise that waited long enough."""
        while self._ageing and self._ageing[0][0] <= now_s:
            _, request_id, level = heapq.heappop(self._ageing)
            entry = self.entries.get(request_id)
            if entry is not None and entry.level == level:
                self._levels[level].remove(entry)
                entry.level -= 1
                self._levels[entry.level].add(entry)
                self._will_age(entry)

    def next_deadline_s(self) -> float:
        """When the next request's deadline passes; infinite if none has one."""
        while self._deadlines and self._deadlines[0][1] not in self.entries:
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else math.inf

    def next_with_deadline(self) -> Waiting:
        """The request whose deadline is next. There must be one."""
        self.next_deadline_s()
        return self.entries[self._deadlines[0][1]]

    def oldest_at_s(self) -> float:
        """When the oldest request came. Something must wait."""
        return min(entry.arrived_at_s for entry in self.entries.values())

    def head(self) -> Waiting | None:
        """The request with the best right; None if nothing waits."""
        return next(self._ordered(lambda _: 0.0), None)

    def window(self, count: int, per_call_s: float, per_unit_s: float) -> list[Waiting]:
        """The ``count`` requests of the first class that has any which have the best right, in its order."""
        return list(islice(self._ordered(lambda entry: per_call_s + per_unit_s * entry.size), count))

    def charge(self, level: int, costs_s: dict[str, float]) -> None:
        """Have tenants pay for a call, before its requests are taken out."""
        self._levels[level].shares.charge(costs_s.items())

    def _will_age(self, entry: Waiting) -> None:
        if entry.level > Priority.INTERACTIVE:
            steps = entry.wants.priority - entry.level + 1
            heapq.heappush(self._ageing, (entry.arrived_at_s + steps * AGEING_S, entry.id, entry.level))

    def _forget_the_gone(self) -> None:
        self._ageing = [item for item in self._ageing if item[1] in self.entries]
        self._deadlines = [item for item in self._deadlines if item[1] in self.entries]
        heapq.heapify(self._ageing)
        heapq.heapify(self._deadlines)

    def _ordered(self, cost_of: _CostOf) -> Iterator[Waiting]:
        level = next((level for level in self._levels if level.lines), None)
        if level is None:
            return
        if len(level.lines) == 1:
            for _, request_id in next(iter(level.lines.values())):
                yield self.entries[request_id]
            return
        yield from self._interleaved(level, cost_of)

    def _interleaved(self, level: _Level, cost_of: _CostOf) -> Iterator[Waiting]:
        """Take from whoever is furthest behind, as if each request were paid for at once."""
        shares = level.shares
        heads = [(-shares.lag_s(tenant), *line[0], tenant, 0) for tenant, line in level.lines.items()]
        heapq.heapify(heads)
        while heads:
            minus_lag_s, _, request_id, tenant, place = heads[0]
            entry = self.entries[request_id]
            yield entry
            line = level.lines[tenant]
            if place + 1 == len(line):
                heapq.heappop(heads)
            else:
                lag_s = shares.after(tenant, -minus_lag_s, cost_of(entry))
                heapq.heapreplace(heads, (-lag_s, *line[place + 1], tenant, place + 1))
