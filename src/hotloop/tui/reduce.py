"""What the dashboard knows after each event: `reduce`, and `tick` for what ends by itself. Pure: no clock, no Textual.

Every event of any order gives a state, and no iteration that was told of is lost: in a real session events are missed
(a dashboard attaches in the middle), repeated (a link comes back) and late.
"""

from __future__ import annotations

from dataclasses import replace
from functools import singledispatch
from typing import TYPE_CHECKING

from hotloop import events
from hotloop.tui import journey
from hotloop.tui.expectation import ENVIRONMENT, phase_names, remembered, with_cause
from hotloop.tui.state import MAX_ITERATIONS, MAX_SAMPLES, State, Trip, Trouble
from hotloop.tui.status import settled

if TYPE_CHECKING:
    from collections.abc import Callable

REFUSED_S = 15.0  # for how long it is said that requests were refused
DIED_S = 10.0
LOST_S = 30.0
MEMORY_RATIO = 0.96
MAX_NOTICES = 50


def reduce(state: State, event: events.Event) -> State:
    """Give the state after an event."""
    if isinstance(event, events.Log):  # by far the most frequent, and the log has a buffer of its own
        return state
    if not state.began_s:
        state = replace(state, began_s=event.at_s, active_at_s=event.at_s)
    return settled(_reduced(event, state))


def tick(state: State, now_s: float) -> State:
    """Give the state when nothing happened but time; the same object if that changes nothing."""
    left = tuple(each for each in state.troubles if each.until_s is None or each.until_s > now_s)
    return settled(replace(state, troubles=left)) if left != state.troubles else state


# --- trips ------------------------------------------------------------------------------------------------------


def _with_trip(state: State, trip: Trip) -> State:
    """Put an iteration in its place, by number; the one that was there is replaced."""
    others = [each for each in state.trips if each.number != trip.number]
    trips = tuple(sorted((*others, trip), key=lambda each: each.number))
    return replace(state, trips=trips[-MAX_ITERATIONS:])


def _running(state: State, change: Callable[[Trip], Trip]) -> State:
    """Change the iteration that runs: events name revisions, and the newest save is what is waited for."""
    newest = state.trips[-1] if state.trips else None
    if newest is None or newest.outcome != "running":
        return state
    return _with_trip(state, change(newest))


def _trip(state: State, number: int) -> Trip | None:
    return next((trip for trip in state.trips if trip.number == number), None)


def _troubled(state: State, key: str, text: str, until_s: float | None = None) -> State:
    others = tuple(each for each in state.troubles if each.key != key)
    return replace(state, troubles=(*others, Trouble(key, text, until_s)) if text else others)


# --- events, one function each ----------------------------------------------------------------------------------


@singledispatch
def _reduced(event: object, state: State) -> State:
    """Events that change nothing that is shown here: they are lines of the log, or parts of others."""
    return state


@_reduced.register
def _(event: events.SessionStarted, state: State) -> State:
    state = replace(
        state,
        app=event.app,
        project=event.project,
        runner=event.runner,
        python=event.python,
        num_files=event.num_files,
        ended=None,
    )
    if state.trips or state.serving is not None:
        return state
    first = journey.begun(0, state.began_s, "cold", state.recent)
    note = f"{event.num_files:,} files"
    return _with_trip(state, journey.noted(journey.advanced(first, "apply", event.at_s), {"sync": note, "detect": ""}))


@_reduced.register
def _(event: events.SessionResumed, state: State) -> State:
    """It was left running: there is no first start."""
    trips = tuple(trip for trip in state.trips if trip.number or trip.outcome != "running")
    serving = state.serving if state.serving is not None else 0
    models = event.models or state.models
    return replace(state, trips=trips, serving=serving if event.generation else state.serving, models=models)


@_reduced.register
def _(event: events.RuntimeStarted, state: State) -> State:
    return replace(state, address=event.address)


@_reduced.register
def _(event: events.IterationStarted, state: State) -> State:
    state = replace(state, hold=None, active_at_s=event.at_s)
    done = _trip(state, event.number)
    if done is not None and done.outcome != "running":
        return state  # told again after a cut
    cause = {"restart": "cold", "reload": "model"}.get(event.asked, "code")
    trip = journey.begun(event.number, event.saved_s or event.at_s, cause, state.recent, event.paths)
    has_files = event.asked in {"", "undo"}
    return _with_trip(state, journey.advanced(trip, "sync" if has_files else "apply", event.at_s))


@_reduced.register
def _(event: events.EnvironmentProgress, state: State) -> State:
    """The environment is a phase of its own: it takes minutes where the others take milliseconds."""

    def change(trip: Trip) -> Trip:
        trip = trip if ENVIRONMENT in {p.name for p in trip.phases} else _asking_for_environment(trip, state)
        return journey.advanced(trip, ENVIRONMENT, event.at_s, event.source)

    return replace(_running(state, change), environment=event)


