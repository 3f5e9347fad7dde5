"""What a session costs: the laws of counting it, and when it is said."""

import datetime as dt
import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotloop import events
from hotloop.devloop import cost, prices, tariff
from hotloop.devloop.cost import Budget, End, Price, begin, due_s, step

PRICE = Price(3.60, "pyproject.toml")  # a cent takes ten seconds


def sampled(*, waiting=0, running=0, items_per_s=None, requests_per_s=0.0, gpus=()):
    endpoint = events.EndpointSample("/a", requests_per_s, waiting, running, items_per_s=items_per_s)
    return events.RuntimeSampled(0.0, 1.0, (endpoint,), gpus=gpus)


def answered(status=200):
    return events.RequestFinished(0.0, 1, "POST", "/a", status, 0.01)


def many_answered(statuses):
    return events.RequestsFinished(0.0, 1.0, sum(statuses.values()), statuses, 0.1, 0.1, 0.1)


def started(number):
    return events.IterationStarted(0.0, number, ("app.py",))


def finished(number):
    iteration = events.Iteration(number, "ok", 0.0, False, 1, 1, (), 0, 0.1, 0.1, {})
    return events.IterationFinished(0.0, iteration)


HAPPENINGS = st.one_of(
    st.none(),
    st.builds(answered, st.sampled_from([200, 404, 500])),
    st.builds(many_answered, st.just({"200": 400, "429": 3})),
    st.builds(started, st.integers(1, 3)),
    st.builds(finished, st.integers(1, 3)),
    st.builds(lambda running, items: sampled(running=running, items_per_s=items), st.integers(0, 1), st.floats(0, 1e4)),
    st.just(events.Offline(0.0, 1)),
)
TIMELINES = st.lists(st.tuples(st.floats(-5, 400), HAPPENINGS), max_size=60)


def told_by(state, timeline, *, now_s=100.0):
    """Run a timeline of (seconds later, event); gives the states and what was said."""
    states, said = [state], []
    for later_s, event in timeline:
        now_s += later_s
        state, actions = step(state, event, now_s)
        states.append(state)
        said += actions
    return states, said


@given(TIMELINES)
def test_idle_and_busy_time_are_all_of_it_and_nothing_ever_shrinks(timeline):
    states, said = told_by(begin(100.0, PRICE), timeline)

    reports = [each for each in said if isinstance(each, events.CostReported)]
    for before, after in pairwise(states):
        assert before.held_s <= after.held_s
        assert 0 <= before.idle_s <= after.idle_s <= after.held_s
    for before, after in pairwise(reports):
        assert before.session <= after.session
        assert before.idle <= after.idle <= after.session
    assert states[-1].held_s == pytest.approx(max((0.0, *_clock(timeline))))


def _clock(timeline):
    now_s = 0.0
    for later_s, _ in timeline:
        now_s += later_s
        yield now_s


@given(TIMELINES, st.floats(0.01, 20))
def test_a_budget_is_warned_of_once_and_spent_once(timeline, limit):
    _, said = told_by(begin(100.0, PRICE, Budget(limit)), timeline)

    keys = [each.key for each in said if isinstance(each, events.Notice)]
    spent = max((0.0, *_clock(timeline))) / 3600 * PRICE.per_hour
    assert keys.count("budget spent") == (spent >= limit * (1 - 1e-9)), (spent, limit)
    assert keys.count("budget") <= 1
    assert not [each for each in said if isinstance(each, End)]


@given(TIMELINES)
def test_who_waits_until_something_is_due_has_something_to_say_and_hears_each_cent(timeline):
    (*_, state), _ = told_by(begin(100.0, PRICE), timeline)
    for _ in range(5):
        at_s = due_s(state)
        assert at_s is not None
        before = state.told
        state, said = step(state, None, at_s)

        assert [type(each) for each in said] == [events.CostReported]
        if before is not None:
            assert said[0].session - before.session <= 0.0100001 or at_s - before.at_s <= 1.0001


def test_time_is_idle_a_minute_after_the_last_request_or_iteration():
    (*_, state), _ = told_by(begin(0.0, PRICE), [(0, finished(0)), (30, answered()), (90, None), (10, None)], now_s=0.0)
    assert (state.held_s, state.idle_s) == (130.0, 40.0)

    (*_, state), _ = told_by(state, [(600, started(1)), (600, None), (20, finished(1)), (60, None)], now_s=130.0)
    assert state.idle_s == 640.0

    (*_, state), _ = told_by(state, [(0, sampled(running=1)), (900, sampled()), (70, None)], now_s=1410.0)
    assert state.idle_s == 650.0


def test_a_first_start_is_not_idle_however_long_it_takes():
    (*_, state), _ = told_by(begin(0.0, PRICE), [(500, None), (100, finished(0)), (90, None)], now_s=0.0)
    assert state.idle_s == 30.0

    (*_, state), _ = told_by(begin(0.0, PRICE), [(500, events.RuntimeStopped(0.0)), (90, None)], now_s=0.0)
    assert state.idle_s == 30.0


