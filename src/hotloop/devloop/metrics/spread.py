"""Percentiles by nearest rank: never interpolated, never averaged, since durations are heavy-tailed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hotloop.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

MIN_FOR_P95 = 20


@frozen
class Spread:
    """A distribution in three numbers. ``high_s`` is p95, or the maximum where ``n`` < 20 (``is_max``)."""

    n: int
    p50_s: float
    high_s: float
    is_max: bool


def percentile(values: Sequence[float], ratio: float) -> float:
    """Give the nearest-rank percentile of at least one value."""
    return sorted(values)[max(math.ceil(ratio * len(values)) - 1, 0)]


def median(values: Sequence[float]) -> float | None:
    """Give the nearest-rank median; None of nothing."""
    return percentile(values, 0.5) if values else None


def spread(values: Sequence[float]) -> Spread | None:
    """Describe values; None if there is none."""
    if not values:
        return None
    is_max = len(values) < MIN_FOR_P95
    return Spread(len(values), percentile(values, 0.5), max(values) if is_max else percentile(values, 0.95), is_max)