def _asking_for_environment(trip: Trip, state: State) -> Trip:
    """A first start stays a cold one, with that phase in its place."""
    cause = trip.cause if trip.cause == "cold" else ENVIRONMENT
    there = {phase.name: phase for phase in with_cause(trip, ENVIRONMENT, state.recent).phases}
    has = {phase.name: phase for phase in trip.phases}
    phases = tuple(has.get(name, there[name]) for name in phase_names(ENVIRONMENT))
    if cause == "cold":
        return replace(trip, phases=phases)
    return with_cause(replace(trip, phases=phases), cause, state.recent)


@_reduced.register
def _(event: events.EnvironmentReady, state: State) -> State:
    said = f"{event.source} asks for another environment"
    changes = f": {', '.join(event.changes[:2])}" if event.changes else ""
    state = replace(state, environment=None)
    if event.was_cached and not any(p.name == ENVIRONMENT for t in state.trips[-1:] for p in t.phases):
        return state
    return _running(state, lambda trip: replace(journey.advanced(trip, "apply", event.at_s), why=said + changes))


@_reduced.register
def _(event: events.EnvironmentFailed, state: State) -> State:
    return replace(_running(state, lambda trip: replace(trip, problem=event.problem)), environment=None)


@_reduced.register
def _(event: events.ReloadStarted, state: State) -> State:
    def change(trip: Trip) -> Trip:
        if event.start == "zygote" and trip.cause == "code":
            trip = with_cause(trip, "cold", state.recent)
        return journey.restarted(trip, event.at_s, event.start)

    return _running(replace(state, loading=None), change)


@_reduced.register
def _(event: events.ModelLoading, state: State) -> State:
    def change(trip: Trip) -> Trip:
        trip = with_cause(trip, "model", state.recent) if trip.cause == "code" else trip
        said = f"{event.model} is loaded: {event.why}"
        return replace(journey.advanced(trip, "warmup", event.at_s, f"loading {event.model}"), why=said)

    loading = events.ModelProgress(event.at_s, event.revision, event.model, 0)
    return replace(_running(state, change), loading=loading, loading_began_s=event.at_s)


@_reduced.register
def _(event: events.ModelProgress, state: State) -> State:
    is_new = state.loading is None or state.loading.model != event.model
    return replace(state, loading=event, loading_began_s=event.at_s if is_new else state.loading_began_s)


@_reduced.register
def _(event: events.Ready, state: State) -> State:
    def change(trip: Trip) -> Trip:
        trip = journey.advanced(trip, "warmup", event.imported_at_s)
        trip = journey.noted(trip, {"warmup": journey.models_note(event.models)})
        note = f"probe {event.probes[0]}" if event.probes else ""
        return replace(
            journey.advanced(trip, "first_output", event.at_s, note), models=event.models, generation=event.generation
        )

    newest = state.trips[-1] if state.trips else None
    is_caused = newest is not None and (newest.outcome == "running" or state.serving is None)
    serving = (
        newest.number if newest is not None and is_caused else state.serving or 0
    )  # else a worker that died is replaced
    state = _troubled(_troubled(state, "died", ""), "workers", "")
    names = set(event.probes)
    return replace(
        _running(state, change),
        serving=serving,
        generation=event.generation,
        models=event.models,
        endpoints=event.endpoints,
        loading=None,
        loading_began_s=None,
        environment=None,
        probes=tuple(report for report in state.probes if report.name in names) if names else state.probes,
    )


@_reduced.register
def _(event: events.ReloadFailed, state: State) -> State:
    state = _running(state, lambda trip: replace(trip, problem=event.problem))
    return replace(state, loading=None, serving=None if event.serving is None else state.serving)


@_reduced.register
def _(event: events.ProbeReported, state: State) -> State:
    state = _with_report(state, event.report)

    def change(trip: Trip) -> Trip:
        reports = (*(each for each in trip.probes if each.name != event.report.name), event.report)
        return replace(trip, probes=reports)

    named = _trip(state, event.number)
    by_generation = next((trip for trip in state.trips if trip.generation == event.generation), None)
    is_others = named is not None and named.outcome == "failed" and named.generation is None
    trip = by_generation if is_others and by_generation is not None else named  # that one serves, and was tried
    return _with_trip(state, change(trip)) if trip is not None else state


def _with_report(state: State, report: events.ProbeReport) -> State:
    if any(each.name == report.name for each in state.probes):
        return replace(state, probes=tuple(report if each.name == report.name else each for each in state.probes))
    return replace(state, probes=(*state.probes, report))


