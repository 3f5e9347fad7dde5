"""When a bench begins, when it stops, and what is told of it: decisions of the loop's machine."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.devloop.test_machine import done, happened, play, probed, ready, saved, snapshotted, started, trip

from hotloop import events
from hotloop.clock import SaveTime
from hotloop.devloop import bench
from hotloop.devloop.load.figures import NUM_PAIRS, Figures
from hotloop.devloop.load.job import Result
from hotloop.devloop.machine_events import Acked, Dangerous, Ended, Opened, Unchanged
from hotloop.devloop.machine_state import Emit, Snapshot, State

SHAPE = events.EndpointShape("greet", "/greet", ("POST",), (), "str", is_batched=False, is_stream=False)
OTHER = replace(SHAPE, name="v1_other", path="/v1/other")
OPENED = Opened(SaveTime(0.0, 1000.0, is_estimated=True), 0.1, 0.2, 1)
STANDBY = happened(events.StandbyReady(9.0))
SETTLED = tuple(0.01 for _ in range(NUM_PAIRS))


def figures(rate=100.0, requests=200):
    return Figures(requests, rate, 0.01, 0.02, {}, (rate,) * 8, (0.02,) * 8)


def asked(endpoint="greet", *, noise=SETTLED):
    from hotloop.devloop.load.figures import Noise

    return State(bench=bench.State(endpoint, noise=Noise(noise, noise)))


def ready_with(revision, generation, at, *shapes):
    return happened(replace(ready(revision, generation, at).event, endpoints=shapes or (SHAPE,)))


def first_start(*, is_ok=True):
    """All events from a session's beginning to a standby that waits."""
    return OPENED, started(1, 1.0), ready_with(1, 1, 2.0), probed(1, 1, 3.0, is_ok=is_ok), done(1, 1, 4.0), STANDBY


def benches(actions):
    return [action for action in actions if isinstance(action, bench.Begin | bench.Stop)]


def told(actions):
    found = [action.event for action in actions if isinstance(action, Emit)]
    return [event for event in found if isinstance(event, events.BenchFinished | events.BenchFailed)]


def over(number, rate=100.0, **changes):
    return bench.Benched(20.0, number, Result(figures(rate), **changes))


def numbers(actions):
    return [action.number if isinstance(action, bench.Begin) else "stop" for action in benches(actions)]


def test_a_bench_begins_when_the_probes_passed_and_the_next_worker_waits():
    state, actions = play(*first_start()[:-1], state=asked())
    assert benches(actions) == []

    _, actions = play(STANDBY, state=state)

    assert benches(actions) == [bench.Begin(1, SHAPE, None, state.bench.noise)]


def test_a_standby_that_waits_before_the_probes_are_done_is_waited_for_no_more():
    *before, finished, standby = first_start()

    _, actions = play(*before, standby, finished, state=asked())

    assert numbers(actions) == [1]


@pytest.mark.parametrize(("count", "is_growing", "begun"), [(2, True, []), (3, False, [1]), (2, False, [1])])
def test_workers_that_are_to_join_are_waited_for(count, is_growing, begun):
    opened, reload, first, *rest = first_start()
    first = happened(replace(first.event, workers=3))
    state, actions = play(opened, reload, first, *rest, state=asked())
    assert benches(actions) == []

    _, actions = play(happened(events.WorkersServing(9.5, 1, count, 3, is_growing=is_growing)), state=state)

    assert numbers(actions) == begun


def test_without_an_endpoint_nothing_is_benched():
    _, actions = play(*first_start(), state=asked(""))

    assert (benches(actions), told(actions)) == ([], [])


def test_a_generation_whose_probe_failed_is_not_benched():
    _, actions = play(*first_start(is_ok=False), state=asked())

    assert benches(actions) == []


def test_a_generation_is_benched_when_its_probes_pass_at_last():
    state, _ = play(*first_start(is_ok=False), state=asked())

    _, actions = play(probed(1, 1, 11.0), done(1, 1, 12.0), state=state)

    assert numbers(actions) == [1]


def test_a_save_stops_the_bench_before_anything_else():
    state, _ = play(*first_start(), state=asked())

    _, actions = play(saved(), state=state)

    assert [type(action) for action in actions] == [bench.Stop, Snapshot]


def test_a_save_that_changes_nothing_has_the_bench_begin_again():
    state, _ = play(*first_start(), saved(), state=asked())

    _, actions = play(Unchanged(), state=state)

    assert numbers(actions) == [2]


def test_a_reload_that_fails_has_the_stopped_bench_of_what_still_serves_begin_again():
    state, _ = play(*first_start(), saved(), snapshotted(1), Acked(1, 2, 10.1), started(2, 10.2), state=asked())
    failed = happened(events.ReloadFailed(10.3, 2, events.Problem("E", ""), 1))

    state, actions = play(failed, state=state)
    assert benches(actions) == []
    _, actions = play(STANDBY, state=state)

    assert numbers(actions) == [2]


