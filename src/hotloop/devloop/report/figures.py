"""The figures of a period that another is compared with. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotloop.devloop import words
from hotloop.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hotloop.devloop.metrics import Summary, Trip


@frozen
class Figures:
    """The figures of a period that another is compared with.

    Attributes:
        name: Such as ``the 7 days before``.
        high_s: p95, or the slowest below 20 edits (`is_max`).
        feedback_s: Of each good edit, sorted.
    """

    name: str
    num_edits: int
    num_failed: int
    p50_s: float | None
    high_s: float | None
    is_max: bool
    failed_ratio: float | None
    waited_s: float
    waited_ratio: float | None
    feedback_s: tuple[float, ...]

    def within(self, limit_s: float) -> float | None:
        """Give the share of good edits that came back within a time."""
        return sum(value <= limit_s for value in self.feedback_s) / len(self.feedback_s) if self.feedback_s else None


def period_name(begin_s: float, end_s: float) -> str:
    """Name a period that ends now: ``the last 7 days``."""
    return f"the last {length(end_s - begin_s)}" if begin_s else "all that is kept"


def length(seconds: float) -> str:
    """Write a period's length: ``7 days``."""
    for unit_s, noun in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= 1.5 * unit_s or noun == "minute":
            return words.count(round(seconds / unit_s), noun)
    raise AssertionError


def figures(name: str, trips: Iterable[Trip], summary: Summary) -> Figures:
    """Take from a period what another is compared with."""
    good = [t for t in trips if t.is_edit and t.outcome == "ok" and not t.is_of_environment]
    spread, success = summary.feedback, summary.success_ratio
    return Figures(
        name=name,
        num_edits=summary.num_ok + summary.num_failed + summary.num_superseded,
        num_failed=summary.num_failed,
        p50_s=spread.p50_s if spread is not None else None,
        high_s=spread.high_s if spread is not None else None,
        is_max=spread is None or spread.is_max,
        failed_ratio=None if success is None else 1 - success,
        waited_s=summary.waited_s,
        waited_ratio=summary.waited_ratio,
        feedback_s=tuple(sorted(trip.feedback_s for trip in good)),
    )
