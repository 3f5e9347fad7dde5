"""All numbers of a period at once.

Time to feedback counts good iterations only: instant syntax errors would flatter it, so time to error has a row of its own;
neither counts what waited for another environment, which has a cause of its own. The session's first start (number 0)
is a cold start and counts in neither.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import field, replace
from datetime import datetime
from typing import TYPE_CHECKING

from hotloop.devloop.metrics import attention
from hotloop.devloop.metrics.attention import Drift, Focus
from hotloop.devloop.metrics.first import FirstResult, first_result
from hotloop.devloop.metrics.records import Records
from hotloop.devloop.metrics.repairs import Repairs, repairs
from hotloop.devloop.metrics.spread import MIN_FOR_P95, Spread, median, percentile, spread
from hotloop.devloop.timeline import OTHER, PHASES
from hotloop.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hotloop.devloop.metrics.records import Trip

WAIT_CAP_S = 120.0  # a longer wait is coffee
MIN_ACTIVE_S = 600.0  # a share or a pace of less says little
CAUSES = ("code", "model", "environment", "cold")
RESUMED = "resumed"


@frozen
class Causes:
    """The iterations of one cause.

    Attributes:
        feedback: Of the good ones.
        spread_ratio: p95 / p50, how far from predictable; None below 20.
        surprise_ratio: Median of how far they were from what was expected, as a share of that; None if nothing was.
        waited_s: Each wait capped at 120 s.
    """

    cause: str
    num_ok: int
    num_failed: int
    feedback: Spread | None
    spread_ratio: float | None
    surprise_ratio: float | None
    waited_s: float


@frozen
class Avoided:
    """Cold starts that were not needed, about.

    Attributes:
        count: Good iterations that were no cold start, in weeks that have one.
        saved_s: Each times the median cold start of its week.
    """

    count: int
    saved_s: float


@frozen
class Summary:
    """All that `dev stats` says.

    Attributes:
        success_ratio: ok / (ok + failed); None if there were none. A low one is normal.
        feedback: Save to first output of the new code.
        error: Save to the error.
        cold: The first starts; those that found the app running are left out.
        under_1_s_ratio: Share of `feedback`.
        under_10_s_ratio: Likewise.
        surprise_ratio: Median of how far good iterations were from what was expected, as a share of that.
        waited_s: Time spent waiting, each wait capped at 120 s, superseded ones counted until the next save.
        waited_beyond_1_s: What of each capped wait was more than a second.
        waited_ratio: Share of `active_s` in which something was waited for, at most 1; None below ten minutes.
        active_s: Gaps of at most 15 minutes between saves, requests and keys, and the capped waits, counted once where they
            overlap.
        iterations_per_h: Good and failed ones in an active hour; None below ten active minutes.
        builds: Environments that were made, not those that were found.
        tests: Runs of `--test` that ended by themselves.
        offline_s: How long the runner did not answer, in `num_losses` times.
    """

    num_ok: int
    num_failed: int
    num_superseded: int
    success_ratio: float | None
    feedback: Spread | None
    ready: Spread | None
    error: Spread | None
    cold: Spread | None
    phases_p50_s: dict[str, float]
    starts: dict[str, int]
    num_kept: int
    num_loaded: int
    under_1_s_ratio: float | None
    under_10_s_ratio: float | None
    surprise_ratio: float | None
    waited_s: float
    waited_uncapped_s: float
    waited_beyond_1_s: float
    waited_ratio: float | None
    active_s: float
    iterations_per_h: float | None
    repairs: Repairs
    drift: Drift
    focus: Focus
    first_result: FirstResult | None
    avoided: Avoided | None
    builds: Spread | None
    tests: Spread | None
    num_tests_failed: int
    num_sessions: int
    num_losses: int
    offline_s: float
    errors: tuple[tuple[str, int], ...]
    causes: tuple[Causes, ...] = field(default=())


def summarize(trips: Iterable[Trip], records: Records | None = None) -> Summary:
    """Compute everything over some iterations, of one session or many.

    Args:
        trips: The iterations.
        records: What else is known of the same time; without it, what needs it is empty.
    """
    records = records if records is not None else Records()
    everything = sorted(trips, key=lambda trip: trip.saved_at_s)
    trips_after_start = [trip for trip in everything if trip.number > 0]
    edits = [trip for trip in trips_after_start if trip.is_edit]
    ok = [trip for trip in edits if trip.outcome == "ok"]
    failed = [trip for trip in edits if trip.outcome == "failed"]
    code = [trip for trip in ok if not trip.is_of_environment and not _is_start(trip)]
    feedback = [trip.feedback_s for trip in code]
    waits = _waits_s(trips_after_start)
    capped = [min(wait_s, WAIT_CAP_S) for wait_s in waits]
    moments = [*(trip.saved_at_s for trip in trips_after_start), *(moment.at_s for moment in records.moments)]
    spans = [
        (trip.saved_at_s, trip.saved_at_s + wait_s) for trip, wait_s in zip(trips_after_start, capped, strict=True)
    ]
    active_s = attention.active_s(moments, spans)
    builds = [build.took_s for build in records.builds if build.is_ok and not build.was_cached]
    tests = [run for run in records.tests if run.outcome in {"ok", "failed"}]
    return Summary(
        num_ok=len(ok),
        num_failed=len(failed),
        num_superseded=len(edits) - len(ok) - len(failed),
        success_ratio=len(ok) / (len(ok) + len(failed)) if ok or failed else None,
        feedback=spread(feedback),
        ready=spread([trip.ready_s for trip in code if trip.ready_s is not None]),
        error=spread([trip.feedback_s for trip in failed if not trip.is_of_environment]),
        cold=spread([trip.feedback_s for trip in everything if _is_cold(trip)]),
        phases_p50_s=_phases_p50_s(code),
        starts=dict(Counter(trip.start for trip in ok if trip.start)),
        num_kept=sum(trip.num_kept for trip in ok),
        num_loaded=sum(trip.num_loaded for trip in ok),
        under_1_s_ratio=_share_below(feedback, 1.0),
        under_10_s_ratio=_share_below(feedback, 10.0),
        surprise_ratio=_surprise_ratio(ok),
        waited_s=sum(capped),
        waited_uncapped_s=sum(waits),
        waited_beyond_1_s=sum(max(wait_s - 1.0, 0.0) for wait_s in capped),
        waited_ratio=min(attention.union_s(spans) / active_s, 1.0) if active_s >= MIN_ACTIVE_S else None,
        active_s=active_s,
        iterations_per_h=(len(ok) + len(failed)) / (active_s / 3600) if active_s >= MIN_ACTIVE_S else None,
        repairs=repairs(trips_after_start),
        drift=attention.drift(edits),
        focus=attention.focus(moments, trips_after_start, records.losses),
        first_result=first_result(records, everything),
        avoided=_avoided(everything),
        builds=spread(builds),
        tests=spread([run.took_s for run in tests]),
        num_tests_failed=sum(run.outcome == "failed" for run in tests),
        num_sessions=len({trip.session for trip in everything} | {session.id for session in records.sessions}),
        num_losses=len(records.losses),
        offline_s=sum(loss.lasted_s for loss in records.losses),
        errors=tuple(
            sorted(Counter(t.error_type for t in failed if t.error_type).items(), key=lambda e: (-e[1], e[0]))
        ),
        causes=tuple(each for cause in CAUSES if (each := _of_cause(cause, everything)) is not None),
    )


def by_day(trips: Iterable[Trip], records: Records) -> list[tuple[str, Summary]]:
    """Summarize each day, as this machine's time zone has it, oldest first; days without an edit are left out."""
    days: dict[str, list[Trip]] = {}
    for trip in trips:
        days.setdefault(day_of(trip.saved_at_s), []).append(trip)
    return [
        (day, summarize(days[day], _on_day(records, day)))
        for day in sorted(days)
        if any(trip.is_edit for trip in days[day])
    ]