def test_the_window_forgets_and_says_nothing_of_too_few():
    asked = [(1, answered()) for _ in range(19)]
    (*_, state), said = told_by(begin(0.0, PRICE), [*asked, (0.5, answered(500)), (10.5, None)], now_s=0.0)
    assert said[-1].per_1k_requests is None

    state, said = step(state, many_answered({"200": 81, "503": 9}), 41.0)
    assert said[-1].per_1k_requests == pytest.approx(41 / 3600 * 3.6 / 100 * 1000)

    (*_, state), said = told_by(state, [(280, None)], now_s=41.0)
    assert said[-1].per_1k_requests == pytest.approx(300 / 3600 * 3.6 / 81 * 1000)

    (*_, state), said = told_by(state, [(60, None)], now_s=321.0)
    assert said[-1].per_1k_requests is None


@pytest.mark.parametrize(("num_items", "is_told"), [(999, False), (1000, True), (1001, True)])
def test_a_million_items_have_a_price_from_a_thousand_on(num_items, is_told):
    _, said = told_by(begin(0.0, PRICE), [(60, sampled(items_per_s=float(num_items)))], now_s=0.0)

    wanted = pytest.approx(60 / 3600 * 3.6 / num_items * 1e6) if is_told else None
    assert said[-1].per_1m_items == wanted


def test_without_a_price_nothing_is_said_and_nothing_is_due_and_a_price_counts_from_the_beginning():
    (*_, state), said = told_by(begin(0.0, None, Budget(1.0)), [(3600, answered())], now_s=0.0)
    assert (said, due_s(state)) == ([], None)

    state, said = step(cost.priced(state, PRICE), None, 3600.0)
    assert said[0].session == pytest.approx(3.6)
    assert said[1].key == "budget spent"
    assert due_s(begin(0.0, Price(0.0, "pyproject.toml"))) is None


def test_a_budget_ends_the_session_at_the_moment_it_is_spent():
    (*_, state), said = told_by(begin(0.0, PRICE, Budget(0.5, is_end=True)), [(0, finished(0))], now_s=0.0)
    while not isinstance(said[-1], End):
        state, more = step(state, None, due_s(state))
        said += more

    assert state.held_s == pytest.approx(500)
    assert (
        said[-1].reason == "the budget of $0.50 is spent: $0.50, of it idle $0.44; budget_stops = true ends the session"
    )
    assert [each.key for each in said if isinstance(each, events.Notice)] == ["budget"]
    warned = next(each for each in said if isinstance(each, events.Notice))
    assert (warned.at_s, warned.text[:36]) == (pytest.approx(400), "80% of the budget of $0.50 is spent:")


def test_an_amount_is_said_with_what_was_idle_and_where_its_price_is_from():
    report = events.CostReported(0.0, 2.69, "runpod's list price of 2026-05", 2.571, 0.48)

    assert cost.line(report) == "cost so far $2.57, of it idle $0.48  ($2.69/h, runpod's list price of 2026-05)"


# --- prices ---------------------------------------------------------------------------------------------------------


def gpu(name):
    return events.GpuSample(name, 0, 80 << 30)


H100 = "NVIDIA H100 80GB HBM3"


def test_every_list_price_has_a_date_and_a_source_and_each_gpu_one_price_a_provider():
    table = prices.table()

    named = [(price.provider, name) for price in table.prices for name in price.gpus]
    assert len(named) == len(set(named))
    for price in table.prices:
        assert 0 < price.per_hour < 100
        assert dt.date(2026, 1, 1) <= price.read_on
        assert price.source.startswith("https://")
        assert table.hosts[price.provider]


@pytest.mark.parametrize(
    ("host", "provider"),
    [("ssh.runpod.io", "runpod"), ("runpod.io", "runpod"), ("notrunpod.io", ""), ("gpubox", ""), ("ec2-1.amazonaws.com", "aws")],
)  # fmt: skip
def test_a_provider_is_known_by_its_machines_names(host, provider):
    assert prices.table().provider_of(host) == provider


def test_a_list_price_is_for_all_gpus_or_none():
    terms = tariff.Terms("box", provider="runpod")

    price = tariff.list_price(terms, [gpu(H100), gpu(H100)])
    assert price == Price(5.38, "runpod's list price of 2026-05")
    assert tariff.list_price(terms, [gpu(H100), gpu("NVIDIA RTX A6000")]) is None
    assert tariff.list_price(tariff.Terms("box"), [gpu(H100)]) is None
    assert tariff.list_price(terms, []) is None


def test_what_to_do_about_an_unknown_price_is_said_only_where_somebody_would_miss_it():
    said = tariff.unknown(tariff.Terms("box"), [gpu(H100)], 1.0)
    assert "$2.69 to $3.95 an hour" in said.text
    assert "price = 1.50 in [tool.hotloop.runners.box]" in said.hint
    assert "lambda, modal, runpod" in said.hint

    assert tariff.unknown(tariff.Terms("box"), [], 1.0) is None
    assert tariff.unknown(tariff.Terms("local"), [gpu(H100)], 1.0) is None
    assert tariff.unknown(tariff.Terms("box"), [gpu("NVIDIA RTX A6000")], 1.0) is None
    budgeted = tariff.unknown(tariff.Terms("local", budget=Budget(5.0)), [], 1.0)
    assert budgeted.text == "the budget can't be watched: what local costs is not known"
    assert "price_per_hour = 1.50 in [tool.hotloop]" in budgeted.hint
    assert not math.isnan(budgeted.at_s)
