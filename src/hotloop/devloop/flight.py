"""A save on its way to feedback, and the iteration that it comes to."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from hotloop import events
from hotloop.devloop import diff, timeline, why
from hotloop.frozen import frozen

if TYPE_CHECKING:
    from hotloop.clock import SaveTime
    from hotloop.devloop.timeline import Marks

Outcome = Literal["ok", "failed", "superseded"]
Cause = Literal["code", "model", "environment", "cold"]
Asking = Literal["", "reload", "restart", "undo"]


@frozen
class Flight:
    """A save on its way to feedback.

    Attributes:
        sequence: The changeset's number; 0 for the first start, and for a reload that was asked for.
        saved: The newest write among its files.
        revision: What the changeset became on the runner; None until it is known.
        reports: The probes that ran so far.
        shown_s: When the first result was on the screen.
        is_cold: Whether it starts from nothing.
        after: Generations up to this one are not its own, whatever revision they ran.
        asked: What the user asked for; empty: a save began it.
    """

    number: int
    sequence: int
    saved: SaveTime
    marks: Marks
    paths: tuple[str, ...] = ()
    size_bytes: int = 0
    revision: int | None = None
    start: Literal["standby", "fork", "zygote", ""] = ""
    ready: events.Ready | None = None
    reports: tuple[events.ProbeReport, ...] = ()
    shown_s: float | None = None
    failed_shown_s: float | None = None
    is_cold: bool = False
    after: int = 0
    asked: Asking = ""


def compared(event: events.ProbeFinished, previous: events.ProbeReport | None) -> events.ProbeReport:
    """Compare a probe's result with its newest good one before."""
    is_comparable = previous is not None and event.is_ok
    changes = diff.compare(previous.output, event.output) if previous is not None and is_comparable else ()
    return events.ProbeReport(
        name=event.name,
        is_ok=event.is_ok,
        is_changed=bool(changes),
        output=event.output,
        diff=changes,
        took_s=event.took_s,
        compute_s=event.compute_s,
        previous_took_s=previous.took_s if previous is not None else None,
        problem=event.problem,
    )


def feedback_s(flight: Flight, at_s: float) -> float:
    """When a good flight gave feedback: its first result on the screen; when it was ready if it has no probes; else now."""
    if flight.shown_s is not None:
        return flight.shown_s
    return flight.marks.ready_s if flight.marks.ready_s is not None and not flight.reports else at_s


def concluded(flight: Flight, outcome: Outcome, end_s: float, problem: events.Problem | None) -> events.Iteration:
    """Write down what a flight came to, at a moment that is its feedback."""
    marks, ready = flight.marks, flight.ready
    iteration = events.Iteration(
        number=flight.number,
        outcome=outcome,
        saved_at_s=flight.saved.wall_s,
        is_save_estimated=flight.saved.is_estimated,
        revision=flight.revision or 0,
        generation=ready.generation if ready is not None else None,
        paths=flight.paths,
        size_bytes=flight.size_bytes,
        feedback_s=end_s - marks.saved_s,
        ready_s=marks.ready_s - marks.saved_s if marks.ready_s is not None else None,
        phases_s=timeline.cut(marks, end_s),
        start=flight.start if marks.started_s is not None else "",  # what was left running was started by nobody here
        models=ready.models if ready is not None else (),
        probes=flight.reports,
        problem=problem,
        cause=_cause(flight),
        asked=flight.asked,
        imports=ready.imports if ready is not None else (),
        import_bytes=ready.import_bytes if ready is not None else 0,
    )
    reason = why.of_iteration(iteration)
    return replace(iteration, why_code=reason.code, why=reason.text, fix=why.fix(reason.code))


def _cause(flight: Flight) -> Cause:
    if flight.number == 0 or flight.is_cold:
        return "cold"
    if flight.marks.environment_s is not None:
        return "environment"
    is_loaded = flight.ready is not None and any(model.action == "loaded" for model in flight.ready.models)
    return "model" if is_loaded else "code"
