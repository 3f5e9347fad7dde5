"""The definitions of the loop's numbers."""

from __future__ import annotations

import pytest

from hotloop.devloop import metrics
from hotloop.devloop.metrics import Spread, Trip


def trip(saved_at, outcome="ok", feedback=0.1, *, number=1, session="s", **more):
    return Trip(session, number, outcome, saved_at, feedback, **more)


@pytest.mark.parametrize(
    ("n", "ratio", "expected"), [(1, 0.5, 1), (2, 0.5, 1), (3, 0.5, 2), (20, 0.95, 19), (21, 0.95, 20), (100, 0.95, 95)]
)
def test_percentiles_are_by_nearest_rank(n, ratio, expected):
    assert metrics.percentile([float(i) for i in range(n, 0, -1)], ratio) == expected


@pytest.mark.parametrize(("n", "high", "is_max"), [(19, 19, True), (20, 19, False), (21, 20, False)])
def test_p95_needs_twenty_values(n, high, is_max):
    values = [float(i) for i in range(1, n + 1)]

    assert metrics.spread(values) == Spread(n, metrics.percentile(values, 0.5), high, is_max)


def test_nothing_has_no_spread():
    summary = metrics.summarize([])

    assert (summary.feedback, summary.success_ratio, summary.under_1_s_ratio) == (None, None, None)


def test_feedback_counts_good_edits_only_and_errors_have_their_own_row():
    summary = metrics.summarize(
        [
            trip(0, feedback=4, number=0),
            trip(10, feedback=0.2),
            trip(20, "failed", 0.01),
            trip(30, "superseded", 0.5),
            trip(40, feedback=2),
        ]
    )

    assert summary.feedback == Spread(2, 0.2, 2, is_max=True)
    assert summary.error == Spread(1, 0.01, 0.01, is_max=True)
    assert summary.cold == Spread(1, 4, 4, is_max=True)
    assert summary.success_ratio == pytest.approx(2 / 3)
    assert summary.under_1_s_ratio == 0.5


@pytest.mark.parametrize(("wait", "counted"), [(119, 119), (120, 120), (121, 120)])
def test_a_wait_is_capped_at_two_minutes(wait, counted):
    summary = metrics.summarize([trip(0, feedback=wait)])

    assert (summary.waited_s, summary.waited_uncapped_s) == (counted, wait)


def test_red_to_green_runs_from_the_first_error_to_the_next_good_feedback():
    trips = [trip(0, "failed", 1), trip(10, "failed", 1), trip(20, "ok", 2), trip(30, "ok", 1)]

    repairs = metrics.summarize(trips).repairs

    assert repairs.spread == Spread(1, 21, 21, is_max=True)
    assert (repairs.saves_per_repair, repairs.num_abandoned) == (2, 0)


@pytest.mark.parametrize(("pause", "abandoned"), [(899, 0), (900, 0), (901, 1)])
def test_a_repair_that_rests_for_fifteen_minutes_is_abandoned(pause, abandoned):
    trips = [trip(0, "failed", 1), trip(1 + pause, "ok", 1)]

    repairs = metrics.summarize(trips).repairs

    assert repairs.num_abandoned == abandoned
    assert (repairs.spread is None) is bool(abandoned)


def test_repairs_do_not_span_sessions():
    trips = [trip(0, "failed", session="a"), trip(10, "ok", session="b")]

    assert metrics.summarize(trips).repairs.spread is None
