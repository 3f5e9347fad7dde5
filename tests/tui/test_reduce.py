"""What the dashboard knows after events: any of them, in any order, and those of real sessions."""

from __future__ import annotations

import typing
from dataclasses import fields, is_dataclass, replace
from typing import Any, Literal

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tui import panel_states as known
from tests.tui import scenes

from hotloop import events
from hotloop.tui.reduce import reduce, tick
from hotloop.tui.state import MAX_ITERATIONS, State, Trip

AT_S = scenes.BEGAN_S


def after(*happened: events.Event, state: State | None = None) -> State:
    state = state if state is not None else State()
    for event in happened:
        state = reduce(state, event)
    return state


def of_scene(name: str) -> State:
    return after(*scenes.SCENES[name].script)


# --- laws ---------------------------------------------------------------------------------------------------------------


def iterations(number: st.SearchStrategy[int]) -> st.SearchStrategy[events.Iteration]:
    return st.builds(
        lambda number, outcome, cause, is_ready: replace(
            scenes.iteration(number, at_s=AT_S, cause=cause),
            outcome=outcome,
            generation=number + 1 if is_ready else None,
        ),
        number,
        st.sampled_from(["ok", "failed", "superseded"]),
        st.sampled_from(["code", "model", "environment", "cold"]),
        st.booleans(),
    )


def specimen(kind: type[Any], at_s: float, number: int) -> Any:
    """Make a record of a kind with values of the right types; `number` chooses among them."""
    hints = typing.get_type_hints(kind)
    return kind(**{each.name: value(hints[each.name], at_s, number) for each in fields(kind) if each.name != "kind"})


def value(hint: Any, at_s: float, number: int) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return arguments[number % len(arguments)]
    if type(None) in arguments:
        return None if number % 2 else value(next(each for each in arguments if each is not type(None)), at_s, number)
    if origin is tuple:
        return (value(arguments[0], at_s, number),) * (number % 3)
    if is_dataclass(hint):
        return specimen(hint, at_s, number)
    plain: dict[Any, Any] = {str: "x" * number, int: number, float: at_s, bool: number % 2 == 0}
    return {} if origin is dict else plain[hint]


def any_events() -> st.SearchStrategy[events.Event]:
    at_s, number = st.floats(AT_S, AT_S + 100), st.integers(0, 6)
    kinds = [kind for kind in events.EVENT_TYPES.values() if kind is not events.IterationFinished]
    return st.one_of(
        st.builds(specimen, st.sampled_from(kinds), at_s, number),
        st.builds(events.IterationFinished, at_s, iterations(number)),
        st.builds(events.IterationStarted, at_s, number, st.just(("a.py",))),
    )


@settings(max_examples=200, deadline=None)
@given(st.lists(any_events(), max_size=30))
def test_any_events_give_a_state_and_no_iteration_is_lost(happened: list[events.Event]):
    state = after(*happened)

    finished = {
        event.iteration.number: event.iteration for event in happened if isinstance(event, events.IterationFinished)
    }
    begun = {event.number for event in happened if isinstance(event, events.IterationStarted) and event.number}
    shown = {trip.number: trip for trip in state.trips}
    assert finished.keys() | begun <= shown.keys()
    assert [trip.number for trip in state.trips] == sorted(shown)
    for number, iteration in finished.items():
        assert shown[number].outcome == iteration.outcome
        assert shown[number].feedback_s == iteration.feedback_s
    assert tick(state, AT_S + 1e6).degraded in {"", state.degraded, *(each.text for each in state.troubles)}


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.001, 3.0), min_size=1, max_size=6))
def test_the_phases_of_a_running_iteration_are_contiguous(steps_s: list[float]):
    makers = [
        lambda at_s: events.ReloadStarted(at_s, 2, "standby"),
        lambda at_s: events.ModelLoading(at_s, 2, "chat", "load.py changed"),
        lambda at_s: events.Ready(at_s, 2, 2, at_s, "standby", (), (), ("probe",)),
    ]
    at_s, state = AT_S, after(events.IterationStarted(AT_S, 1, ("a.py",), saved_s=AT_S))
    for step_s, make in zip(steps_s, makers, strict=False):
        at_s += step_s
        state = reduce(state, make(at_s))

    (trip,) = state.trips
    done_s = sum(phase.took_s for phase in trip.phases if phase.took_s is not None)
    assert abs(done_s - (at_s - AT_S)) < 1e-6
    assert [phase.is_live for phase in trip.phases].count(True) == 1


# --- states -------------------------------------------------------------------------------------------------------------


def test_each_scene_has_the_state_that_it_is_named_for():
    statuses = {name: of_scene(name).status for name in scenes.SCENES}

    assert statuses["start"] == statuses["cold"] == statuses["environment"] == "cold"
    assert statuses["ready"] == "ready"
    assert statuses["reloading"] == "reloading"
    assert statuses["live"] == statuses["degraded"] == statuses["idle"] == "live"
    assert statuses["failed"] == statuses["memory"] == statuses["nothing"] == "failed"
    assert (statuses["offline"], statuses["paused"], statuses["ended"]) == ("offline", "paused", "ended")


def test_a_failure_leaves_the_last_good_iteration_serving_unless_nothing_does():
    assert of_scene("failed").serving == 42
    assert of_scene("memory").serving is None


