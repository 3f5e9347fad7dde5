"""The laws of what a load run counts: histogram, arrivals, tally, bootstrap."""

from __future__ import annotations

import math
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotloop.devloop.load.arrivals import Arrivals, due_times_s
from hotloop.devloop.load.bootstrap import ratio
from hotloop.devloop.load.histogram import MIN_S, Histogram
from hotloop.devloop.load.tally import Tally, Window

durations = st.floats(MIN_S, 1e5)
many = st.lists(durations, min_size=1, max_size=200)


@given(many, st.floats(0, 1))
def test_a_percentile_is_less_than_one_percent_off(values, share):
    exact = sorted(values)[max(math.ceil(share * len(values)), 1) - 1]

    assert Histogram.of(values).percentile_s(share) == pytest.approx(exact, rel=0.0099)


@given(many)
def test_the_ends_and_the_mean_are_exact(values):
    histogram = Histogram.of(values)

    assert (histogram.min_s, histogram.percentile_s(1), histogram.num) == (min(values), max(values), len(values))
    assert histogram.mean_s == pytest.approx(sum(values) / len(values))


@given(many, many)
def test_merged_histograms_equal_the_histogram_of_all(left, right):
    merged = Histogram.of(left)
    merged.merge(Histogram.of(right))
    together = Histogram.of([*left, *right])

    assert (merged.counts, merged.num, merged.min_s, merged.max_s) == (
        together.counts, together.num, together.min_s, together.max_s,
    )  # fmt: skip
    assert merged.sum_s == pytest.approx(together.sum_s)


@given(many, st.lists(st.floats(0, 1), min_size=2, max_size=8))
def test_percentiles_rise(values, shares):
    histogram = Histogram.of(values)
    found = [histogram.percentile_s(share) for share in sorted(shares)]

    assert all(low <= high for low, high in pairwise(found))


@given(many, st.integers(1, 60))
def test_each_duration_is_in_one_interval(values, num):
    edges = [1e-8 * (1e14) ** (n / num) for n in range(num + 1)]

    assert sum(Histogram.of(values).between(edges)) == len(values)


def test_an_empty_histogram_has_no_percentile():
    assert math.isnan(Histogram().percentile_s(0.5))
    assert math.isnan(Histogram().mean_s)


@pytest.mark.parametrize("duration_s", [0.0, -1.0, MIN_S / 2])
def test_what_is_too_short_counts_as_the_shortest(duration_s):
    assert Histogram.of([duration_s]).percentile_s(0.5) == MIN_S


def test_constant_arrivals_do_not_drift():
    times = list(islice(due_times_s(Arrivals.CONSTANT, 3), 300_001))

    assert (times[0], times[3], times[-1]) == (0, 1, 100_000)


@given(st.integers(0, 50), st.floats(0.1, 1e5))
def test_poisson_arrivals_come_at_their_rate_and_the_same_again(seed, rate):
    times = list(islice(due_times_s(Arrivals.POISSON, rate, seed), 4000))
    gaps = [b - a for a, b in pairwise(times)]

    assert times == list(islice(due_times_s(Arrivals.POISSON, rate, seed), 4000))
    assert min(gaps) >= 0
    assert sum(gaps) / len(gaps) * rate == pytest.approx(1, rel=0.1)
    shorter = sum(gap * rate < math.log(2) for gap in gaps) / len(gaps)
    assert shorter == pytest.approx(0.5, abs=0.05)  # the median of an exponential distribution


WINDOW = Window(10.0, 20.0)


@pytest.mark.parametrize(
    ("due_s", "done_s", "counts", "is_throughput"),
    [
        (9.9, 9.95, False, False),
        (9.9, 10.0, False, True),  # due in the warm-up, done after it
        (10.0, 10.5, True, True),
        (19.9, 19.99, True, True),
        (19.9, 20.0, True, False),
        (20.0, 20.5, False, False),
    ],
)
def test_what_is_due_within_the_window_counts_and_what_is_done_within_it_is_throughput(
    due_s, done_s, counts, is_throughput
):
    tally = Tally(duration_s=10)

    assert tally.answered(WINDOW, due_s, done_s, 200) is counts
    assert (tally.num_requests, tally.latency.num, tally.num_done) == (counts, counts, is_throughput)


def test_errors_are_counted_by_status_and_are_no_throughput():
    tally = Tally(duration_s=10)
    for status in (200, 204, 429, 429, 500, 301):
        tally.answered(WINDOW, 11, 12, status)
    tally.lost(WINDOW, 11, 15, "connection reset")
    tally.lost(WINDOW, 9, 15, "connection reset")  # warm-up

    assert tally.statuses == {200: 1, 204: 1, 429: 2, 500: 1, 301: 1}
    assert (tally.num_requests, tally.num_errors, tally.num_done, tally.requests_per_s) == (7, 5, 2, 0.2)
    assert (tally.latency.num, tally.latency.max_s) == (3, 4)  # the lost one took 4 s at least


@given(st.lists(st.tuples(st.floats(5, 25), st.floats(0, 5), st.sampled_from([200, 429, 0])), max_size=40), st.data())
def test_merged_tallies_equal_the_tally_of_all(answers, data):
    cut = data.draw(st.integers(0, len(answers)))

    def counted(some):
        tally = Tally(duration_s=10)
        for due_s, took_s, status in some:
            if status:
                tally.answered(WINDOW, due_s, due_s + took_s, status)
            else:
                tally.lost(WINDOW, due_s, due_s + took_s, "x")
        return tally

    merged, whole = counted(answers[:cut]), counted(answers)
    merged.merge(counted(answers[cut:]))

    assert merged.duration_s == 20
    for name in ("statuses", "broken", "num_done", "num_requests", "num_errors"):
        assert getattr(merged, name) == getattr(whole, name)
    assert merged.latency.counts == whole.latency.counts


positive = st.floats(1e-3, 1e3)


@given(st.lists(st.tuples(positive, positive), min_size=1, max_size=20))
def test_the_interval_holds_the_ratio_and_turning_the_sides_turns_it(pairs):
    ours, theirs = [a for a, _ in pairs], [b for _, b in pairs]

    found, turned = ratio(ours, theirs), ratio(theirs, ours)

    assert found.low <= found.value * (1 + 1e-9)
    assert found.value <= found.high * (1 + 1e-9)
    assert turned.value == pytest.approx(1 / found.value)


@pytest.mark.parametrize(("factor", "is_clear"), [(1.0, False), (1.5, True), (0.5, True)])
def test_a_difference_in_each_round_is_clear(factor, is_clear):
    theirs = [100.0, 110, 95, 105, 99, 102]
    ours = [value * factor * noise for value, noise in zip(theirs, [1.01, 0.99, 1.02, 0.98, 1, 1], strict=True)]

    found = ratio(ours, theirs)

    assert (found.value, found.is_clear) == (pytest.approx(factor, rel=0.02), is_clear)


def test_rounds_that_lack_a_value_do_not_count():
    assert ratio([0.0, 2], [1.0, 1]).num_rounds == 1
    assert ratio([0.0], [1.0]) is None
