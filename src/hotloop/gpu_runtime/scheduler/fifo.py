"""The line of an endpoint whose requests differ in nothing but their arrival: what costs a request least."""

from __future__ import annotations

from collections import OrderedDict


class Fifo:
    """Requests in order of arrival, which is the order of their identifiers.

    Attributes:
        arrivals: When each arrived, by identifier.
        tenant: Whose all of them are.
    """

    __slots__ = ("arrivals", "tenant")

    def __init__(self) -> None:
        self.arrivals: OrderedDict[int, float] = OrderedDict()
        self.tenant = ""

    def put_back(self, request_id: int, arrived_at_s: float) -> None:
        """Add a request where its age puts it."""
        is_youngest = not self.arrivals or next(reversed(self.arrivals)) < request_id
        self.arrivals[request_id] = arrived_at_s
        if not is_youngest:
            self.arrivals = OrderedDict(sorted(self.arrivals.items()))

    def oldest(self) -> tuple[float, int]:
        """When the oldest arrived, and its identifier."""
        request_id = next(iter(self.arrivals))
        return self.arrivals[request_id], request_id

    def take(self, count: int) -> list[int]:
        """Take out the oldest."""
        pop = self.arrivals.popitem
        return [pop(last=False)[0] for _ in range(min(count, len(self.arrivals)))]
