"""Numbers about iterations: percentiles, success, repair, waiting. Pure; durations are seconds.

The definitions: percentiles are by nearest rank, never interpolated and never averaged; below 20 values the largest
stands for p95. Time to feedback counts good iterations only: instant syntax errors would flatter it, so time to error
has a row of its own; neither counts what waited for another environment. The session's first start (number 0) is a cold start and counts in neither.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hotloop.devloop.timeline import PHASES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MIN_FOR_P95 = 20
WAIT_CAP_S = 120.0  # a longer wait is coffee
ABANDONED_S = 900.0  # a repair that rests this long is not one repair any more


@dataclass(frozen=True, slots=True)
class Trip:
    """What the metrics need of one iteration; holds no code, no output and no message.

    Attributes:
        session: Names the run of `dev serve` that it belongs to.
    """

    session: str
    number: int
    outcome: str
    saved_at_s: float
    feedback_s: float
    ready_s: float | None = None
    phases_s: dict[str, float] = field(default_factory=dict[str, float])
    start: str = ""
    num_kept: int = 0
    num_loaded: int = 0
    error_type: str = ""
    error_file: str = ""
    error_line: int = 0

    @property
    def is_of_environment(self) -> bool:
        """Whether it waited for another environment."""
        return "environment" in self.phases_s


@dataclass(frozen=True, slots=True)
class Spread:
    """A distribution in three numbers. ``high_s`` is p95, or the maximum where ``n`` < 20 (``is_max``)."""

    n: int
    p50_s: float
    high_s: float
    is_max: bool


@dataclass(frozen=True, slots=True)
class Repairs:
    """Times from the first failure to the next good feedback in a session.

    Attributes:
        saves_per_repair: Median number of saves that each took.
        num_abandoned: Repairs with a rest of more than 15 minutes.
    """

    spread: Spread | None
    mean_s: float | None
    saves_per_repair: float | None
    num_abandoned: int


@dataclass(frozen=True, slots=True)
class Summary:
    """All that `dev stats` says.

    Attributes:
        success_ratio: ok / (ok + failed); None if there were none.
        waited_s: Time spent waiting, each wait capped at 120 s, superseded ones counted until superseded.
        cold: The first starts.
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
    waited_s: float
    waited_uncapped_s: float
    repairs: Repairs
    errors: tuple[tuple[str, int], ...]


def percentile(values: Sequence[float], ratio: float) -> float:
    """Give the nearest-rank percentile of at least one value."""
    return sorted(values)[max(math.ceil(ratio * len(values)) - 1, 0)]


def spread(values: Sequence[float]) -> Spread | None:
    """Describe values; None if there is none."""
    if not values:
        return None
    is_max = len(values) < MIN_FOR_P95
    return Spread(len(values), percentile(values, 0.5), max(values) if is_max else percentile(values, 0.95), is_max)


def summarize(trips: Iterable[Trip]) -> Summary:
    """Compute everything over some iterations, of one session or many."""
    everything = sorted(trips, key=lambda trip: trip.saved_at_s)
    edits = [trip for trip in everything if trip.number > 0]
    ok = [trip for trip in edits if trip.outcome == "ok"]
    failed = [trip for trip in edits if trip.outcome == "failed"]
    code = [trip for trip in ok if not trip.is_of_environment]
    waits = [trip.feedback_s for trip in edits]
    return Summary(
        num_ok=len(ok),
        num_failed=len(failed),
        num_superseded=len(edits) - len(ok) - len(failed),
        success_ratio=len(ok) / (len(ok) + len(failed)) if ok or failed else None,
        feedback=spread([trip.feedback_s for trip in code]),
        ready=spread([trip.ready_s for trip in code if trip.ready_s is not None]),
        error=spread([trip.feedback_s for trip in failed if not trip.is_of_environment]),
        cold=spread([trip.feedback_s for trip in everything if trip.number == 0 and trip.outcome == "ok"]),
        phases_p50_s={name: percentile([t.phases_s.get(name, 0.0) for t in code], 0.5) for name in PHASES}
        if code
        else {},
        starts=_counts(trip.start for trip in ok if trip.start),
        num_kept=sum(trip.num_kept for trip in ok),
        num_loaded=sum(trip.num_loaded for trip in ok),
        under_1_s_ratio=sum(trip.feedback_s < 1 for trip in code) / len(code) if code else None,
        waited_s=sum(min(wait, WAIT_CAP_S) for wait in waits),
        waited_uncapped_s=sum(waits),
        repairs=repairs(edits),
        errors=tuple(
            sorted(_counts(t.error_type for t in failed if t.error_type).items(), key=lambda e: (-e[1], e[0]))
        ),
    )


def repairs(edits: Sequence[Trip]) -> Repairs:
    """Measure red to green: from each first failure on the screen to the next good feedback of the same session."""
    lengths: list[float] = []
    saves: list[float] = []
    abandoned = 0
    by_session: dict[str, list[Trip]] = {}
    for trip in edits:
        by_session.setdefault(trip.session, []).append(trip)
    for trips in by_session.values():
        for repair in _repairs_of(trips):
            if repair is None:
                abandoned += 1
            else:
                lengths.append(repair[0])
                saves.append(repair[1])
    return Repairs(
        spread(lengths),
        sum(lengths) / len(lengths) if lengths else None,
        percentile(saves, 0.5) if saves else None,
        abandoned,
    )


def _repairs_of(trips: Sequence[Trip]) -> list[tuple[float, int] | None]:
    """Length and number of saves of each repair in a session, None for one that was abandoned."""
    found: list[tuple[float, int] | None] = []
    red_since_s, last_s, num_saves = None, 0.0, 0
    for trip in trips:
        told_at_s = trip.saved_at_s + trip.feedback_s
        if red_since_s is not None and trip.saved_at_s - last_s > ABANDONED_S:
            found.append(None)
            red_since_s = None
        if red_since_s is None:
            red_since_s, num_saves = (told_at_s, 0) if trip.outcome == "failed" else (None, 0)
        else:
            num_saves += 1
            if trip.outcome == "ok":
                found.append((told_at_s - red_since_s, num_saves))
                red_since_s = None
        last_s = told_at_s
    return found


def _counts(values: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    return counts
