"""What an iteration should take: the median of the last good ones of the same cause. Pure."""

from __future__ import annotations

from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING

from hotloop.devloop.metrics import RESUMED
from hotloop.devloop.timeline import PHASES
from hotloop.tui.state import MAX_EXPECTED, Phase

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hotloop.devloop.metrics import Trip as PastTrip
    from hotloop.tui.state import Trip

Recent = "Mapping[str, tuple[Mapping[str, float], ...]]"
ENVIRONMENT = "environment"


def phase_names(cause: str) -> tuple[str, ...]:
    """Give the phases of an iteration in order: one that waits for an environment has one more."""
    return (*PHASES[:2], ENVIRONMENT, *PHASES[2:]) if cause == ENVIRONMENT else PHASES


def expected(recent: Mapping[str, Sequence[Mapping[str, float]]], cause: str) -> dict[str, float]:
    """Give the median of each phase, empty if nothing is known of the cause."""
    known = recent.get(cause, ())
    return {name: median(phases.get(name, 0.0) for phases in known) for name in phase_names(cause)} if known else {}


def expected_whole(recent: Mapping[str, Sequence[Mapping[str, float]]], cause: str) -> float | None:
    """Give the median of the whole; None if nothing is known of the cause."""
    known = recent.get(cause, ())
    return median(sum(phases.values()) for phases in known) if known else None


def remembered(
    recent: Mapping[str, tuple[Mapping[str, float], ...]], cause: str, phases_s: Mapping[str, float]
) -> Mapping[str, tuple[Mapping[str, float], ...]]:
    """Add an iteration to what is known of its cause."""
    return {**recent, cause: (*recent.get(cause, ()), phases_s)[-MAX_EXPECTED:]}


def seeded(trips: Iterable[PastTrip]) -> Mapping[str, tuple[Mapping[str, float], ...]]:
    """Take what is known from the history of a project, oldest first."""
    recent: Mapping[str, tuple[Mapping[str, float], ...]] = {}
    for trip in trips:
        if trip.outcome == "ok" and trip.phases_s and trip.start != RESUMED:
            recent = remembered(recent, cause_of(trip), trip.phases_s)
    return recent


def cause_of(trip: PastTrip) -> str:
    """Say what an iteration's time was spent for; older rows of the history do not say it themselves."""
    said = getattr(trip, "cause", "")
    if said:
        return said
    if not trip.number:
        return "cold"
    if trip.is_of_environment:
        return ENVIRONMENT
    return "model" if trip.num_loaded else "code"


def with_cause(trip: Trip, cause: str, recent: Mapping[str, Sequence[Mapping[str, float]]]) -> Trip:
    """Give a running iteration another cause: other phases are to come, and take another time."""
    known = expected(recent, cause)
    has = {phase.name: phase for phase in trip.phases}
    phases = tuple(replace(has.get(name, Phase(name, None)), expected_s=known.get(name)) for name in phase_names(cause))
    return replace(trip, cause=cause, phases=phases, expected_s=expected_whole(recent, cause))
