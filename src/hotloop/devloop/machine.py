"""The loop's decisions: what a save leads to, and what became of it.

`step` takes a state and an event and gives a state and actions. It knows no file, no network and no clock. Two rules
hold everywhere:

1. No save is lost: it is in `State.dirty`, in `State.taken`, or in a flight, until an iteration tells its outcome.
2. Every flight ends in exactly one iteration: ok, failed, or superseded by a newer one.
"""

from __future__ import annotations

from dataclasses import replace

from hotloop import events
from hotloop.devloop import bench, outcomes, saves, tests_on_save
from hotloop.devloop import machine_events as on
from hotloop.devloop.machine_state import Emit, State, Step, chain


def step(state: State, event: on.Event) -> Step:
    """Decide what follows from an event."""
    state, actions = _step(state, event)
    tested, runs = tests_on_save.decide(
        state.tests,
        has_flights=bool(state.flights),
        has_standby=state.bench.has_standby,
        is_offline=state.is_offline,
    )
    benched, benches = bench.decide(state.bench, is_quiet=state.is_quiet and tested.is_over)
    stops = tuple(action for action in (*benches, *runs) if isinstance(action, bench.Stop | tests_on_save.Stop))
    begins = tuple(action for action in (*runs, *benches) if isinstance(action, bench.Begin | tests_on_save.Begin))
    state = replace(state, bench=benched, tests=tested)
    return state, (*stops, *actions, *begins)  # a save has the machine for itself at once


def _step(state: State, event: on.Event) -> Step:  # noqa: C901, PLR0912  one line a case
    match event:
        case on.Opened():
            return saves.opened(state, event)
        case on.Saved():
            return saves.saved(state, event.save)
        case on.Snapshotted():
            return saves.snapshotted(state, event)
        case on.Unchanged():
            return saves.unchanged(state, event.at_s)
        case on.Dangerous():
            return saves.dangerous(state, event)
        case on.Confirmed():
            return saves.confirmed(state)
        case on.Paused():
            return saves.paused(state, event.at_s)
        case on.Resumed():
            return saves.resumed(state, event.at_s)
        case on.Asked():
            return saves.asked(state, event)
        case on.Undone():
            return saves.undone(state, event)
        case on.Acked():
            return _acked(state, event)
        case on.Refused():
            return _refused(state, event)
        case on.Happened():
            return _passed_on(state, event)
        case on.Shown():
            return outcomes.shown(state, event)
        case bench.Benched():
            benched, said = bench.over(state.bench, event)
            return replace(state, bench=benched), tuple(Emit(each) for each in said)
        case tests_on_save.Tested():
            tested, told = tests_on_save.over(state.tests, event)
            return replace(state, tests=tested), tuple(Emit(each) for each in told)
        case tests_on_save.Wanted():
            return replace(state, tests=tests_on_save.wanted(state.tests, state.number)), ()
        case on.Ended():
            state = replace(state, bench=replace(state.bench, has_passed=False))
            return outcomes.settle_before(state, len(state.flights), event.at_s)


def _passed_on(state: State, event: on.Happened) -> Step:
    if isinstance(event.event, events.Offline):
        state = replace(state, is_offline=True)
        return state, (Emit(replace(event.event, queued=state.num_queued)),)
    if isinstance(event.event, events.Online):
        state = replace(state, is_offline=False)
        still = (Emit(events.SyncPaused(event.at_s, state.num_dirty)),) if state.is_paused else ()
        return chain((state, (Emit(event.event), *still)), saves.take(state))
    benched, said = bench.heard(state.bench, event.event)
    told = (Emit(event.event), *(Emit(each) for each in said))
    state = replace(state, bench=benched)
    return chain((state, told), outcomes.happened(state, event.event, event.at_s))


def _acked(state: State, event: on.Acked) -> Step:
    flight = state.of_sequence(event.sequence)
    if flight is None:
        return saves.take(state)
    marks = replace(flight.marks, applied_s=event.applied_s, clock_error_s=event.clock_error_s)
    acked = replace(flight, revision=event.revision, marks=marks)
    result = outcomes.replay(replace(state.updating(acked), revision=max(state.revision, event.revision)))
    return chain(result, saves.take(result[0]))


def _refused(state: State, event: on.Refused) -> Step:
    flight = state.of_sequence(event.sequence)
    if flight is None:
        return state, ()
    said = (Emit(events.ReloadFailed(event.at_s, 0, event.problem, state.serving)),)
    failed = outcomes.finish(state, flight, "failed", event.at_s, event.problem)
    replayed = chain((failed[0], said + failed[1]), outcomes.replay(failed[0]))
    return chain(replayed, saves.take(replayed[0]))
