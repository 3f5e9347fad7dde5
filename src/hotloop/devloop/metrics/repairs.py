"""Red to green: from a first failure on the screen to the next good feedback of the same session."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hotloop.devloop.metrics.spread import Spread, median, percentile, spread
from hotloop.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hotloop.devloop.metrics.records import Trip

ABANDONED_S = 900.0  # a repair that rests this long is not one repair any more


@frozen
class Repairs:
    """How long repairs took.

    Attributes:
        p90_s: None if there was none.
        mean_s: What others call the mean time to repair; medians say more.
        saves_per_repair: Median number of saves that each took.
        num_abandoned: Repairs with a rest of more than 15 minutes.
    """

    spread: Spread | None
    p90_s: float | None
    mean_s: float | None
    saves_per_repair: float | None
    num_abandoned: int


@frozen
class _Red:
    since_s: float
    by_tests: bool
    num_saves: int = 0


def repairs(edits: Iterable[Trip]) -> Repairs:
    """Measure the repairs among edits, which are given oldest first."""
    by_session: dict[str, list[Trip]] = {}
    for trip in edits:
        by_session.setdefault(trip.session, []).append(trip)
    found = [repair for trips in by_session.values() for repair in _of_session(trips)]
    done = [repair for repair in found if repair is not None]
    lengths = [length_s for length_s, _ in done]
    return Repairs(
        spread(lengths),
        percentile(lengths, 0.9) if lengths else None,
        sum(lengths) / len(lengths) if lengths else None,
        median([float(num_saves) for _, num_saves in done]),
        len(found) - len(done),
    )


def _of_session(trips: Sequence[Trip]) -> list[tuple[float, int] | None]:
    """Length and number of saves of each repair in a session, None for one that was abandoned."""
    found: list[tuple[float, int] | None] = []
    red: _Red | None = None
    last_s = 0.0
    for trip in trips:
        if red is not None and trip.saved_at_s - last_s > ABANDONED_S:
            found.append(None)
            red = None
        if red is None:
            red = _turned_red(trip)
        else:
            red = replace(red, num_saves=red.num_saves + 1, by_tests=red.by_tests or trip.tests == "failed")
            if (green_s := _turned_green(trip, red)) is not None:
                found.append((green_s - red.since_s, red.num_saves))
                red = None
        last_s = max(trip.told_at_s, trip.tested_at_s or 0.0)
    return found


def _turned_red(trip: Trip) -> _Red | None:
    if trip.outcome == "failed":
        return _Red(trip.told_at_s, by_tests=False)
    if trip.tests == "failed":
        return _Red(trip.tested_at_s or trip.told_at_s, by_tests=True)
    return None


def _turned_green(trip: Trip, red: _Red) -> float | None:
    """When it was good again: at its output, or once its tests passed; where tests failed they have to pass."""
    if trip.outcome != "ok" or trip.tests == "failed" or (red.by_tests and trip.tests != "ok"):
        return None
    return trip.tested_at_s if trip.tests == "ok" and trip.tested_at_s is not None else trip.told_at_s