@_reduced.register
def _(event: events.IterationFinished, state: State) -> State:
    iteration = event.iteration
    trip = journey.finished(_trip(state, iteration.number), iteration, event.at_s, state.recent)
    state = replace(_with_trip(state, trip), active_at_s=event.at_s)
    is_serving = iteration.generation == state.generation or iteration.outcome != "superseded"
    if iteration.generation is not None and is_serving:
        state = replace(state, serving=iteration.number)
    if iteration.outcome == "ok":
        state = replace(state, recent=remembered(state.recent, journey.cause_of(iteration), iteration.phases_s))
    return state


@_reduced.register
def _(event: events.TestsStarted, state: State) -> State:
    return replace(state, tests=None)


@_reduced.register
def _(event: events.TestsFinished, state: State) -> State:
    trip = _trip(state, event.number)
    state = _with_trip(state, replace(trip, tests=event)) if trip is not None else state
    return replace(state, tests=event)


@_reduced.register
def _(event: events.BenchFinished, state: State) -> State:
    return replace(state, bench=event)


@_reduced.register
def _(event: events.RuntimeSampled, state: State) -> State:
    state = replace(state, samples=(*state.samples, event)[-MAX_SAMPLES:], sampled_at_s=event.at_s)
    if any(endpoint.requests_per_s for endpoint in event.endpoints):
        state = replace(state, active_at_s=event.at_s)
    used = max(
        (gpu.memory_used_bytes / gpu.memory_total_bytes for gpu in event.gpus if gpu.memory_total_bytes), default=0
    )
    return _troubled(state, "memory", f"GPU memory at {used:.0%}" if used >= MEMORY_RATIO else "")


@_reduced.register
def _(event: events.CostReported, state: State) -> State:
    is_over = event.budget is not None and event.session >= event.budget
    said = f"over the budget of ${event.budget:,.2f}" if is_over else ""
    return _troubled(replace(state, cost=event), "budget", said)


@_reduced.register
def _(event: events.LinkMeasured, state: State) -> State:
    return replace(state, link=event)


@_reduced.register
def _(event: events.RequestFinished, state: State) -> State:
    state = replace(state, active_at_s=event.at_s)
    return _refused(state, event.at_s, {str(event.status): 1})


@_reduced.register
def _(event: events.RequestsFinished, state: State) -> State:
    return _refused(replace(state, active_at_s=event.at_s), event.at_s, event.statuses)


def _refused(state: State, at_s: float, statuses: dict[str, int]) -> State:
    if "429" not in statuses:
        return state
    return _troubled(state, "queue", "queue full, requests are refused", at_s + REFUSED_S)


@_reduced.register
def _(event: events.ProcessDied, state: State) -> State:
    who = {"active": "the worker", "hosted": f"{event.name}'s process", "runtime": "the runtime"}.get(event.role)
    if who is None:
        return state  # the standby and the zygote serve nobody
    return _troubled(state, "died", f"{who} died ({event.cause}), restarting", event.at_s + DIED_S)


@_reduced.register
def _(event: events.WorkersServing, state: State) -> State:
    is_short = event.count < event.wanted
    how = "starting" if event.is_growing else "the others can't start"
    said = f"{event.count} of {event.wanted} workers, {how}" if is_short else ""
    return _troubled(state, "workers", said)


@_reduced.register
def _(event: events.StandbyReady, state: State) -> State:
    return _troubled(state, "died", "")


@_reduced.register
def _(event: events.EventsDropped, state: State) -> State:
    return _troubled(state, "dropped", f"{event.count:,} events were missed", event.at_s + LOST_S)


@_reduced.register
def _(event: events.Notice, state: State) -> State:
    return replace(state, notices=(*state.notices, event)[-MAX_NOTICES:])


@_reduced.register
def _(event: events.Held, state: State) -> State:
    return replace(state, hold=event if event.reason else None)


@_reduced.register
def _(event: events.Offline, state: State) -> State:
    since_s = state.offline_since_s if state.offline is not None else event.at_s
    return replace(state, offline=event, offline_since_s=since_s, queued=event.queued)


@_reduced.register
def _(event: events.Online, state: State) -> State:
    return replace(state, offline=None, offline_since_s=None, queued=0)


@_reduced.register
def _(event: events.SyncPaused, state: State) -> State:
    return replace(state, is_paused=True, queued=event.queued)


@_reduced.register
def _(event: events.SyncResumed, state: State) -> State:
    return replace(state, is_paused=False, queued=0)


@_reduced.register
def _(event: events.EditUndone, state: State) -> State:
    trip = _trip(state, event.number)
    if trip is None or trip.outcome != "running":
        return state
    return _with_trip(state, replace(trip, why=f"the runner serves the files as before #{event.undone} again"))


@_reduced.register
def _(event: events.RuntimeStopped, state: State) -> State:
    state = replace(state, serving=None, loading=None)
    return _running(state, lambda trip: replace(trip, problem=event.problem)) if event.problem is not None else state


@_reduced.register
def _(event: events.SessionEnded, state: State) -> State:
    return replace(state, ended=event, offline=None)
