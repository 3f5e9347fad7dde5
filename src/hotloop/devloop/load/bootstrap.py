"""How sure a ratio is that was measured in several rounds. Pure."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

from hotloop.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

NUM_RESAMPLES = 2000
CONFIDENCE = 0.95
MIN_CLEAR = 6  # rounds: fewer all point one way by chance more often than once in 20 times


@frozen
class Ratio:
    """A ratio and the interval that it lies in with 95 % confidence.

    Attributes:
        value: The geometric mean of the rounds' ratios.
        low: The interval's lower end.
        high: Its upper end.
        num_rounds: How many rounds it stands on.
    """

    value: float
    low: float
    high: float
    num_rounds: int

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves no room for "no difference", and stands on enough rounds to say so."""
        return self.num_rounds >= MIN_CLEAR and (self.low > 1 or self.high < 1)


def ratio(ours: Sequence[float], theirs: Sequence[float], seed: int = 0) -> Ratio | None:
    """Compare what was measured in pairs: each round's two values share what else went on at the time.

    Args:
        ours: One value a round, the numerators.
        theirs: As many, in the same order.
        seed: Chooses the resamples.

    Returns:
        None if no round has both values above 0.
    """
    logs = [math.log(a / b) for a, b in zip(ours, theirs, strict=True) if a > 0 and b > 0]
    if not logs:
        return None
    draw = random.Random(seed)  # noqa: S311  no secret
    means = sorted(_mean(draw.choices(logs, k=len(logs))) for _ in range(NUM_RESAMPLES))
    tail = int((1 - CONFIDENCE) / 2 * NUM_RESAMPLES)
    return Ratio(math.exp(_mean(logs)), math.exp(means[tail]), math.exp(means[-1 - tail]), len(logs))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
