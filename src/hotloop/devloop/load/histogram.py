"""A histogram of durations, in buckets of a constant ratio: small, mergeable, and less than 1 % off. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_ERROR_RATIO = 0.005  # of a value read back, against the one recorded
MIN_S = 1e-7  # what is shorter counts as this long
_GROWTH = (1 + MAX_ERROR_RATIO) / (1 - MAX_ERROR_RATIO)
_PER_LOG = 1 / math.log(_GROWTH)


@dataclass(slots=True)
class Histogram:
    """Counts durations.

    Attributes:
        counts: By bucket; bucket n holds what is above growth ** (n - 1) and not above growth ** n seconds.
        num: How many there are.
        sum_s: Their sum, exact.
        min_s: The shortest, exact; infinite if there is none.
        max_s: The longest, exact; 0 if there is none.
    """

    counts: dict[int, int] = field(default_factory=dict[int, int])
    num: int = 0
    sum_s: float = 0.0
    min_s: float = math.inf
    max_s: float = 0.0

    @classmethod
    def of(cls, durations_s: Iterable[float]) -> Self:
        """Count durations, seconds."""
        made = cls()
        for duration_s in durations_s:
            made.add(duration_s)
        return made

    def add(self, duration_s: float) -> None:
        """Count one duration, seconds."""
        duration_s = max(duration_s, MIN_S)
        bucket = math.ceil(math.log(duration_s) * _PER_LOG)
        self.counts[bucket] = self.counts.get(bucket, 0) + 1
        self.num += 1
        self.sum_s += duration_s
        self.min_s = min(self.min_s, duration_s)
        self.max_s = max(self.max_s, duration_s)

    def merge(self, other: Histogram) -> None:
        """Add what another one counted."""
        for bucket, count in other.counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0) + count
        self.num += other.num
        self.sum_s += other.sum_s
        self.min_s = min(self.min_s, other.min_s)
        self.max_s = max(self.max_s, other.max_s)

    def percentile_s(self, ratio: float) -> float:
        """Give the duration that a share of all does not exceed; NaN if there is none.

        Args:
            ratio: 0 to 1: 0.99 for p99. At 0 it is the shortest, at 1 the longest.
        """
        if not self.num:
            return math.nan
        rank = max(math.ceil(ratio * self.num), 1)
        if rank >= self.num:
            return self.max_s
        for bucket in sorted(self.counts):
            rank -= self.counts[bucket]
            if rank <= 0:
                return min(max(_middle_s(bucket), self.min_s), self.max_s)
        return self.max_s

    @property
    def mean_s(self) -> float:
        """The mean, exact; NaN if there is none."""
        return self.sum_s / self.num if self.num else math.nan

    def between(self, edges_s: list[float]) -> list[int]:
        """Count what lies between each two neighbours of rising edges, seconds; what is outside counts at the ends."""
        found = [0] * (len(edges_s) - 1)
        place = 0
        for bucket in sorted(self.counts):
            while place < len(found) - 1 and _middle_s(bucket) > edges_s[place + 1]:
                place += 1
            found[place] += self.counts[bucket]
        return found


def _middle_s(bucket: int) -> float:
    return 2 * _GROWTH**bucket / (_GROWTH + 1)  # as far, by ratio, from either end