def day_of(at_s: float) -> str:
    """Name the day of a moment (seconds since 1970), such as ``2026-11-26``."""
    return datetime.fromtimestamp(at_s).astimezone().strftime("%Y-%m-%d")


def _on_day(records: Records, day: str) -> Records:
    return replace(
        records,
        sessions=(),
        moments=tuple(each for each in records.moments if day_of(each.at_s) == day),
        losses=tuple(each for each in records.losses if day_of(each.lost_at_s) == day),
        builds=tuple(each for each in records.builds if day_of(each.ended_at_s) == day),
        tests=tuple(each for each in records.tests if day_of(each.ended_at_s) == day),
        milestones={},
    )


def _phases_p50_s(trips: Sequence[Trip]) -> dict[str, float]:
    if not trips:
        return {}
    names = [*PHASES, *([OTHER] if any(OTHER in trip.phases_s for trip in trips) else [])]
    return {name: percentile([trip.phases_s.get(name, 0.0) for trip in trips], 0.5) for name in names}


def _waits_s(edits: Sequence[Trip]) -> list[float]:
    """How long each save was waited for; one that was superseded until the next save of its session."""
    waits: list[float] = []
    next_save_s: dict[str, float] = {}
    for trip in reversed(edits):
        until_s = next_save_s.get(trip.session)
        is_cut = trip.outcome == "superseded" and until_s is not None
        waits.append(min(trip.feedback_s, until_s - trip.saved_at_s) if is_cut and until_s else trip.feedback_s)
        next_save_s[trip.session] = trip.saved_at_s
    return waits[::-1]


