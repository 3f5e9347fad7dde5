"""Which requests go into one call: those of like size, as long as another call would cost more than the padding."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hotloop.frozen import frozen


@frozen
class Budget:
    """What one call may hold. One request always may.

    Attributes:
        max_size: Most requests.
        max_cost: Most units: the requests times the largest size.
    """

    max_size: int
    max_cost: float = math.inf

    def allows(self, count: int, largest: float) -> bool:
        """Whether a call of so many requests, the largest so large, keeps within it."""
        return count == 1 or (count <= self.max_size and count * largest <= self.max_cost)


def run_around(
    sizes: Sequence[float], chosen: int, call_price: float, budget: Budget, left_share: float = 1.0
) -> tuple[int, int]:
    """Choose the neighbours with which a request goes.

    All that is there is cut into calls at the least cost in sum, and the call that the request is in is the answer.

    Args:
        sizes: In ascending order.
        chosen: The place of the request that has to go.
        call_price: What a call costs beside its units, in units; infinite if that is not known.
        budget: What a call may hold.
        left_share: What part of a call's price those pay that go by another one; 1 if they go with nobody else. Where
            all of them can go in one call they pay all of it: then nobody is left that others may join.

    Returns:
        The run's first place, and the one behind its last.
    """
    count = len(sizes)
    # Where a call is dearer than all padding together calls are as few as can be, and padding decides the rest; a larger
    # number than needed would swallow the padding in a float.
    price = min(call_price, 2 * count * sizes[-1] + 1)
    can_be_whole = budget.allows(count, sizes[-1])
    if can_be_whole and count * sizes[-1] - sum(sizes) <= price:
        return 0, count
    begins = _cheapest_cuts(sizes, price * left_share, budget)
    if can_be_whole and left_share < 1 and _is_cheapest_whole(sizes, begins, price, budget):
        return 0, count
    stop = count
    while (start := begins[stop]) > chosen:
        stop = start
    return start, stop


def _is_cheapest_whole(sizes: Sequence[float], begins: Sequence[int], price: float, budget: Budget) -> bool:
    """Whether no cut is cheaper than one call; another cut's begins may say no at once."""
    stop, total = len(sizes), 0.0
    while stop:
        total += price + (stop - begins[stop]) * sizes[stop - 1]
        stop = begins[stop]
    is_cheaper = price + len(sizes) * sizes[-1] <= total
    return is_cheaper and _cheapest_cuts(sizes, price, budget)[len(sizes)] == 0


def _cheapest_cuts(sizes: Sequence[float], price: float, budget: Budget) -> list[int]:
    """Give, for each number of smallest requests, where the last of their calls begins."""
    least = [0.0]
    begins = [0]
    for stop in range(1, len(sizes) + 1):
        largest = sizes[stop - 1]
        best, begin = least[stop - 1] + price + largest, stop - 1
        for count in range(2, min(budget.max_size, stop) + 1):
            units = count * largest
            if units > budget.max_cost:
                break
            total = least[stop - count] + price + units
            if total < best:
                best, begin = total, stop - count
        least.append(best)
        begins.append(begin)
    return begins