def test_a_reload_that_fails_after_the_bench_begins_none():
    state, _ = play(*first_start(), over(1), saved(), snapshotted(1), Acked(1, 2, 10.1), state=asked())
    failed = happened(events.ReloadFailed(10.3, 2, events.Problem("E", ""), 1))

    _, actions = play(started(2, 10.2), failed, STANDBY, state=state)

    assert benches(actions) == []


def test_a_held_deletion_begins_no_bench():
    _, actions = play(*first_start(), saved(), Dangerous(11.0, "8 of 9", ""), state=asked())

    assert numbers(actions) == [1, "stop"]


def test_a_reload_that_nothing_was_saved_for_is_benched_too():
    state, _ = play(*first_start(), over(1), state=asked())

    _, actions = play(started(1, 30.0), ready_with(1, 2, 31.0), done(1, 2, 32.0), STANDBY, state=state)

    assert numbers(actions) == [2]


def test_a_generation_that_takes_over_stops_the_bench_of_the_last():
    state, _ = play(*first_start(), state=asked())

    state, actions = play(ready_with(1, 2, 31.0), state=state)

    assert benches(actions) == [bench.Stop()]
    assert told(play(over(1), state=state)[1]) == []


@pytest.mark.parametrize("ended", [Ended(40.0), happened(events.RuntimeStopped(40.0))])
def test_the_end_of_a_session_stops_the_bench(ended):
    state, _ = play(*first_start(), state=asked())

    assert benches(play(ended, state=state)[1]) == [bench.Stop()]


def test_what_a_bench_came_to_is_told_with_what_it_is_compared_with():
    change = events.Change(1.1, 1.05, 1.15, is_clear=True)
    state, actions = play(*first_start(), over(1), state=asked())
    (first,) = told(actions)

    state, begun = play(*trip(2, 50.0)[:4], ready_with(2, 2, 50.1), done(2, 2, 51.0), STANDBY, state=state)
    state, unconfirmed = play(over(2, 110.0, throughput=change), state=state)
    _, actions = play(over(3, 110.0, throughput=change), state=state)

    (second,) = told(actions)
    assert (told(unconfirmed), numbers(unconfirmed), second.repeat) == ([], [3], 0)
    assert (first.generation, first.previous, first.repeat, first.requests_per_s) == (1, None, 0, 100.0)
    assert benches(begun)[-1].before == figures(100.0)
    assert (second.generation, second.previous, second.throughput) == (2, 1, change)
    assert (second.endpoint, second.throughput_noise_ratio) == ("/greet", pytest.approx(0.0305, abs=1e-3))


UP, DOWN = events.Change(1.2, 1.1, 1.3, is_clear=True), events.Change(0.8, 0.7, 0.9, is_clear=True)
UNCLEAR = replace(UP, is_clear=False)
SECOND = (*trip(2, 50.0)[:4], ready_with(2, 2, 50.1), done(2, 2, 51.0), STANDBY)


@pytest.mark.parametrize(
    ("first", "second", "rate", "is_clear"),
    [(UP, UP, 120.0, True), (DOWN, DOWN, 120.0, True), (UP, DOWN, 120.0, False), (UP, UNCLEAR, 120.0, False),
     (UP, UP, 200.0, False)],
    ids=["up", "down", "up and down", "not again", "the two differ by as much"],
)  # fmt: skip
def test_a_change_is_told_as_clear_if_a_second_bench_says_the_same(first, second, rate, is_clear):
    state, _ = play(*first_start(), over(1), *SECOND, state=asked())

    _, actions = play(over(2, 120.0, throughput=first), over(3, rate, throughput=second), state=state)

    (said,) = told(actions)
    assert said.throughput == replace(second, is_clear=is_clear)
    assert numbers(actions) == [3]


def test_a_change_that_is_not_clear_is_told_at_once():
    state, _ = play(*first_start(), over(1), *SECOND, state=asked())

    _, actions = play(over(2, 120.0, throughput=UNCLEAR), state=state)

    assert ([event.throughput for event in told(actions)], benches(actions)) == ([UNCLEAR], [])


def test_a_save_before_a_change_was_confirmed_has_it_told_never():
    state, _ = play(*first_start(), over(1), *SECOND, over(2, throughput=UP), state=asked())

    third = (saved(), snapshotted(3), Acked(3, 3, 60.0), started(3, 60.1), ready_with(3, 3, 61.0))
    _, actions = play(*third, done(3, 3, 62.0), STANDBY, over(4, 100.0), state=state)

    assert [event.generation for event in told(actions)] == [3]


def test_the_first_generation_is_benched_until_it_is_known_what_is_noise():
    state, actions = play(*first_start(), state=asked(noise=()))
    begun, repeats, known = numbers(actions), [], []
    for number in range(1, NUM_PAIRS + 5):
        state, actions = play(over(number, 100.0 + number), state=state)
        begun += numbers(actions)
        repeats += [event.repeat for event in told(actions)]
        known += [event.throughput_noise_ratio is not None for event in told(actions)]

    assert begun == list(range(1, NUM_PAIRS + 2))
    assert repeats == list(range(NUM_PAIRS + 1))
    assert known == [False] * NUM_PAIRS + [True]


