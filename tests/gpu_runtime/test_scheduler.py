"""What the scheduler promises, in simulated time: nobody starves, no budget is exceeded, shares are fair, targets are met."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotloop.gpu_runtime.batching import Queues
from hotloop.gpu_runtime.endpoints import BatchSpec, EndpointSpec
from hotloop.gpu_runtime.scheduler.choice import WINDOW, patience
from hotloop.gpu_runtime.scheduler.cost import CostModel
from hotloop.gpu_runtime.scheduler.cut import Budget, run_around
from hotloop.gpu_runtime.scheduler.order import AGEING_S
from hotloop.gpu_runtime.scheduler.waiting import Priority, Wants
from tests.gpu_runtime.simulator import Arrival, poisson, simulate


def endpoint(**about) -> EndpointSpec:
    return EndpointSpec("e", "/e", batch=BatchSpec(**about))


def costing(per_call_s: float, per_unit_s: float, noise: float = 0.0):
    source = random.Random(7)
    return lambda units, count: (per_call_s + per_unit_s * units) * (1 + noise * source.uniform(-1, 1))


# --- the cost model ---------------------------------------------------------------------------------------------


def trained(per_call_s: float, per_unit_s: float, count: int, noise: float = 0.05) -> CostModel:
    model, source, cost_s = CostModel(), random.Random(3), costing(per_call_s, per_unit_s, noise)
    for _ in range(count):
        units = source.choice([1, 4, 32, 200, 900])
        model.saw(units, cost_s(units, 1))
    return model


@pytest.mark.parametrize("per_call_s", [0, 1e-4, 0.01, 2])
@pytest.mark.parametrize("per_unit_s", [1e-6, 1e-3, 0.1])
def test_costs_are_learned_whatever_they_are(per_call_s, per_unit_s):
    model = trained(per_call_s, per_unit_s, 200)

    for units in (1, 50, 900):
        assert model.predict_s(units) == pytest.approx(per_call_s + per_unit_s * units, rel=0.25, abs=50 * per_unit_s)


def test_before_the_first_call_nothing_is_predicted_and_nothing_bounded():
    model = CostModel()

    assert (model.predict_s(1000), model.units_within(0.001), model.call_in_units) == (0, math.inf, math.inf)


def test_a_few_calls_that_took_far_too_long_do_not_change_what_is_predicted_much():
    model = trained(0.01, 0.001, 100)
    for units in (1, 900):
        model.saw(units, 60.0)

    assert model.predict_s(200) == pytest.approx(0.21, rel=0.35)


def test_a_machine_that_became_slower_is_believed():
    model, source = trained(0.01, 0.001, 100), random.Random(1)
    for _ in range(20):
        units = source.choice([1, 32, 900])
        model.saw(units, 0.05 + 0.005 * units)

    assert model.predict_s(200) == pytest.approx(1.05, rel=0.25)


def test_calls_all_of_one_size_are_predicted_however_many_there_were():
    model, source = CostModel(), random.Random(5)
    for _ in range(20_000):
        model.saw(32, 0.02 * source.uniform(0.9, 1.1))

    assert model.predict_s(32) == pytest.approx(0.02, rel=0.1)
    assert 0 < model.predict_s(1) <= 0.022
    assert model.predict_s(64) <= 0.045


@given(st.lists(st.tuples(st.floats(0, 1e9), st.floats(0, 1e4)), max_size=60))
def test_no_times_make_a_prediction_negative_or_no_number(seen):
    model = CostModel()
    for units, took_s in seen:
        model.saw(units, took_s)

    assert 0 <= model.per_call_s < math.inf
    assert 0 <= model.per_unit_s < math.inf


# --- the cut ----------------------------------------------------------------------------------------------------


@given(
    sizes=st.lists(st.integers(1, 50), min_size=1, max_size=9).map(sorted),
    data=st.data(),
    price=st.sampled_from([0.0, 1.0, 10.0, 100.0, math.inf]),
    max_size=st.integers(1, 6),
    max_cost=st.sampled_from([math.inf, 10.0, 60.0]),
)
def test_a_cut_keeps_its_budget_and_no_other_cut_is_cheaper(sizes, data, price, max_size, max_cost):
    chosen = data.draw(st.integers(0, len(sizes) - 1))
    budget = Budget(max_size, max_cost)
    start, stop = run_around(sizes, chosen, price, budget)

    assert start <= chosen < stop
    assert budget.allows(stop - start, sizes[stop - 1])
    finite = min(price, 1e6)
    whole = cheapest(sizes[:start], finite, budget) + cheapest(sizes[stop:], finite, budget)
    assert whole + finite + (stop - start) * sizes[stop - 1] == pytest.approx(cheapest(sizes, finite, budget))


@given(
    sizes=st.lists(st.integers(1, 50), min_size=1, max_size=9).map(sorted),
    data=st.data(),
    price=st.sampled_from([0.0, 1.0, 10.0, 100.0, math.inf]),
    max_size=st.integers(1, 9),
    left_share=st.sampled_from([0.3, 0.65, 1.0]),
)
def test_a_cut_that_others_may_join_keeps_its_budget_and_cuts_nothing_that_is_cheapest_whole(
    sizes, data, price, max_size, left_share
):
    chosen = data.draw(st.integers(0, len(sizes) - 1))
    budget = Budget(max_size)
    start, stop = run_around(sizes, chosen, price, budget, left_share)

    assert start <= chosen < stop
    assert budget.allows(stop - start, sizes[stop - 1])
    if (stop - start) < len(sizes) <= max_size:
        whole = min(price, 1e6) + len(sizes) * sizes[-1]
        assert cheapest(sizes, min(price, 1e6), budget) < whole + 1e-6


def cheapest(sizes: list[int], price: float, budget: Budget) -> float:
    """By trying every cut."""
    if not sizes:
        return 0.0
    return min(
        price + count * sizes[count - 1] + cheapest(sizes[count:], price, budget)
        for count in range(1, len(sizes) + 1)
        if budget.allows(count, sizes[count - 1])
    )


@pytest.mark.parametrize(("padding", "together"), [(9, True), (10, True), (11, False)])
def test_a_call_is_cut_where_the_padding_costs_more_than_another(padding, together):
    sizes = [100, 100 + padding]

    assert run_around(sizes, 0, 10.0, Budget(8)) == ((0, 2) if together else (0, 1))


# --- budgets ----------------------------------------------------------------------------------------------------


def offered(spec: EndpointSpec, sizes: list[int]) -> Queues:
    queues = Queues([spec])
    for number, size in enumerate(sizes):
        queues.offer("e", number, float(number), body_bytes=size)
    return queues


@pytest.mark.parametrize(("max_cost", "count"), [(29, 2), (30, 3), (31, 3)])
@pytest.mark.parametrize("key", ["bytes", 10])
def test_the_budget_of_a_call_is_exact(max_cost, count, key):
    batch = offered(endpoint(key=key, max_cost=max_cost), [10, 10, 10, 10]).take(9)

    assert batch is not None
    assert batch.requests == list(range(count))
    assert batch.units == 10 * count


@pytest.mark.parametrize("size", [99, 100, 101])
def test_what_alone_exceeds_the_budget_goes_alone(size):
    queues = offered(endpoint(key="bytes", max_cost=100), [size, 1])
    batch = queues.take(9)

    assert batch is not None
    assert batch.requests == [0]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    rate=st.sampled_from([20, 200, 2000]),
    key=st.sampled_from(["bytes", "asked", None, 3]),
    max_size=st.sampled_from([1, 2, 8, 32]),
    max_cost=st.sampled_from([math.inf, 40.0, 400.0]),
    target_ms=st.sampled_from([0, 100]),
    max_wait_ms=st.sampled_from([0, 20]),
)
def test_whatever_comes_is_served_once_within_the_budget_and_nobody_starves(
    seed, rate, key, max_size, max_cost, target_ms, max_wait_ms
):
    spec = endpoint(
        key=key, max_size=max_size, max_cost=max_cost if key else math.inf, target_ms=target_ms, max_wait_ms=max_wait_ms
    )
    arrivals = poisson(rate, 250, seed, size=lambda source: source.choice([1, 2, 5, 30, 31, 90]), wants=any_wants)
    run = simulate(spec, arrivals, costing(0.004, 0.0002, 0.3))

    sent = [request_id for call in run.calls for request_id in call.requests]
    assert sorted(sent) == list(range(250))
    size_of = {None: lambda _: 1, 3: lambda _: 3}.get(key, lambda fate: fate.arrival.size)
    for call in run.calls:
        fates = [run.fates[request_id] for request_id in call.requests]
        assert len(fates) <= max_size
        assert len(fates) == 1 or key == "asked" or len(fates) * max(map(size_of, fates)) <= spec.batch.max_cost
    assert_the_worker_never_idles(run, max_wait_s=max(max_wait_ms, target_ms) / 1000)


def any_wants(source: random.Random) -> Wants:
    return Wants(source.choice(list(Priority)), source.choice(["", "a", "b"]))


def assert_the_worker_never_idles(run, max_wait_s: float) -> None:
    """Whoever comes to a free worker is served at the latest when its batch may gather no longer."""
    free_at_s = 0.0
    for call in run.calls:
        oldest_s = min(run.fates[request_id].arrival.at_s for request_id in call.requests)
        assert call.at_s <= max(free_at_s, oldest_s + max_wait_s) + 1e-6
        free_at_s = call.at_s + call.took_s


# --- nobody is passed over for ever -----------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), max_size=st.sampled_from([2, 8, 32]), odd_size=st.sampled_from([1, 7, 500, 10_000]))
def test_a_request_of_odd_size_is_passed_over_no_more_than_so_often(seed, max_size, odd_size):
    sizes = [odd_size] + [20, 21, 22, 100, 101] * 12
    arrivals = poisson(400, 800, seed, size=lambda source: source.choice(sizes))
    run = simulate(endpoint(key="bytes", max_size=max_size), arrivals, costing(0.0001, 0.0004))

    assert all(fate.done_at_s < math.inf for fate in run.fates.values())
    assert max(fate.passed for fate in run.fates.values()) <= patience(WINDOW * max_size) + WINDOW


@given(sizes=st.lists(st.integers(1, 4), min_size=2, max_size=40), price=st.sampled_from([0.0, 0.01, 1.0]))
def test_those_of_one_size_go_in_order_of_arrival(sizes, price):
    spec = endpoint(key="bytes", max_size=3)
    run = simulate(spec, [Arrival(0, size=size) for size in sizes], costing(price, 0.01))

    for size in set(sizes):
        order = [n for call in run.calls for n in sorted(call.requests) if sizes[n] == size]
        assert order == sorted(order)


def test_like_sizes_go_together_and_that_serves_more():
    arrivals = poisson(200, 2000, 1, size=lambda source: source.choice([3, 5, 8, 12, 20, 30, 45, 60]))
    sorted_, plain = (
        simulate(endpoint(max_size=32, key=key), arrivals, costing(0.005, 0.0005, 0.1)) for key in ("bytes", None)
    )

    assert plain.end_s > 1.8 * sorted_.end_s


@pytest.mark.parametrize("num_clients", [8, 32, 128])
@pytest.mark.parametrize("per_call_s", [0.0001, 0.005, 0.05])
def test_clients_that_ask_again_and_again_are_served_about_as_fast_as_all_of_them_could_be_at_once(
    num_clients, per_call_s
):
    source = random.Random(num_clients)

    def ask(at_s: float) -> Arrival:
        return Arrival(at_s, size=source.randint(3, 60))

    cost_s = costing(per_call_s, 0.0005, 0.2)
    run = simulate(endpoint(key="bytes"), [ask(0.0) for _ in range(num_clients)], cost_s, again=ask, until_s=40)

    # In `calls` equal parts of the sorted sizes, a request is padded by half of what its part spans.
    best_s = min(
        num_clients * (31.5 + 57 / calls / 2) * 0.0005 + calls * per_call_s for calls in range(1, num_clients + 1)
    )
    assert sum(len(call.requests) for call in run.calls) / run.end_s >= 0.9 * num_clients / best_s


# --- classes, tenants, deadlines --------------------------------------------------------------------------------


def test_interactive_goes_before_normal_and_normal_before_bulk_each_in_order():
    classes = [Priority.BULK, Priority.NORMAL, Priority.INTERACTIVE] * 3
    queues = Queues([endpoint(max_size=2)])
    for number, priority in enumerate(classes):
        queues.offer("e", number, 0.0, Wants(priority))
    order = []
    while (batch := queues.take(1.0)) is not None:
        order += [classes[number] for number in batch.requests]
        assert len({classes[number] for number in batch.requests}) == 1, "a call holds one class"
        queues.done(batch, 0.1)

    assert order == sorted(classes)


@pytest.mark.parametrize(("age_s", "goes_first"), [(AGEING_S - 0.01, False), (AGEING_S, True), (AGEING_S + 0.01, True)])
def test_with_age_a_request_rises_by_a_class(age_s, goes_first):
    queues = Queues([endpoint(max_size=1)])
    queues.offer("e", 1, 0.0, Wants(Priority.BULK))
    queues.offer("e", 2, age_s, Wants(Priority.NORMAL))
    batch = queues.take(age_s)

    assert batch is not None
    assert (batch.requests == [1]) is goes_first


def test_bulk_is_served_though_interactive_requests_never_end():
    bulk = [Arrival(0.0, wants=Wants(Priority.BULK)) for _ in range(5)]
    rush = [Arrival(n * 0.01, wants=Wants(Priority.INTERACTIVE)) for n in range(6000)]
    run = simulate(endpoint(max_size=1), [*bulk, *rush], costing(0.02, 0), until_s=60)

    # A rising class stands in line by age: behind interactive ones that came before it, if they have waited longer.
    assert max(fate.left_at_s for fate in list(run.fates.values())[:5]) < 40


def test_an_endpoint_with_interactive_requests_does_not_starve_another():
    specs = [endpoint(max_size=1), EndpointSpec("plain", "/plain")]
    rush = [Arrival(n * 0.01, wants=Wants(Priority.INTERACTIVE)) for n in range(6000)]
    run = simulate(specs, [Arrival(0.001, "plain"), *rush], costing(0.02, 0), until_s=60)

    assert next(fate for fate in run.fates.values() if fate.arrival.endpoint == "plain").waited_s < AGEING_S + 5


@pytest.mark.parametrize("key", ["bytes", None])
@pytest.mark.parametrize("weights", [{}, {"a": 3.0}, {"a": 0.5, "c": 2.0}])
def test_tenants_share_the_machine_by_their_weights_whatever_they_send(key, weights):
    sizes = {"a": 3, "b": 50, "c": 10} if key else {"a": 1, "b": 1, "c": 1}
    counts = {"a": 6000, "b": 600, "c": 2000} if key else dict.fromkeys("abc", 2500)
    arrivals = [Arrival(0, wants=Wants(tenant=t), size=sizes[t]) for t in "abc" for _ in range(counts[t])]
    until_s = 12 if key else 1.5
    run = simulate(endpoint(key=key, max_size=8), arrivals, costing(0.002, 0.0005), weights=weights, until_s=until_s)

    shares = dict.fromkeys("abc", 0.0)
    for call in run.calls:
        for request_id in call.requests:
            shares[run.fates[request_id].arrival.wants.tenant] += call.took_s / len(call.requests)
    whole = sum(weights.get(tenant, 1.0) for tenant in "abc")
    for tenant in "abc":
        due = weights.get(tenant, 1.0) / whole
        assert shares[tenant] / run.busy_s == pytest.approx(due, rel=0.05)


def test_a_tenant_that_comes_back_has_saved_nothing_up_and_owes_nothing():
    alone = [Arrival(0, wants=Wants(tenant="a")) for _ in range(400)]
    late = [Arrival(1.0, wants=Wants(tenant="b")) for _ in range(400)]
    run = simulate(endpoint(max_size=4), [*alone, *late], costing(0.01, 0.0025), until_s=2.5)

    served = [run.fates[n].arrival.wants.tenant for call in run.calls if call.at_s >= 1 for n in call.requests]
    assert len(served) > 100
    assert served.count("a") / len(served) == pytest.approx(0.5, abs=0.05)


def test_within_a_tenant_the_earliest_deadline_goes_first_then_the_oldest():
    queues = Queues([endpoint(max_size=1)])
    for number, deadline_s in enumerate([math.inf, 9.0, 5.0, math.inf]):
        queues.offer("e", number, number / 10, Wants(deadline_at_s=deadline_s))
    order = []
    while (batch := queues.take(1.0)) is not None:
        order += batch.requests
        queues.done(batch)

    assert order == [2, 1, 0, 3]


@pytest.mark.parametrize(("now_s", "is_late"), [(4.99, False), (5.0, True), (5.01, True)])
def test_a_request_whose_deadline_passed_is_not_started(now_s, is_late):
    queues = Queues([endpoint(max_size=4)])
    queues.offer("e", 1, 0.0, Wants(deadline_at_s=5.0))
    assert queues.wake_at_s() == 5.0
    batch = queues.take(now_s)

    assert (batch is None) is is_late
    assert queues.give_up(now_s) == ([1] if is_late else [])


@pytest.mark.parametrize(("left_s", "is_late"), [(1.01, False), (0.99, True)])
def test_a_deadline_that_can_not_be_met_any_more_is_not_tried(left_s, is_late):
    queues = Queues([endpoint(max_size=4)])
    for number in range(30):
        queues.offer("e", number, 0.0)
        batch = queues.take(0.0)
        assert batch is not None
        queues.done(batch, 1.0)
    queues.offer("e", 50, 7.0, Wants(deadline_at_s=7.0 + left_s))
    queues.offer("e", 51, 7.0)
    batch = queues.take(7.0)

    assert batch is not None
    assert batch.requests == ([51] if is_late else [50])
    assert queues.give_up(7.0) == ([50] if is_late else [])


KINDS = [EndpointSpec("e", "/e"), endpoint(max_size=4), endpoint(max_size=4, key="bytes")]


def hurried(count: int, begin_s: float) -> list[Arrival]:
    """Ten a second, each with a second."""
    times_s = [begin_s + number / 10 for number in range(count)]
    return [Arrival(at_s, wants=Wants(deadline_at_s=at_s + 1)) for at_s in times_s]


@pytest.mark.parametrize("spec", KINDS)
@pytest.mark.parametrize(("num_slow", "until_s"), [(1, 20), (2, 20), (5, 23.5), (40, 124)])
def test_deadlines_are_not_given_up_for_ever_because_calls_were_slow_for_a_while(spec, num_slow, until_s):
    costs_s = iter([3.0] * num_slow)
    slow = [Arrival(3.01 * number) for number in range(num_slow)]
    begin_s = max(20.0, 3.01 * num_slow)
    run = simulate(spec, [*slow, *hurried(200, begin_s)], lambda *_: next(costs_s, 0.02))

    given_up = [fate.arrival.at_s for fate in run.fates.values() if fate.was_given_up]
    assert all(at_s < until_s for at_s in given_up), given_up[-1]


@pytest.mark.parametrize("batch", [None, BatchSpec(max_size=4, key="bytes")])
def test_a_stream_that_takes_longer_than_its_deadline_is_begun_in_time(batch):
    spec = EndpointSpec("e", "/e", is_stream=True, batch=batch)
    asked = [Arrival(at_s, wants=Wants(deadline_at_s=at_s + 5)) for at_s in range(0, 900, 30)]
    run = simulate(spec, [*asked, Arrival(885, wants=Wants(deadline_at_s=889))], lambda *_: 20.0)

    assert [fate.arrival.at_s for fate in run.fates.values() if fate.was_given_up] == [885]
    assert [call.at_s for call in run.calls] == [each.at_s for each in asked]


@pytest.mark.parametrize("spec", KINDS)
def test_what_can_not_be_met_takes_half_of_the_time_at_most(spec):
    run = simulate(spec, [*[Arrival(0)] * 4, *hurried(2000, 20)], lambda *_: 3.0)
    busy_s = sum(call.took_s for call in run.calls if call.at_s >= 20)

    assert 0 < busy_s <= 0.55 * (run.end_s - 20)


# --- one knob ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [5, 20, 50, 100, 150, 200, 250, 300])
@pytest.mark.parametrize(("per_call_s", "per_unit_s"), [(0.02, 0.002), (0.06, 0.0002)])
def test_a_latency_target_is_met_at_every_rate_at_which_it_can_be(rate, per_call_s, per_unit_s):
    run = simulate(
        endpoint(max_size=64, target_ms=200), poisson(rate, 3000, rate), costing(per_call_s, per_unit_s, 0.1)
    )

    assert run.quantile_s(0.99) <= 0.2


def test_a_latency_target_bounds_calls_that_would_take_longer():
    arrivals = [Arrival(n * 0.011) for n in range(2000)]
    run = simulate(endpoint(max_size=64, target_ms=100), arrivals, costing(0.001, 0.01))

    assert all(call.took_s <= 0.05 for call in run.calls[5:])
    assert run.quantile_s(0.99) <= 0.1


def test_more_than_the_target_has_room_for_is_worked_off_in_full_calls():
    run = simulate(endpoint(max_size=64, target_ms=100), [Arrival(0)] * 2000, costing(0.03, 0.001))

    assert max(len(call.requests) for call in run.calls) == 64


@pytest.mark.parametrize("about", [{}, {"max_wait_ms": 50}, {"target_ms": 500}, {"key": "bytes", "max_wait_ms": 50}])
def test_at_low_load_nobody_waits_for_others(about):
    run = simulate(endpoint(**about), poisson(2, 400, 4, size=7), costing(0.03, 0.001, 0.1))

    free_at_s = 0.0
    for call in run.calls:
        oldest_s = min(run.fates[number].arrival.at_s for number in call.requests)
        assert call.at_s == pytest.approx(max(free_at_s, oldest_s), abs=1e-9)
        free_at_s = call.at_s + call.took_s


# --- admission --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("num_waiting", "is_taken"), [(2, True), (3, False), (4, False)])
@pytest.mark.parametrize("key", ["bytes", None])
def test_the_limit_of_a_line_is_exact_however_it_is_ordered(num_waiting, is_taken, key):
    queues = Queues([endpoint(key=key)], max_queued=3)
    for number in range(num_waiting):
        queues.offer("e", number, 0.0, Wants(tenant=str(number)))

    assert queues.offer("e", 9, 0.0) is is_taken


def test_the_wait_that_is_predicted_is_about_the_one_that_comes():
    spec = endpoint(max_size=8)
    queues = Queues([spec])
    for number in range(40):
        queues.offer("e", number, 0.0)
        if number % 8 == number // 8:
            batch = queues.take(0.0)
            if batch is not None:
                queues.done(batch, 0.1 + 0.01 * batch.units)
    waiting = len(queues)

    assert queues.wait_s("e") == pytest.approx(math.ceil(waiting / 8) * 0.1 + waiting * 0.01, rel=0.3)


def test_a_request_that_comes_back_keeps_its_age():
    queues = Queues([endpoint(key="bytes", max_size=1)])
    queues.offer("e", 5, 5.0, body_bytes=3)
    queues.put_back("e", 2, 1.0, body_bytes=3)
    batch = queues.take(6.0)

    assert batch is not None
    assert batch.requests == [2]


def test_a_size_that_becomes_known_decides_who_goes_with_whom():
    queues = Queues([endpoint(key="asked", max_size=2)])
    for number in range(4):
        queues.offer("e", number, 0.0, body_bytes=10)
    for number, size in enumerate([100, 1, 100, 1]):
        queues.measure("e", number, size)
    first = queues.take(0.0)

    assert first is not None
    assert first.requests == [0, 2]
    assert first.units == 200
