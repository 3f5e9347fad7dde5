"""What the report says, as data: made from the history, drawn by the renderers beside this. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import field
from typing import TYPE_CHECKING

from hotloop.devloop import advice, metrics, words
from hotloop.devloop.metrics import Records, percentile
from hotloop.devloop.report import felt, tiles
from hotloop.devloop.report.figures import Figures, figures, length, period_name
from hotloop.devloop.report.words import listed, period, share
from hotloop.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hotloop.devloop.advice import Share
    from hotloop.devloop.metrics import Cost, Summary, Trip
    from hotloop.devloop.pulse import Asked
    from hotloop.devloop.report.felt import Felt
    from hotloop.devloop.report.tiles import Tile

SCHEMA = 1
MAIN_CAUSE_RATIO = 0.3
DELIVERY = (
    "No deploys are recorded, so change lead time, deployment frequency, failed deployment recovery time, change fail rate "
    "and deployment rework rate have nothing to count yet."
)
STORED = (
    (
        "Times, counts, names and places of iterations, sessions and answers, in .hotloop/history.db of the project, readable by "
        "you alone. No code, no outputs, no messages of errors."
    ),
    "Nothing here has left this machine. dev data show lists what is kept, dev data delete removes it.",
)
METHOD = (
    "Percentiles are by nearest rank over good edits that waited for no other environment; first starts are counted apart. "
    "p95 from 20 edits on, below that the slowest. Each wait counts for two minutes at most."
)


@frozen
class Kept:
    """What the history holds of a period and of the one before.

    Attributes:
        project: Its name.
        begin_s: The period's begin, seconds since 1970; 0 for all that is kept.
        trips: From twice as far back, and from the week of the first answer on.
        records: From twice as far back.
        asked: Every question that was put.
    """

    project: str
    begin_s: float
    trips: tuple[Trip, ...]
    records: Records = field(default_factory=Records)
    asked: tuple[Asked, ...] = ()


@frozen
class Point:
    """One edit. ``saved_at_s``: seconds since 1970."""

    saved_at_s: float
    feedback_s: float
    cause: str
    outcome: str


@frozen
class Report:
    """The whole page.

    Attributes:
        title: Begins with the project's name.
        about: When, how much, where.
        sentences: What is read if nothing else is.
        shares: Where the waiting went, the costliest first.
        advice: What is worth changing, what saves most first.
        previous: What the period is compared with, if anything.
        cost: Names and values; empty if nothing was recorded.
    """

    project: str
    title: str
    about: str
    begin_s: float
    end_s: float
    sentences: tuple[str, ...]
    tiles: tuple[Tile, ...]
    points: tuple[Point, ...]
    shares: tuple[Share, ...]
    advice: tuple[Share, ...]
    current: Figures
    previous: Figures | None
    felt: Felt
    delivery: str
    cost: tuple[tuple[str, str], ...]
    stored: tuple[str, ...] = STORED
    method: str = METHOD


def make(kept: Kept, now_s: float, previous: Figures | None = None, *, is_compared: bool = True) -> Report:
    """Make the report of the period that ends now.

    Args:
        kept: What the history holds.
        now_s: Seconds since 1970.
        previous: What to compare with; None takes the period before.
        is_compared: Whether to compare at all.
    """
    trips = tuple(trip for trip in kept.trips if trip.saved_at_s >= kept.begin_s)
    records = kept.records.between(kept.begin_s, now_s)
    summary = metrics.summarize(trips, records)
    current = figures(period_name(kept.begin_s, now_s), trips, summary)
    if previous is None and is_compared:
        previous = _before(kept, now_s)
    points = tuple(Point(t.saved_at_s, t.feedback_s, t.cause, t.outcome) for t in trips if t.is_edit)
    shares, found = advice.shares(trips), advice.advise(trips)
    opinion = felt.make(kept.asked, kept.trips, summary, kept.begin_s, found)
    return Report(
        project=kept.project,
        title=f"{kept.project}: {current.name} in feedback",
        about=_about(points, records, kept.begin_s, now_s),
        begin_s=kept.begin_s or (points[0].saved_at_s if points else now_s),
        end_s=now_s,
        sentences=_sentences(current, summary, shares),
        tiles=(
            tiles.speed(current, previous),
            tiles.effectiveness(summary, current, previous),
            tiles.quality(summary, previous),
            opinion.tile,
        ),
        points=points,
        shares=shares,
        advice=found,
        current=current,
        previous=previous,
        felt=opinion,
        delivery=DELIVERY,
        cost=_cost(records.costs, summary),
    )


def _before(kept: Kept, now_s: float) -> Figures | None:
    """The period of the same length before; None if nothing is kept of it."""
    if not kept.begin_s:
        return None
    length_s = now_s - kept.begin_s
    begin_s = kept.begin_s - length_s
    trips = [trip for trip in kept.trips if begin_s <= trip.saved_at_s < kept.begin_s]
    if not trips:
        return None
    summary = metrics.summarize(trips, kept.records.between(begin_s, kept.begin_s))
    return figures(f"the {length(length_s)} before", trips, summary)


def _about(points: Sequence[Point], records: Records, begin_s: float, now_s: float) -> str:
    if not points:
        return f"{period(begin_s or now_s, now_s)}. No edit."
    days = len({metrics.day_of(point.saved_at_s) for point in points})
    runners = sorted({s.runner for s in records.sessions if s.runner})
    where = f", on {listed(runners)}" if runners else ""
    when = period(points[0].saved_at_s, points[-1].saved_at_s)
    return f"{when}. {words.count(len(points), 'edit')} on {words.count(days, 'day')}{where}."


def _sentences(current: Figures, summary: Summary, shares: Sequence[Share]) -> tuple[str, ...]:
    if current.p50_s is None:
        begun = "No edit came back yet" if current.num_edits else "No edit was saved"
        return (f"{begun} in this period: run dev serve, and save a file.",)
    quick = current.within(1.0) or 0.0
    quick_ones = f"{share(quick)} came back within a second ({words.count(len(current.feedback_s), 'good edit')})"
    said = [f"An edit came back in {words.duration(current.p50_s)} at the median, and {quick_ones}."]
    active = f" in about {advice.minutes(summary.active_s)} of work" if summary.active_s else ""
    said.append(f"You waited {advice.minutes(current.waited_s)}{active}.")
    total_s = sum(each.waited_s for each in shares)
    main = next((each for each in shares if each.fix), None)
    if main is not None and main.num_edits >= advice.MIN_EDITS and main.waited_s >= MAIN_CAUSE_RATIO * total_s:
        said.append(f"{share(main.waited_s / total_s)} of that waiting has one cause: {main.cause}.")
    return tuple(said)


def _cost(costs: Sequence[Cost], summary: Summary) -> tuple[tuple[str, str], ...]:
    if not costs:
        return ()
    rows = [
        ("Spent", f"${sum(cost.total for cost in costs):.2f} in {words.count(len(costs), 'session')}"),
        ("of that idle", f"${sum(cost.idle for cost in costs):.2f}"),
    ]
    if summary.avoided is not None:
        saved = advice.minutes(summary.avoided.saved_s)
        rows.append(("Cold starts avoided by keeping models", f"{summary.avoided.count}, about {saved}"))
    for name, values in (
        ("Per 1,000 requests, median", [cost.per_1k_requests for cost in costs]),
        ("Per million tokens, median", [cost.per_1m_items for cost in costs]),
    ):
        known = [value for value in values if value is not None]
        if known:
            rows.append((name, f"${percentile(known, 0.5):.3f} (n {len(known)})"))
    sources = Counter(cost.source for cost in costs)
    return (*rows, ("Prices from", listed(sorted(sources))))
