"""When the requests of an open loop are due. Pure, and the same each time for the same seed."""

from __future__ import annotations

import random
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Arrivals(StrEnum):
    """How requests are spread over time."""

    POISSON = "poisson"
    CONSTANT = "constant"


def due_times_s(arrivals: Arrivals, rate_per_s: float, seed: int = 0) -> Iterator[float]:
    """Give the moments at which requests are due, seconds from the start, without end.

    Args:
        arrivals: At equal distances, or at random as independent users come.
        rate_per_s: How many a second, on average.
        seed: Chooses the random moments.
    """
    if arrivals is Arrivals.CONSTANT:
        number = 0
        while True:
            yield number / rate_per_s
            number += 1
    draw = random.Random(seed).expovariate  # noqa: S311  no secret
    due_s = 0.0
    while True:
        due_s += draw(rate_per_s)
        yield due_s
