"""How the loop has been: what the history keeps, with what this session adds, summarized as `dev stats` does it."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import field, replace
from typing import TYPE_CHECKING

from hotloop.devloop import advice, history, metrics
from hotloop.devloop.metrics import Records
from hotloop.errors import HotloopError
from hotloop.frozen import frozen
from hotloop.tui.panels import dx

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from hotloop.devloop.metrics import Summary, Trip

DAY_S = 86400.0
WEEK_S = 7 * DAY_S


@frozen
class Past:
    """What is known of a time that ends now.

    Attributes:
        trips: Oldest first.
        records: What else the history keeps of it.
    """

    trips: tuple[Trip, ...] = ()
    records: Records = field(default_factory=Records)

    def renewed(self, newer: Past, since_s: float) -> Past:
        """Put what was read again in place of all since a moment, seconds since 1970."""
        before = self.records.between(0.0, since_s)
        return Past(
            (*(trip for trip in self.trips if trip.saved_at_s < since_s), *newer.trips),
            replace(
                newer.records,
                sessions=before.sessions + newer.records.sessions,
                moments=before.moments + newer.records.moments,
                losses=before.losses + newer.records.losses,
                builds=before.builds + newer.records.builds,
                tests=before.tests + newer.records.tests,
                costs=before.costs + newer.records.costs,
            ),
        )

    def with_seen(self, seen: Iterable[Trip]) -> Past:
        """Add the iterations that were seen and that no history here has: it can't be written, or is on another machine."""
        known = {trip.saved_at_s for trip in self.trips}
        unknown = [trip for trip in seen if trip.saved_at_s not in known]
        return replace(self, trips=(*self.trips, *unknown)) if unknown else self


def read(project: Path, since_s: float) -> Past:
    """Read what a project's history keeps since a moment; nothing if there is none, or it can't be read."""
    try:
        with history.reading(project) as kept:
            return Past(tuple(kept.trips(since_s)), kept.records(since_s)) if kept is not None else Past()
    except HotloopError:
        return Past()


def start_of_day_s(now: dt.datetime) -> float:
    """Give when the local day began, seconds since 1970."""
    return now.astimezone().replace(hour=0, minute=0, second=0, microsecond=0).timestamp()


def between(past: Past, begin_s: float, end_s: float = math.inf) -> Summary:
    """Summarize a period, seconds since 1970."""
    trips = [trip for trip in past.trips if begin_s <= trip.saved_at_s < end_s]
    return metrics.summarize(trips, past.records.between(begin_s, end_s))


def experience(past: Past, felt: tuple[dx.Felt, ...], now: dt.datetime) -> dx.Experience:
    """Put together what the view of the figures shows; its weeks are the last seven days, as `dev stats` has them."""
    day_s, week_s = start_of_day_s(now), now.timestamp() - WEEK_S
    since = [trip for trip in past.trips if trip.saved_at_s >= week_s]
    has_earlier = any(week_s - WEEK_S <= trip.saved_at_s < week_s for trip in past.trips)
    return dx.Experience(
        today=between(past, day_s),
        week=between(past, week_s),
        before=between(past, week_s - WEEK_S, week_s) if has_earlier else None,
        days=tuple(_day(past, day_s - number * DAY_S) for number in range(6, -1, -1)),
        felt=felt,
        advice=next((advice.sentence(each) for each in advice.advise(since)), ""),
    )


def _day(past: Past, begin_s: float) -> dx.Day:
    feedback = between(past, begin_s, begin_s + DAY_S).feedback
    label = dt.datetime.fromtimestamp(begin_s).astimezone().strftime("%a")
    return dx.Day(label, feedback.p50_s if feedback is not None else None)
