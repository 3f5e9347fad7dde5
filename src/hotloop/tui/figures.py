"""How the loop was today: the figures of the strip, from the history and what this session adds."""

from __future__ import annotations

import datetime as dt
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from hotloop.devloop import advice, answers, metrics, pulse
from hotloop.devloop.control import state_folder
from hotloop.devloop.history import History
from hotloop.tui.panels import dx

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from hotloop.devloop.metrics import Spread, Trip

DAY_S = 86400.0
MIN_ACTIVE_S = 300.0  # below, a rate says nothing
REST_S = 900.0  # a longer gap between saves is no work on this project


@dataclass(frozen=True, slots=True)
class Figures:
    """What the strip says.

    Attributes:
        feedback: Of today's good iterations; None if there are none.
        repair_s: Median of red to green.
        waited_s: Each wait capped at two minutes.
        waited_ratio: Share of the time between saves.
        first_start_s: The last one's.
    """

    feedback: Spread | None = None
    under_1_s_ratio: float | None = None
    repair_s: float | None = None
    iterations_per_h: float | None = None
    waited_s: float = 0.0
    waited_ratio: float | None = None
    success_ratio: float | None = None
    first_start_s: float | None = None


def figures_of(trips: Sequence[Trip]) -> Figures:
    """Compute them over a day's iterations."""
    summary = metrics.summarize(trips)
    repair = summary.repairs.spread
    active_s = _active_s(sorted(trip.saved_at_s for trip in trips if trip.number))
    count = summary.num_ok + summary.num_failed
    return Figures(
        feedback=summary.feedback,
        under_1_s_ratio=summary.under_1_s_ratio,
        repair_s=repair.p50_s if repair is not None else None,
        iterations_per_h=count / active_s * 3600 if active_s >= MIN_ACTIVE_S else None,
        waited_s=summary.waited_s,
        waited_ratio=min(summary.waited_s / active_s, 1.0) if active_s >= MIN_ACTIVE_S else None,
        success_ratio=summary.success_ratio,
        first_start_s=summary.cold.p50_s if summary.cold is not None else None,
    )


def _active_s(moments: Sequence[float]) -> float:
    gaps = (later - earlier for earlier, later in pairwise(moments))
    return sum(gap for gap in gaps if gap <= REST_S)


def start_of_day_s(now: dt.datetime) -> float:
    """Give when the local day began, seconds since 1970."""
    return now.astimezone().replace(hour=0, minute=0, second=0, microsecond=0).timestamp()


def read(project: Path) -> list[Trip]:
    """Read the project's history; none if there is none, or it can't be read: then the figures begin with this session."""
    file = project / ".hotloop" / "history.db"
    if not file.exists():
        return []
    try:
        history = History(file)
        try:
            return history.trips()
        finally:
            history.close()
    except (sqlite3.Error, OSError):
        return []


def read_felt(project: Path) -> tuple[dx.Felt, ...]:
    """Read what was answered to the question; nothing if that can't be read."""
    file = project / ".hotloop" / "history.db"
    if not file.exists():
        return ()
    try:
        with closing(answers.Answers(file, state_folder())) as kept:
            return tuple(
                dx.Felt(answers.week_of(each.at_s)[-3:].lower(), pulse.TEXTS[each.item], each.answer)
                for each in kept.asked()
                if each.answer is not None
            )
    except (sqlite3.Error, OSError):
        return ()


def experience(trips: Sequence[Trip], now: dt.datetime, felt: tuple[dx.Felt, ...] = ()) -> dx.Experience:
    """Put together what the view of the figures shows."""
    day_s = start_of_day_s(now)
    week_s, before_s = day_s - 6 * DAY_S, day_s - 13 * DAY_S
    since = [trip for trip in trips if trip.saved_at_s >= week_s]
    earlier = [trip for trip in trips if before_s <= trip.saved_at_s < week_s]
    return dx.Experience(
        today=metrics.summarize([trip for trip in since if trip.saved_at_s >= day_s]),
        week=metrics.summarize(since),
        before=metrics.summarize(earlier) if earlier else None,
        days=tuple(_day(trips, week_s + number * DAY_S) for number in range(7)),
        felt=felt,
        advice=next((advice.sentence(each) for each in advice.advise(since)), ""),
    )


def _day(trips: Sequence[Trip], begin_s: float) -> dx.Day:
    feedback = metrics.summarize([t for t in trips if begin_s <= t.saved_at_s < begin_s + DAY_S]).feedback
    label = dt.datetime.fromtimestamp(begin_s).astimezone().strftime("%a")
    return dx.Day(label, feedback.p50_s if feedback is not None else None)
