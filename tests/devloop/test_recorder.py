"""What of a session's events is in the history afterwards."""

from __future__ import annotations

import pytest
from tests.devloop.test_history import FRAME, iteration

from hotloop import events
from hotloop.devloop import history
from hotloop.devloop.metrics import Build, LinkLoss, Moment, Session, TestRun
from hotloop.devloop.recorder import Recorder

MINUTE = 60.0


@pytest.fixture
def kept(tmp_path):
    opened = history.History(tmp_path / "history.db")
    yield opened
    opened.close()


def heard(kept, *said, began_at_s=0.0):
    """Have a session say things, each with its time; ends a minute after the last."""
    recorder = Recorder(kept, Session("s", began_at_s, "gpu1"))
    for at_s, event in said:
        recorder.heard(event, at_s, 0.0, 0.0)
    return recorder


def finished(number=1, **changes):
    return events.IterationFinished(0.0, iteration(number=number, outcome="ok", problem=None, **changes))


def test_a_session_has_a_begin_a_runner_and_an_end(kept):
    heard(kept, (1.0, events.SessionEnded(0.0, "", is_left_running=True)), began_at_s=5.0).end(60.0)

    assert kept.records().sessions == (Session("s", 5.0, "gpu1", 60.0, "left"),)


def test_a_session_that_was_killed_has_no_end(kept):
    heard(kept)

    assert kept.records().sessions == (Session("s", 0.0, "gpu1"),)


def test_of_requests_and_keys_only_the_minute_is_kept(kept):
    request = events.RequestFinished(0.0, 1, "POST", "/secret", 200, 0.1)
    recorder = heard(kept, (61.0, request), (62.0, request), (200.0, request))
    recorder.touched(63.0, "key")

    assert set(kept.records().moments) == {
        Moment(60, "request"), Moment(180, "request"), Moment(60, "key"),
    }  # fmt: skip


def test_a_lost_link_is_one_row_also_if_the_session_ends_without_it(kept):
    recorder = heard(
        kept,
        (10.0, events.Offline(0.0, 0)), (12.0, events.Offline(0.0, 1)), (15.0, events.Online(0.0, 5.0)),
        (100.0, events.Offline(0.0, 0)),
    )  # fmt: skip
    recorder.end(130.0)

    assert kept.records().losses == (LinkLoss("s", 10.0, 5.0), LinkLoss("s", 100.0, 30.0))


def test_environments_that_were_made_found_and_failed_are_told_apart(kept):
    def ready(revision, *, was_cached):
        return events.EnvironmentReady(0.0, revision, "uv.lock", "d", "/p", "3.11", 8.0, 12, was_cached)

    failed = events.EnvironmentFailed(0.0, 3, "uv.lock", events.Problem("ResolveError", "secret"))
    heard(
        kept,
        (1.0, events.EnvironmentProgress(0.0, 1, "uv.lock", "resolve")), (9.0, ready(1, was_cached=False)),
        (10.0, ready(2, was_cached=True)),
        (20.0, events.EnvironmentProgress(0.0, 3, "uv.lock", "resolve")), (24.5, failed),
    )  # fmt: skip

    assert kept.records().builds == (
        Build("s", 9.0, 8.0, is_ok=True, was_cached=False, num_packages=12),
        Build("s", 10.0, 8.0, is_ok=True, was_cached=True, num_packages=12),
        Build("s", 24.5, 4.5, is_ok=False, was_cached=False, num_packages=0),
    )


def test_a_run_of_the_tests_is_kept_without_names_and_messages_and_belongs_to_its_iteration(kept, tmp_path):
    failed = events.FailedTest(
        "tests/test_app.py::test_it[secret]", "tests/test_app.py", 14, "AssertionError", "secret"
    )
    run = events.TestsFinished(0.0, 1, "pytest -q secret", "failed", 2.5, 1, 10, 1, (failed,))
    heard(kept, (1001.0, finished(1)), (1003.0, run))

    (trip,), (found,) = kept.trips(), kept.records().tests
    assert (trip.tests, trip.tested_at_s) == ("failed", 1003.0)
    assert found == TestRun("s", 1, 1003.0, "failed", 2.5, 10, 1, (("tests/test_app.py", 14, "AssertionError"),))
    kept.close()
    assert b"secret" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


def test_first_use_is_noted_once(kept):
    ready = events.Ready(0.0, 1, 1, 0.0, "zygote", (), (), ())
    started = events.SessionStarted(0.0, "app", "/p", "local", "3.11", 3)
    heard(
        kept, (102.0, started), (108.0, ready), (109.0, finished(0, saved_at_s=100.0, feedback_s=9.0)), began_at_s=100.0
    )
    heard_again = Recorder(kept, Session("t", 500.0, "local"))
    heard_again.heard(ready, 503.0, 0.0, 0.0)

    assert kept.records().milestones == {
        "began": 100.0, "served": 100.0, "connected": 102.0, "ready": 108.0, "result": 109.0,
    }  # fmt: skip


def test_a_project_that_was_made_first_began_then(tmp_path):
    history.note_first_use(tmp_path, 7.0)

    with history.reading(tmp_path) as kept:
        Recorder(kept, Session("s", 100.0, "local"))
        assert kept.records().milestones == {"began": 7.0, "served": 100.0}


@pytest.mark.parametrize(("moved_s", "drift_s"), [(0.004, 0.0), (0.006, 0.006), (-0.006, -0.006)])
def test_a_clock_that_moves_by_more_than_5_ms_is_noted(kept, moved_s, drift_s):
    recorder = heard(kept)
    recorder.heard(finished(1), 1.0, 100.0, 0.02)
    recorder.heard(finished(2), 2.0, 100.0 + moved_s, 0.02)

    first, second = kept.trips()
    assert (first.drift_s, second.drift_s) == (0.0, pytest.approx(drift_s))
    assert second.offset_error_s == 0.02


def test_a_first_start_that_found_the_app_running_is_no_cold_start(kept):
    resumed = events.SessionResumed(0.0, 1, 3, (), {})
    heard(kept, (1.0, resumed), (2.0, finished(0)), (3.0, finished(1)))

    assert [trip.start for trip in kept.trips()] == ["resumed", "standby"]


def test_where_an_error_was_is_kept(kept):
    problem = events.Problem("ValueError", "secret", (FRAME,))
    heard(kept, (1.0, events.IterationFinished(0.0, iteration(problem=problem))))

    (trip,) = kept.trips()
    assert (trip.error_type, trip.error_file, trip.error_line) == ("ValueError", "app.py", 7)
