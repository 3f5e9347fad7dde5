"""What a short load came to, how that differs from the one before, and what of that is noise. Pure.

Within a bench its parts vary; between two benches of the same code the machine does: another program runs, the processor is
warmer. So a change is clear only if it is more than both. How far benches of the same code differ is measured, not assumed.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import replace
from typing import TYPE_CHECKING

from hotloop.devloop.load import bootstrap
from hotloop.events import Change
from hotloop.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

MIN_ANSWERS = 40  # fewer say nothing about a p99
NUM_PAIRS = 4  # of benches of the same code, before it is known how far they differ
MAX_PAIRS = 12  # the newest count: what else a machine does changes
MIN_NOISE = math.log(1.03)  # as a logarithm, as all that follows: nobody acts on less
NOISE_PER_MEDIAN = 3.0  # of normal differences 95 % lie within this many of their medians


@frozen
class Figures:
    """The figures of one bench.

    Attributes:
        num_requests: Those that were sent while it counted.
        requests_per_s: Successes a second.
        errors: How many failed, by why.
        rates_per_s: The throughput of each of its equal parts.
        p99s_s: The p99 of each of them.
    """

    num_requests: int
    requests_per_s: float
    p50_s: float
    p99_s: float
    errors: dict[str, int]
    rates_per_s: tuple[float, ...]
    p99s_s: tuple[float, ...]

    @property
    def can_be_compared(self) -> bool:
        """Whether enough was answered, and all the time."""
        return self.num_requests >= MIN_ANSWERS and min(self.rates_per_s, default=0) > 0


@frozen
class Noise:
    """How far pairs of benches of the same code differed, newest last: logarithms of ratios, without their signs."""

    throughput: tuple[float, ...] = ()
    latency: tuple[float, ...] = ()

    @property
    def is_known(self) -> bool:
        """Whether there are enough pairs."""
        return len(self.throughput) >= NUM_PAIRS

    def and_pair(self, one: Figures, other: Figures) -> Noise:
        """Add two benches of the same code, if they can be compared."""
        if not one.can_be_compared or not other.can_be_compared:
            return self
        return Noise(
            (*self.throughput, abs(math.log(one.requests_per_s / other.requests_per_s)))[-MAX_PAIRS:],
            (*self.latency, abs(math.log(one.p99_s / other.p99_s)))[-MAX_PAIRS:],
        )

    def ratios(self) -> tuple[float, float] | None:
        """Give what a change of throughput and one of latency must exceed, 0.1 is 10 %; None while it is not known."""
        if not self.is_known:
            return None
        return math.expm1(_limit(self.throughput)), math.expm1(_limit(self.latency))


def _limit(differences: Sequence[float]) -> float:
    return max(NOISE_PER_MEDIAN * statistics.median(differences), *differences, MIN_NOISE)


def agreed(first: Change | None, second: Change | None, noise_ratio: float) -> Change | None:
    """Give the second of two measurements of a change; it is clear if both are, say the same, and noise is still less."""
    if first is None or second is None:
        return second
    is_same_way = (first.ratio > 1) == (second.ratio > 1)
    is_more = max(second.ratio, 1 / second.ratio) > 1 + noise_ratio
    return replace(second, is_clear=first.is_clear and second.is_clear and is_same_way and is_more)


def changes(now: Figures, before: Figures | None, noise: Noise) -> tuple[Change | None, Change | None]:
    """Compare throughput and p99 with those before; None where that would say nothing."""
    if before is None or not now.can_be_compared or not before.can_be_compared:
        return None, None
    limits = noise.ratios() or (math.inf, math.inf)
    return (
        _change(now.requests_per_s / before.requests_per_s, now.rates_per_s, before.rates_per_s, limits[0]),
        _change(now.p99_s / before.p99_s, now.p99s_s, before.p99s_s, limits[1]),
    )


def _change(value: float, now: Sequence[float], before: Sequence[float], noise_ratio: float) -> Change | None:
    """Judge a change by how the parts vary, in pairs: what a bench does to its own beginning is in both."""
    spread = bootstrap.ratio(now, before)
    if spread is None:
        return None
    is_same_way = (spread.low > 1 and value > 1) or (spread.high < 1 and value < 1)
    is_clear = is_same_way and max(value, 1 / value) > 1 + noise_ratio
    return Change(round(value, 4), round(spread.low, 4), round(spread.high, 4), is_clear)