def _is_cold(trip: Trip) -> bool:
    return trip.outcome == "ok" and _is_start(trip)


def _is_start(trip: Trip) -> bool:
    """Whether it began from nothing: the first start, unless the app was running, or one that was asked for."""
    return (trip.number == 0 or trip.cause == "cold") and trip.start != RESUMED


def _share_below(values: Sequence[float], limit_s: float) -> float | None:
    return sum(value < limit_s for value in values) / len(values) if values else None


def _surprise_ratio(trips: Iterable[Trip]) -> float | None:
    return median([abs(t.feedback_s - t.expected_s) / t.expected_s for t in trips if t.expected_s])


def _of_cause(cause: str, trips: Sequence[Trip]) -> Causes | None:
    own = [trip for trip in trips if trip.cause == cause and (trip.is_edit or _is_start(trip))]
    ok = [trip for trip in own if trip.outcome == "ok"]
    num_failed = sum(trip.outcome == "failed" for trip in own)
    if not ok and not num_failed:
        return None
    found = spread([trip.feedback_s for trip in ok])
    return Causes(
        cause,
        len(ok),
        num_failed,
        found,
        found.high_s / found.p50_s if found is not None and found.n >= MIN_FOR_P95 and found.p50_s else None,
        _surprise_ratio(ok),
        sum(min(trip.feedback_s, WAIT_CAP_S) for trip in own),
    )


def _avoided(trips: Sequence[Trip]) -> Avoided | None:
    """None if no week has a cold start to compare with."""
    cold: dict[tuple[int, int], list[float]] = {}
    for trip in trips:
        if _is_cold(trip):
            cold.setdefault(_week_of(trip), []).append(trip.feedback_s)
    warm = [_week_of(trip) for trip in trips if trip.outcome == "ok" and trip.is_edit and trip.cause != "cold"]
    saved = [percentile(cold[week], 0.5) for week in warm if week in cold]
    return Avoided(len(saved), sum(saved)) if cold else None


def _week_of(trip: Trip) -> tuple[int, int]:
    year, week, _ = datetime.fromtimestamp(trip.saved_at_s).astimezone().isocalendar()
    return year, week
