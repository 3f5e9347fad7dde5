"""The definitions of the loop's numbers."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotloop.devloop import expected, metrics
from hotloop.devloop.metrics import Avoided, Drift, FirstResult, Focus, Records, Spread, Trip, attention

MINUTE = 60.0
NOON = 1_764_158_400.0  # 2025-11-26 12:00 UTC: far from a day's and a week's end anywhere


def trip(saved_at, outcome="ok", feedback=0.1, *, number=1, session="s", **more):
    return Trip(session, number, outcome, saved_at, feedback, **more)


def moments(*minutes):
    return Records(moments=tuple(metrics.Moment(minute * MINUTE, "key") for minute in minutes))


@pytest.mark.parametrize(
    ("n", "ratio", "expected"), [(1, 0.5, 1), (2, 0.5, 1), (3, 0.5, 2), (20, 0.95, 19), (21, 0.95, 20), (100, 0.95, 95)]
)
def test_percentiles_are_by_nearest_rank(n, ratio, expected):
    assert metrics.percentile([float(i) for i in range(n, 0, -1)], ratio) == expected


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=60), st.floats(0.01, 1))
def test_a_percentile_is_the_least_value_that_so_many_do_not_exceed(values, ratio):
    found = metrics.percentile(values, ratio)

    assert sum(value <= found for value in values) >= ratio * len(values) - 1e-9
    assert sum(value < found for value in values) <= math.ceil(ratio * len(values)) - 1


@pytest.mark.parametrize(("n", "high", "is_max"), [(19, 19, True), (20, 19, False), (21, 20, False)])
def test_p95_needs_twenty_values(n, high, is_max):
    values = [float(i) for i in range(1, n + 1)]

    assert metrics.spread(values) == Spread(n, metrics.percentile(values, 0.5), high, is_max)


def test_nothing_has_no_numbers():
    summary = metrics.summarize([])

    assert (summary.feedback, summary.success_ratio, summary.under_1_s_ratio, summary.waited_ratio) == (None,) * 4
    assert (summary.first_result, summary.avoided, summary.causes) == (None, None, ())


def test_feedback_counts_good_edits_only_and_errors_have_their_own_row():
    summary = metrics.summarize(
        [
            trip(0, feedback=4, number=0, cause="cold"),
            trip(10, feedback=0.2),
            trip(20, "failed", 0.01),
            trip(30, "superseded", 0.5),
            trip(40, feedback=2),
            trip(50, feedback=12),
            trip(60, feedback=100, cause="environment", phases_s={"environment": 99}),
        ]
    )

    assert summary.feedback == Spread(3, 2, 12, is_max=True)
    assert summary.error == Spread(1, 0.01, 0.01, is_max=True)
    assert summary.cold == Spread(1, 4, 4, is_max=True)
    assert summary.success_ratio == pytest.approx(4 / 5)
    assert summary.under_1_s_ratio == pytest.approx(1 / 3)
    assert summary.under_10_s_ratio == pytest.approx(2 / 3)


@pytest.mark.parametrize(("wait", "counted"), [(119, 119), (120, 120), (121, 120)])
def test_a_wait_is_capped_at_two_minutes(wait, counted):
    summary = metrics.summarize([trip(0, feedback=wait)])

    assert (summary.waited_s, summary.waited_uncapped_s, summary.waited_beyond_1_s) == (counted, wait, counted - 1)


def test_a_superseded_save_was_waited_for_until_the_next():
    summary = metrics.summarize([trip(0, "superseded", 0.9), trip(0.4, number=2, feedback=0.5)])

    assert summary.waited_s == pytest.approx(0.4 + 0.5)


# --- red to green


def test_red_to_green_runs_from_the_first_error_to_the_next_good_feedback():
    trips = [trip(0, "failed", 1), trip(10, "failed", 1), trip(20, "ok", 2), trip(30, "ok", 1)]

    repairs = metrics.summarize(trips).repairs

    assert repairs.spread == Spread(1, 21, 21, is_max=True)
    assert (repairs.saves_per_repair, repairs.num_abandoned, repairs.p90_s, repairs.mean_s) == (2, 0, 21, 21)


@pytest.mark.parametrize(("pause", "abandoned"), [(899, 0), (900, 0), (901, 1)])
def test_a_repair_that_rests_for_fifteen_minutes_is_abandoned(pause, abandoned):
    trips = [trip(0, "failed", 1), trip(1 + pause, "ok", 1)]

    repairs = metrics.summarize(trips).repairs

    assert repairs.num_abandoned == abandoned
    assert (repairs.spread is None) is bool(abandoned)


def test_repairs_do_not_span_sessions():
    trips = [trip(0, "failed", session="a"), trip(10, "ok", session="b")]

    assert metrics.summarize(trips).repairs.spread is None


def test_failed_tests_are_red_until_they_pass():
    trips = [
        trip(0, tests="ok", tested_at_s=2),
        trip(10, tests="failed", tested_at_s=13),
        trip(20, tests="superseded", tested_at_s=21),
        trip(30, tests="ok", tested_at_s=35),
    ]

    repairs = metrics.summarize(trips).repairs

    assert repairs.spread == Spread(1, 22, 22, is_max=True)
    assert repairs.saves_per_repair == 2


def test_an_error_is_repaired_at_the_output_where_no_test_speaks_against_it():
    red, good = trip(0, "failed", 1), trip(10, feedback=1)

    assert metrics.summarize([red, good]).repairs.mean_s == 10
    assert metrics.summarize([red, replace(good, tests="superseded", tested_at_s=12)]).repairs.mean_s == 10
    assert metrics.summarize([red, replace(good, tests="ok", tested_at_s=14)]).repairs.mean_s == 13
    assert metrics.summarize([red, replace(good, tests="failed", tested_at_s=14)]).repairs.mean_s is None


# --- where the developer's time went


@pytest.mark.parametrize(("gap", "counted"), [(14, 14), (15, 15), (16, 0)])
def test_a_rest_of_more_than_fifteen_minutes_is_not_active_time(gap, counted):
    summary = metrics.summarize([], moments(0, gap))

    assert summary.active_s == counted * MINUTE


def test_iterations_and_waiting_are_put_beside_active_time():
    summary = metrics.summarize([trip(0, feedback=6), trip(30, "failed", 6), trip(600, feedback=6)])

    assert summary.active_s == 606  # the last wait is work too
    assert summary.iterations_per_h == pytest.approx(3 / 606 * 3600)
    assert summary.waited_ratio == pytest.approx(18 / 606)


@pytest.mark.parametrize(("minutes", "is_said"), [(9, False), (10, True), (11, True)])
def test_shares_and_paces_need_ten_active_minutes(minutes, is_said):
    summary = metrics.summarize([trip(0, feedback=4)], moments(minutes))

    assert (summary.iterations_per_h is not None, summary.waited_ratio is not None) == (is_said, is_said)


def test_where_all_was_waiting_the_share_is_one():
    summary = metrics.summarize([trip(100 * n, "failed", 130) for n in range(8)])

    assert (summary.active_s, summary.waited_ratio) == (820, 1)


@given(st.lists(st.tuples(st.floats(0, 3000), st.floats(0, 300), st.sampled_from(["ok", "failed", "superseded"]))))
def test_what_was_waited_is_a_share_of_active_time(saves):
    summary = metrics.summarize([trip(at_s, outcome, wait_s) for at_s, wait_s, outcome in saves])

    assert summary.waited_ratio is None or 0 <= summary.waited_ratio <= 1
    assert summary.active_s <= 3120


@given(st.lists(st.floats(0, 1e5), max_size=30))
def test_active_time_is_the_union_of_short_gaps(values):
    seconds = sorted(round(value) for value in values)
    covered = set()
    for earlier, later in itertools.pairwise(seconds):
        if later - earlier <= attention.IDLE_S:
            covered |= set(range(earlier, later))

    assert attention.active_s(seconds) == len(covered)


def test_drift_is_what_follows_a_long_iteration():
    edits = [trip(0, number=1), trip(10.1, number=2), trip(20.2, feedback=11, number=3), trip(100, number=4),
             trip(110.1, feedback=11, number=5), trip(125, number=6), trip(135.1, feedback=11, number=7)]  # fmt: skip

    assert metrics.summarize(edits).drift == Drift(num_long=3, pause_ratio=0.5)


def test_a_focus_block_has_no_rest_no_long_wait_and_no_lost_link():
    worked = moments(*range(0, 61, 10))

    assert metrics.summarize([trip(1)], worked).focus == Focus(1, 3600, 3600)
    assert metrics.summarize([trip(26 * MINUTE, feedback=11)], worked).focus == Focus(2, 56 * MINUTE, 30 * MINUTE)
    lost = replace(worked, losses=(metrics.LinkLoss("s", 31 * MINUTE, 5),))
    assert metrics.summarize([trip(1)], lost).focus == Focus(1, 30 * MINUTE, 30 * MINUTE)
    rested = moments(0, 10, 26, 36)
    assert metrics.summarize([trip(1)], rested).focus == Focus(0, 0, 0)


# --- predictability, cold starts, first use


def test_a_cause_says_how_predictable_it_is():
    code = [trip(n, feedback=1 + n / 10, number=n, expected_s=2.0) for n in range(1, 21)]

    (found,) = metrics.summarize(code).causes

    assert (found.cause, found.num_ok, found.feedback) == ("code", 20, Spread(20, 2.0, 2.9, is_max=False))
    assert found.spread_ratio == pytest.approx(1.45)
    assert found.surprise_ratio == pytest.approx(0.25)
    assert metrics.summarize(code[1:]).causes[0].spread_ratio is None


def test_each_warm_iteration_avoided_the_cold_start_of_its_week():
    week = 7 * 86400.0
    trips = [
        trip(NOON, feedback=30, number=0, cause="cold"),
        trip(NOON + 60, feedback=1),
        trip(NOON + 120, "failed"),
        trip(NOON + week, feedback=1),
        trip(NOON + 2 * week, feedback=10, number=0, cause="cold"),
        trip(NOON + 2 * week + 1, feedback=0.1, number=0, cause="cold", start="resumed"),
        trip(NOON + 2 * week + 60, feedback=1, cause="model"),
    ]

    assert metrics.summarize(trips).avoided == Avoided(2, 40)


def test_time_to_first_result_has_steps_and_no_idle_time():
    marks = {"began": 0.0, "served": 5000.0, "connected": 5002.0, "ready": 7000.0, "result": 7001.0}
    trips = [trip(5000.0, feedback=2001, number=0, cause="cold"), trip(8000, feedback=0.5)]
    records = replace(moments(10), milestones=marks)

    found = metrics.summarize(trips, records).first_result

    # 10 minutes, then a rest; the 2,000 s of loading are no rest
    assert found == FirstResult(2601, {"setup": 600, "connect": 2, "weights": 1998, "first_request": 1}, 0.5)


def test_a_first_result_needs_its_begin():
    assert metrics.summarize([trip(0)], Records(milestones={"result": 3.0})).first_result is None


MARKS = st.dictionaries(st.sampled_from(["served", "connected", "environment", "ready"]), st.floats(0, 1e5))


@given(MARKS, st.floats(0, 1e5), st.lists(st.floats(0, 1e5), max_size=5))
def test_the_steps_to_a_first_result_sum_to_it_whatever_the_marks(marks, result_s, active):
    records = Records(
        milestones={**marks, "began": 0.0, "result": result_s},
        moments=tuple(metrics.Moment(at_s, "key") for at_s in active),
    )

    found = metrics.summarize([], records).first_result

    assert found.total_s == pytest.approx(sum(found.steps_s.values()))
    assert all(took_s >= 0 for took_s in found.steps_s.values())
    assert found.total_s <= result_s + 1e-6


def test_builds_that_were_found_and_runs_that_were_cut_off_do_not_count():
    build = metrics.Build("s", 1.0, 20.0, is_ok=True, was_cached=False, num_packages=3)
    run = metrics.TestRun("s", 1, 2.0, "ok", 1.5)
    records = Records(
        builds=(build, replace(build, was_cached=True, took_s=0.1), replace(build, is_ok=False)),
        tests=(run, replace(run, outcome="failed", took_s=2.5), replace(run, outcome="superseded")),
    )

    summary = metrics.summarize([trip(0)], records)

    assert summary.builds == Spread(1, 20, 20, is_max=True)
    assert (summary.tests, summary.num_tests_failed) == (Spread(2, 1.5, 2.5, is_max=True), 1)


def test_days_are_summarized_apart():
    day = 86400.0
    trips = [trip(NOON), trip(NOON + 1, "failed"), trip(NOON + day), trip(NOON + 2 * day, number=0)]

    found = metrics.by_day(trips, Records())

    assert [(summary.num_ok, summary.num_failed) for _, summary in found] == [(1, 1), (1, 0)]
    assert found[0][0] < found[1][0]


def test_what_is_expected_is_the_median_of_the_last_twenty_good_ones_of_a_cause():
    good = [trip(n, feedback=float(n), number=n) for n in range(1, 26)]
    others = [
        trip(30, "failed", 99), trip(31, feedback=7, cause="model"), trip(32, feedback=0.1, cause="cold", start="resumed"),
    ]  # fmt: skip

    past = expected.of_history([*good, *others])

    assert expected.feedback_s(past, "code") == 15.0  # of 6 to 25
    assert expected.feedback_s(past, "model") == 7
    assert expected.feedback_s(past, "cold") is None


def test_what_was_asked_for_is_no_edit_but_was_waited_for():
    trips = [
        trip(0, feedback=1), trip(10, "failed", 1, number=2), trip(20, feedback=2, number=3, asked="reload", cause="model"),
        trip(30, feedback=5, number=4, asked="restart", cause="cold"),
    ]  # fmt: skip

    summary = metrics.summarize(trips)

    assert (summary.num_ok, summary.num_failed, summary.feedback) == (1, 1, Spread(1, 1, 1, is_max=True))
    assert summary.cold == Spread(1, 5, 5, is_max=True)
    assert summary.waited_s == 9
    assert summary.repairs.mean_s == 11
    assert [each.cause for each in summary.causes] == ["code", "cold"]
    assert expected.of_history(trips) == {"code": (1,), "cold": (5,)}
