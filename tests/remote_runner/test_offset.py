"""The laws of translating another machine's clock."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotloop.events import LinkMeasured
from hotloop.remote_runner.link_news import LinkNews
from hotloop.remote_runner.offset import DRIFT_ERROR_RATIO, MAX_DRIFT_RATIO, Offset, Sample

OFFSETS_S = st.floats(-1e6, 1e6)
TRIPS = st.lists(st.tuples(st.floats(0.01, 100), st.floats(0, 0.5), st.floats(0, 0.5)), min_size=1, max_size=100)
DRIFTS = st.floats(-MAX_DRIFT_RATIO * 0.99, MAX_DRIFT_RATIO * 0.99)
ROUNDING_S = 1e-6  # of floats as large as these


def measured(offset_s, drift, trips, *, began_s=0.0):
    """An estimate from round trips (pause before, way there, way back), the true offset after them, and when that was."""
    estimate, now_s = Offset(), began_s
    for pause_s, there_s, back_s in trips:
        sent_s = now_s + pause_s
        now_s = sent_s + there_s + back_s
        read_at_s = sent_s + there_s
        estimate.add(Sample(sent_s, read_at_s + offset_s + drift * read_at_s, now_s))
    return estimate, offset_s + drift * now_s, now_s


@given(OFFSETS_S, TRIPS)
def test_the_error_is_at_most_half_the_quickest_round_trip_and_what_the_clocks_drift(offset_s, trips):
    estimate, true_s, now_s = measured(offset_s, 0.0, trips)

    quickest_s = min(there_s + back_s for _, there_s, back_s in trips[-64:])
    age_s = sum(sum(trip) for trip in trips[-64:])
    assert abs(estimate.offset_s(now_s) - true_s) <= estimate.error_s(now_s) + ROUNDING_S
    assert estimate.error_s(now_s) <= quickest_s / 2 + MAX_DRIFT_RATIO * age_s + ROUNDING_S


@given(OFFSETS_S, DRIFTS, TRIPS, st.floats(0, 1e4))
def test_clocks_that_drift_apart_stay_within_what_is_said(offset_s, drift, trips, later_s):
    estimate, _, now_s = measured(offset_s, drift, trips)

    then_s = now_s + later_s
    assert abs(estimate.offset_s(then_s) - (offset_s + drift * then_s)) <= estimate.error_s(then_s) + ROUNDING_S


@given(OFFSETS_S, TRIPS, st.floats(10, 1e5) | st.floats(-1e5, -10))
def test_a_clock_that_jumps_is_noticed_at_the_next_round_trip(offset_s, trips, jump_s):
    estimate, _, now_s = measured(offset_s, 0.0, [(0.1, there_s, back_s) for _, there_s, back_s in trips])
    sent_s, received_s = now_s + 1, now_s + 1.1
    estimate.add(Sample(sent_s, sent_s + 0.05 + offset_s + jump_s, received_s))

    assert estimate.offset_s(received_s) == pytest.approx(offset_s + jump_s, abs=0.05 + ROUNDING_S)


def test_a_slow_round_trip_does_not_spoil_what_a_quick_one_told():
    estimate = Offset()
    estimate.add(Sample(10.0, 110.02, 10.04))
    estimate.add(Sample(11.0, 111.9, 12.0))

    assert estimate.here(112.0, 12.0) == pytest.approx(12.0)


def test_without_a_sample_or_with_a_shared_clock_times_stay_as_they_are():
    estimate = Offset()
    assert (estimate.here(5.0, 1.0), estimate.error_s(1.0)) == (5.0, float("inf"))

    estimate.add(Sample(1.0, 1.3, 1.4))
    estimate.share(2.0)
    assert (estimate.here(5.0, 2.0), estimate.error_s(2.0)) == (5.0, 0.0)


def test_a_clock_is_not_shared_if_its_samples_say_otherwise():
    estimate = Offset()
    estimate.add(Sample(1.0, 8.2, 1.4))
    estimate.share(2.0)

    assert estimate.here(5.0, 2.0) == pytest.approx(-2.0)


@given(OFFSETS_S, DRIFTS, TRIPS)
def test_a_drift_that_is_told_is_known_as_well_as_is_said(offset_s, drift, trips):
    estimate, _, now_s = measured(offset_s, drift, [(pause_s * 50, *ways) for pause_s, *ways in trips])

    told = estimate.drift_ratio(now_s)
    if told is not None:
        assert abs(told - drift) <= DRIFT_ERROR_RATIO * 1.01 + 2e-9 * abs(offset_s) / 1e6 + 1e-6


def test_a_drift_is_told_once_it_was_seen_for_long_enough_and_not_across_a_jump():
    trips = [(5.0, 0.001, 0.001)] * 30
    estimate, _, now_s = measured(3.0, 100e-6, trips)

    assert estimate.drift_ratio(now_s) == pytest.approx(100e-6, abs=DRIFT_ERROR_RATIO)
    assert measured(3.0, 100e-6, trips[:10])[0].drift_ratio(50.0) is None
    estimate.add(Sample(now_s + 5, 0.0, now_s + 5.002))
    assert estimate.drift_ratio(now_s + 5.1) is None


def test_the_link_is_told_of_when_it_changes_by_more_than_a_fifth_or_nothing_was_said_for_half_a_minute():
    news, offset = LinkNews(), Offset()
    offset.add(Sample(0.0, 100.02, 0.04))

    told = [
        (now_s, link.round_trip_s)
        for now_s, trip_s in [(1, 0.040), (2, 0.047), (3, 0.049), (4, 0.045), (30, 0.049), (33, 0.049), (34, 0.030)]
        if (link := news.take(now_s, trip_s, offset)) is not None
    ]

    assert told == [(1, 0.040), (3, 0.049), (33, 0.049), (34, 0.030)]
    assert LinkNews().take(0.04, 0.04, offset) == LinkMeasured(
        0.04, 0.04, pytest.approx(100.0), pytest.approx(0.02, abs=1e-4)
    )


def test_a_change_of_less_than_a_millisecond_is_not_told():
    news, offset = LinkNews(), Offset()

    assert [news.take(now_s, trip_s, offset) is None for now_s, trip_s in [(1, 0.0002), (2, 0.0011), (3, 0.0013)]] == [
        False,
        True,
        False,
    ]
