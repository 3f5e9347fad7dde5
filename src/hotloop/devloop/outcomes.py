"""From a revision to what became of it: a part of the loop's machine."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hotloop import events
from hotloop.devloop import expected, tests_on_save
from hotloop.devloop.flight import compared, concluded, feedback_s
from hotloop.devloop.machine_state import Emit, State, Step, chain

if TYPE_CHECKING:
    from hotloop.devloop.flight import Flight, Outcome
    from hotloop.devloop.machine_events import Shown


def happened(state: State, event: events.Event, at_s: float) -> Step:
    """The runner said something; ``at_s`` is when it arrived."""
    match event:
        case events.ReloadStarted() | events.ReloadSuperseded() | events.ReloadFailed() | events.Ready():
            return _reload_event(state, event, at_s)
        case events.ProbeFinished():
            return _probe_finished(state, event, at_s)
        case events.ProbesFinished():
            flight = state.of_generation(event.revision, event.generation)
            return _probes_finished(state, flight, at_s) if flight is not None else _early(state, event)
        case events.EnvironmentProgress() | events.EnvironmentReady() | events.EnvironmentFailed():
            return _environment(state, event, at_s)
        case events.RuntimeStopped():
            return _stopped(replace(state, serving=None), event, at_s)
        case _:
            return state, ()


_ReloadEvent = events.ReloadStarted | events.ReloadSuperseded | events.ReloadFailed | events.Ready


def _reload_event(state: State, event: _ReloadEvent, at_s: float) -> Step:
    state = replace(state, serving=event.generation) if isinstance(event, events.Ready) else state
    flight = state.of_revision(event.revision)
    if flight is None:
        return _early(state, event)
    match event:
        case events.ReloadStarted():
            marks = replace(flight.marks, started_s=event.at_s, imported_s=None, ready_s=None)
            return state.updating(replace(flight, marks=marks, start=event.start, ready=None)), ()
        case events.ReloadSuperseded():
            return finish(state, flight, "superseded", at_s)
        case events.ReloadFailed():
            older = settle_before(state, state.flights.index(flight), at_s)
            return chain(older, finish(older[0], flight, "failed", at_s, event.problem))
        case events.Ready():
            older = settle_before(state, state.flights.index(flight), at_s)
            marks = replace(flight.marks, imported_s=event.imported_at_s, ready_s=event.at_s)
            return chain(older, (older[0].updating(replace(flight, marks=marks, start=event.start, ready=event)), ()))


_EnvironmentEvent = events.EnvironmentProgress | events.EnvironmentReady | events.EnvironmentFailed


def _environment(state: State, event: _EnvironmentEvent, at_s: float) -> Step:
    flight = state.of_revision(event.revision)
    if flight is None:
        return _early(state, event)
    if isinstance(event, events.EnvironmentReady) and event.was_cached and not flight.number:
        return state, ()  # a first start that found it made waited for nothing
    waited = replace(flight, marks=replace(flight.marks, environment_s=event.at_s))
    if not isinstance(event, events.EnvironmentFailed):
        return state.updating(waited), ()
    older = settle_before(state.updating(waited), state.flights.index(flight), at_s)
    return chain(older, finish(older[0], waited, "failed", at_s, event.problem))


def _early(state: State, event: events.Event) -> Step:
    """Keep what is said about a revision that a changeset on its way may turn out to be."""
    return replace(state, early=(*state.early, event)) if state.num_unacked else state, ()


def replay(state: State) -> Step:
    """Look again at what was said early; what still has no changeset stays, if one may yet be its cause."""
    waiting: Step = (replace(state, early=()), ())
    for event in state.early:
        waiting = chain(waiting, happened(waiting[0], event, event.at_s))
    return waiting


def _probe_finished(state: State, event: events.ProbeFinished, at_s: float) -> Step:
    flight = state.of_generation(event.revision, event.generation)
    if flight is None and state.num_unacked:
        return _early(state, event)
    report = compared(event, state.previous.get(event.name))
    number = flight.number if flight is not None else state.number
    said = (Emit(events.ProbeReported(at_s, number, event.generation, report)),)
    if report.is_ok:
        state = replace(state, previous={**state.previous, event.name: report})
    if flight is not None:
        state = state.updating(replace(flight, reports=(*flight.reports, report)))
    return state, said


def shown(state: State, event: Shown) -> Step:
    """Note when a flight's first result was on the screen, and its first bad one."""
    flight = next((f for f in state.flights if f.ready and f.ready.generation == event.generation), None)
    report = next((r for r in flight.reports if r.name == event.name), None) if flight is not None else None
    if flight is None or report is None:
        return state, ()
    if flight.shown_s is None:
        flight = replace(flight, shown_s=event.at_s)
    if not report.is_ok and flight.failed_shown_s is None:
        flight = replace(flight, failed_shown_s=event.at_s)
    return state.updating(flight), ()


def _probes_finished(state: State, flight: Flight, at_s: float) -> Step:
    failed = next((report for report in flight.reports if not report.is_ok), None)
    if failed is not None:
        return finish(state, flight, "failed", flight.failed_shown_s or at_s, failed.problem)
    return finish(state, flight, "ok", feedback_s(flight, at_s))


def _stopped(state: State, event: events.RuntimeStopped, at_s: float) -> Step:
    """The runtime is gone: what was under way gets no answer any more."""
    outcome: Outcome = "failed" if event.problem is not None else "superseded"
    result: Step = (state, ())
    for flight in state.flights:
        result = chain(result, finish(result[0], flight, outcome, at_s, event.problem))
    return result


def settle_before(state: State, count: int, at_s: float) -> Step:
    """End the oldest flights: a newer one has an outcome. One whose feedback was on the screen was not in vain."""
    result: Step = (state, ())
    for flight in state.flights[:count]:
        if flight.shown_s is not None:
            result = chain(result, _probes_finished(result[0], flight, at_s))
        else:
            result = chain(result, finish(result[0], flight, "superseded", at_s))
    return result


def finish(state: State, flight: Flight, outcome: Outcome, end_s: float, problem: events.Problem | None = None) -> Step:
    """End a flight, at a moment that is its feedback."""
    state = state.removing(flight)
    if outcome == "ok":
        is_resumed = flight.marks.started_s is None
        state = replace(state, tests=tests_on_save.iteration_ended(state.tests, flight.number, is_resumed=is_resumed))
    iteration = concluded(flight, outcome, max(end_s, flight.marks.saved_s), problem)
    is_usual = iteration.why_code != "resumed" and iteration.asked in {"", "restart"}
    if is_usual:
        iteration = replace(iteration, expected_s=expected.feedback_s(state.past, iteration.cause))
    if outcome == "ok" and is_usual:
        state = replace(state, past=expected.learned(state.past, iteration.cause, iteration.feedback_s))
    return state, (Emit(events.IterationFinished(end_s, iteration)),)