def test_an_iteration_whose_probe_failed_serves_all_the_same():
    broken = replace(scenes.iteration(43, at_s=AT_S, probes=(known.BROKEN_PROBE,)), outcome="failed")
    state = after(events.IterationFinished(AT_S, broken), state=of_scene("live"))

    assert (state.status, state.serving) == ("failed", 43)


def test_a_running_iteration_expects_what_the_last_ones_of_its_cause_took():
    trip = of_scene("reloading").trip

    assert trip is not None
    assert (trip.cause, trip.outcome) == ("model", "running")
    assert trip.expected_s is not None
    assert 2 < trip.expected_s < 8  # the models of this session took so long, its code changes a tenth of it
    assert [phase.name for phase in trip.phases if phase.is_live] == ["warmup"]


def test_what_is_missed_at_an_attach_in_the_middle_is_no_failure():
    state = after(events.Ready(AT_S, 9, 8, AT_S, "standby", (), (), ()), events.ProbeReported(AT_S, 8, 8, known.REFUND))

    assert state.status == "ready"
    assert state.probes == (known.REFUND,)


def test_refused_requests_are_told_of_for_some_seconds():
    state = of_scene("degraded")

    assert "queue full" in state.degraded
    assert tick(state, scenes.NOW_S + 60).degraded == ""


def test_an_environment_that_is_made_is_a_phase_between_sync_and_apply():
    started = events.IterationStarted(AT_S, 1, ("requirements.txt",), saved_s=AT_S)
    progress = events.EnvironmentProgress(AT_S + 0.1, 2, "requirements.txt", "resolve")
    (trip,) = after(started, progress).trips

    assert trip.cause == "environment"
    assert [phase.name for phase in trip.phases][1:4] == ["sync", "environment", "apply"]
    assert [phase.name for phase in of_scene("environment").trips[0].phases if phase.is_live] == ["environment"]


def test_more_iterations_than_are_shown_leave_the_newest():
    told = [events.IterationFinished(AT_S + n, scenes.iteration(n, at_s=AT_S + n)) for n in range(MAX_ITERATIONS + 5)]

    assert [trip.number for trip in after(*told).trips] == list(range(5, MAX_ITERATIONS + 5))


def test_a_log_line_changes_nothing_that_is_known():
    state = of_scene("live")

    assert reduce(state, events.Log(AT_S, 1, "stdout", "hello")) is state


def test_the_iteration_that_is_looked_at_is_the_newest_unless_one_is_chosen():
    state = of_scene("live")

    assert isinstance(state.trip, Trip)
    assert state.trip.number == 42
    assert replace(state, selected=7).trip is next(trip for trip in state.trips if trip.number == 7)


def test_an_iteration_that_is_looked_at_for_so_long_that_it_is_forgotten_gives_way_to_the_oldest_kept():
    told = [
        events.IterationFinished(AT_S, scenes.iteration(number, at_s=AT_S)) for number in range(1, MAX_ITERATIONS + 9)
    ]
    state = after(*told[:3], state=State(selected=2))
    assert state.trip.number == 2

    state = after(*told, state=state)

    assert state.trip is state.trips[0]


def test_a_save_that_was_superseded_serves_when_the_one_that_came_after_it_fails():
    superseded = replace(scenes.iteration(43, at_s=AT_S + 0.2, probes=()), outcome="superseded")
    failed = scenes.iteration(44, at_s=AT_S + 0.3, outcome="failed", problem=known.KEY_ERROR)
    state = after(
        events.IterationStarted(AT_S, 43, ("app.py",), saved_s=AT_S),
        events.IterationStarted(AT_S + 0.1, 44, ("app.py",), saved_s=AT_S + 0.1),
        events.Ready(AT_S + 0.15, 44, 44, AT_S + 0.14, "standby", (), (), ("greeting",)),
        events.ReloadFailed(AT_S + 0.3, 45, known.KEY_ERROR, 44),
        events.IterationFinished(AT_S + 0.3, superseded),
        events.IterationFinished(AT_S + 0.3, failed),
        events.ProbeReported(AT_S + 0.4, 44, 44, known.GREETING),
        state=of_scene("live"),
    )

    assert (state.status, state.serving) == ("failed", 43)
    assert {trip.number: trip.probes for trip in state.trips[-2:]} == {43: (known.GREETING,), 44: ()}


def test_a_worker_that_is_replaced_serves_what_served_before():
    state = after(events.Ready(scenes.NOW_S, 43, 50, scenes.NOW_S, "fork", (), (), ()), state=of_scene("failed"))

    assert (state.status, state.serving) == ("failed", 42)


def test_a_start_that_found_the_app_running_is_no_measure_of_a_cold_one():
    found = replace(scenes.iteration(0, at_s=AT_S, cause="cold"), why_code="resumed")
    state = after(events.IterationFinished(AT_S, found))

    assert (state.status, state.trip.cause) == ("ready", "resumed")
    assert state.recent.get("cold") is None


def test_what_is_waited_for_is_forgotten_when_it_is_over():
    state = after(events.Held(AT_S, "41 of 44 files are deleted"), state=of_scene("live"))
    assert state.hold is not None

    assert after(events.Held(AT_S + 1, ""), state=state).hold is None
