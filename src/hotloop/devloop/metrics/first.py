"""Time to first result: from the first `dev` command in a project to its first good output."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

from hotloop.devloop.metrics.attention import idle_s
from hotloop.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hotloop.devloop.metrics.records import Records, Trip

STEPS = {
    "served": "setup",
    "connected": "connect",
    "environment": "environment",
    "ready": "weights",
    "result": "first_request",
}


@frozen
class FirstResult:
    """How long a project's first result took, rests of more than 15 minutes left out.

    Attributes:
        steps_s: Seconds of setup, connect, environment, weights, first_request; they sum to `total_s`. A step whose end was
            not seen is part of the next.
        first_edit_s: Time to feedback of the first save that was good; None if there was none yet.
    """

    total_s: float
    steps_s: dict[str, float] = field(default_factory=dict[str, float])
    first_edit_s: float | None = None


def first_result(records: Records, trips: Sequence[Trip]) -> FirstResult | None:
    """Measure it; None if there is none yet, or the first use was not seen."""
    marks = records.milestones
    if "began" not in marks or "result" not in marks:
        return None
    spans = [(moment.at_s, moment.at_s) for moment in records.moments]
    spans += [(trip.saved_at_s, trip.told_at_s) for trip in trips]
    spans += [(at_s, at_s) for at_s in marks.values()]
    steps_s = _steps_s(marks, spans)
    first_edit = next((trip.feedback_s for trip in trips if trip.is_edit and trip.outcome == "ok"), None)
    return FirstResult(sum(steps_s.values()), steps_s, first_edit)


def _steps_s(marks: Mapping[str, float], spans: Sequence[tuple[float, float]]) -> dict[str, float]:
    steps_s: dict[str, float] = {}
    cursor_s = marks["began"]
    for mark, name in STEPS.items():
        if mark in marks:
            until_s = min(max(marks[mark], cursor_s), marks["result"])
            steps_s[name] = max(
                until_s - cursor_s - idle_s(spans, cursor_s, until_s), 0.0
            )  # sums of floats are off a bit
            cursor_s = max(cursor_s, until_s)
    return steps_s
