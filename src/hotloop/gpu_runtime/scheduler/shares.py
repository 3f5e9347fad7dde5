"""Fair shares between tenants: what each was due less what it got, in seconds of predicted compute.

Each call's cost is divided among those that wait by their weights: that much each was due. Who got least of what it was
due goes next. One that had nothing waiting begins level with whoever is due most: time not used is not saved up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping


class Shares:
    """The deficits of the tenants of one class that wait.

    Args:
        weights: By tenant; whoever is not named has 1.
    """

    __slots__ = ("_deficits_s", "_weights")

    def __init__(self, weights: Mapping[str, float]) -> None:
        self._weights = weights
        self._deficits_s: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._deficits_s)

    def joined(self, tenant: str) -> None:
        """Take note that a tenant has something waiting again."""
        if tenant not in self._deficits_s:
            most = max((self.lag_s(other) for other in self._deficits_s), default=0.0)
            self._deficits_s[tenant] = most * self._weight(tenant)

    def left(self, tenant: str) -> None:
        """Take note that it has not."""
        self._deficits_s.pop(tenant, None)

    def lag_s(self, tenant: str) -> float:
        """How far a tenant is behind: in seconds of a tenant of weight 1."""
        return self._deficits_s[tenant] / self._weight(tenant)

    def after(self, tenant: str, lag_s: float, cost_s: float) -> float:
        """How far it would be behind if it got ``cost_s`` more."""
        return lag_s - cost_s / self._weight(tenant)

    def charge(self, costs_s: Iterable[tuple[str, float]]) -> None:
        """Take note of what a call cost each tenant that was in it; all of them wait still, or did until now."""
        if len(self._deficits_s) < 2:
            return
        total_s = 0.0
        for tenant, cost_s in costs_s:
            self._deficits_s[tenant] -= cost_s
            total_s += cost_s
        weight = sum(map(self._weight, self._deficits_s))
        for tenant in self._deficits_s:
            self._deficits_s[tenant] += total_s * self._weight(tenant) / weight

    def _weight(self, tenant: str) -> float:
        return self._weights.get(tenant, 1.0)
