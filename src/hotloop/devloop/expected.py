"""What an iteration should take: the median of the last good ones of the same cause. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotloop.devloop.metrics import RESUMED, percentile

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hotloop.devloop.metrics import Trip

MAX_PAST = 20

Past = dict[str, tuple[float, ...]]  # times to feedback by cause, the newest last


def of_history(trips: Iterable[Trip]) -> Past:
    """Take what is known from earlier sessions, given oldest first."""
    past: Past = {}
    for trip in trips:
        if trip.outcome == "ok" and trip.start != RESUMED:
            past = learned(past, trip.cause, trip.feedback_s)
    return past


def learned(past: Mapping[str, tuple[float, ...]], cause: str, feedback_s: float) -> Past:
    """Add a good iteration."""
    return {**past, cause: (*past.get(cause, ()), feedback_s)[-MAX_PAST:]}


def feedback_s(past: Mapping[str, tuple[float, ...]], cause: str) -> float | None:
    """Say what the next one of a cause should take; None if nothing is known of it."""
    known = past.get(cause, ())
    return percentile(known, 0.5) if known else None