def test_too_few_answers_to_compare_are_not_asked_for_again():
    state, _ = play(*first_start(), state=asked(noise=()))

    _, actions = play(bench.Benched(20.0, 1, Result(figures(requests=39))), state=state)

    assert (len(told(actions)), benches(actions)) == (1, [])


def test_a_standby_that_replaces_another_has_the_bench_begin_again():
    state, _ = play(*first_start(), state=asked())

    assert numbers(play(STANDBY, state=state)[1]) == ["stop", 2]
    assert numbers(play(over(1), STANDBY, state=state)[1]) == [2]


def test_figures_from_while_a_standby_was_replaced_are_forgotten():
    state, _ = play(*first_start(), over(1, 100.0), state=asked())
    second = (*trip(2, 50.0)[:4], ready_with(2, 2, 50.1), done(2, 2, 51.0), STANDBY)

    state, actions = play(*second, over(2, 10.0), STANDBY, over(3, 110.0), state=state)

    assert [(event.requests_per_s, event.repeat, event.previous) for event in told(actions)] == [
        (10.0, 0, 1), (110.0, 0, 1),
    ]  # fmt: skip
    assert (state.bench.last.middle, state.bench.before.middle) == (figures(110.0), figures(100.0))


def test_the_middle_of_a_generations_benches_is_what_the_next_is_compared_with():
    state, _ = play(*first_start(), state=asked(noise=()))
    for number in range(1, NUM_PAIRS + 2):
        state, _ = play(over(number, [100.0, 900.0, 120.0, 300.0, 110.0][number - 1]), state=state)

    _, actions = play(*trip(2, 50.0)[:4], ready_with(2, 2, 50.1), done(2, 2, 51.0), STANDBY, state=state)

    assert benches(actions)[-1].before == figures(120.0)


def test_a_bench_without_a_result_is_told_and_not_tried_again():
    problem = events.Problem("BenchRefused", "answered 422")
    state, _ = play(*first_start(), state=asked())

    _, actions = play(bench.Benched(20.0, 1, Result(problem=problem)), state=state)

    assert told(actions) == [events.BenchFailed(20.0, 1, "/greet", problem)]
    assert benches(actions) == []


@pytest.mark.parametrize("name", ["greet", "/greet", "v1_other", "/v1/other", "v1/other"])
def test_an_endpoint_is_known_by_name_and_by_path(name):
    events_ = (OPENED, started(1, 1.0), ready_with(1, 1, 2.0, SHAPE, OTHER), done(1, 1, 4.0), STANDBY)

    (begun,) = benches(play(*events_, state=asked(name))[1])

    assert begun.endpoint == (SHAPE if "greet" in name else OTHER)


def test_an_endpoint_that_is_not_served_is_told_at_once_and_benched_when_it_is():
    state, actions = play(*first_start(), state=asked("other"))
    (failed,) = told(actions)
    assert (failed.generation, failed.endpoint, failed.problem.type) == (1, "other", "NoEndpoint")
    assert (failed.problem.hint, benches(actions)) == ("the app has: greet", [])
    assert benches(play(STANDBY, state=state)[1]) == []

    other = replace(SHAPE, name="other", path="/other")
    _, actions = play(*trip(2, 50.0)[:4], ready_with(2, 2, 50.1, other), done(2, 2, 51.0), STANDBY, state=state)

    assert benches(actions)[0].endpoint == other


FED = {
    "save": saved(),
    "unchanged": Unchanged(),
    "read": snapshotted(1),
    "applied": Acked(1, 2, 10.5),
    "started": started(2, 11.0),
    "ready": ready_with(2, 2, 12.0),
    "gone": ready_with(2, 3, 12.0, OTHER),
    "failed": happened(events.ReloadFailed(12.0, 2, events.Problem("E", ""), 1)),
    "bad": probed(2, 2, 13.0, is_ok=False),
    "probed": done(2, 2, 14.0),
    "standby": STANDBY,
    "over": over(1),
    "stopped": happened(events.RuntimeStopped(15.0)),
    "ended": Ended(16.0),
}


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(sorted(FED)), max_size=30), st.booleans())
def test_in_any_order_one_bench_runs_at_a_time_and_none_beside_a_save(names, is_noise_known):
    state, actions = play(*first_start(), state=asked(noise=SETTLED if is_noise_known else ()))
    running = numbers(actions)[-1]
    for name in names:
        fed = over(state.bench.number) if name == "over" else FED[name]
        if name == "over":
            running = None
        state, actions = play(fed, state=state)
        for action in benches(actions):
            assert (running is None) == isinstance(action, bench.Begin)
            running = action.number if isinstance(action, bench.Begin) else None
        assert running is None or (state.is_quiet and state.bench.has_passed)
        assert state.bench.is_running == (running is not None)
