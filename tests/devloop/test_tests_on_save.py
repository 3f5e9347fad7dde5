"""When tests run, what is told of them, and what is read of pytest's report. That they do run: tests/cli/test_serve_tests.py."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from tests.devloop.test_machine import PROBLEM, asked, emitted, happened, play, saved, snapshotted, started, trip

from hotloop import events
from hotloop.devloop import bench, junit, machine_state, tester, tests_on_save
from hotloop.devloop.machine_events import Unchanged
from hotloop.devloop.tests_on_save import Begin, Result, State, Stop, Wanted
from hotloop.errors import UsageError

STANDBY = happened(events.StandbyReady(10.2))


def fresh(command="pytest -q"):
    return machine_state.State(tests=State(command))


def runs(actions):
    return [action for action in actions if isinstance(action, Begin | Stop)]


def test_tests_begin_when_an_iteration_went_well_and_the_next_standby_waits():
    state, before = play(*trip(1, 10.0), state=fresh())
    state, actions = play(STANDBY, state=state)

    assert (runs(before), runs(actions)) == ([], [Begin(1, 1, "pytest -q")])

    result = Result("failed", 1.5, 1, 3, 1, (events.FailedTest("t.py::test"),))
    state, actions = play(tests_on_save.Tested(12.0, 1, result), state=state)
    assert emitted(actions) == [
        events.TestsFinished(12.0, 1, "pytest -q", "failed", 1.5, 1, 3, 1, (events.FailedTest("t.py::test"),))
    ]
    assert state.tests.is_over


def test_none_run_where_none_were_wanted_or_the_reload_failed():
    _, actions = play(*trip(1, 10.0), STANDBY, Wanted(), state=machine_state.State())
    assert runs(actions) == []

    failed = happened(events.ReloadFailed(10.1, 1, PROBLEM, None))
    _, actions = play(*trip(1, 10.0)[:4], failed, STANDBY, state=fresh())
    assert runs(actions) == []


def test_a_newer_save_ends_them_at_once_and_what_comes_of_it_is_tested():
    state, _ = play(*trip(1, 10.0), STANDBY, state=fresh())

    state, actions = play(saved(seen=20.0), snapshotted(2, 20.001, 19.99), state=state)
    assert actions.index(Stop(1)) < actions.index(machine_state.Send(2))
    state, late = play(tests_on_save.Tested(20.1, 1, Result("ok", 1.0, 0)), *trip(2, 20.0)[2:], STANDBY, state=state)

    assert emitted(late, "tests_finished") == []
    assert runs(late) == [Begin(2, 2, "pytest -q")]


def test_a_save_of_nothing_new_ends_nothing():
    state, _ = play(*trip(1, 10.0), STANDBY, state=fresh())

    _, actions = play(saved(), Unchanged(), state=state)

    assert runs(actions) == []


def test_tests_of_what_was_overtaken_are_not_run():
    state, _ = play(*trip(1, 10.0), state=fresh())
    failed = happened(events.ReloadFailed(20.1, 2, PROBLEM, 1))

    _, actions = play(*trip(2, 20.0)[:4], failed, STANDBY, state=state)

    assert runs(actions) == []


def test_tests_run_when_asked_and_begin_again_when_asked_again():
    state, _ = play(*trip(1, 10.0), STANDBY, tests_on_save.Tested(12.0, 1, Result("ok", 1.0, 0)), state=fresh())

    state, first = play(Wanted(), state=state)
    state, again = play(Wanted(), state=state)
    assert (runs(first), runs(again)) == ([Begin(2, 1, "pytest -q")], [Stop(1), Begin(3, 1, "pytest -q")])

    state, amid = play(asked(30.0), Wanted(), state=state)
    assert runs(amid) == [Stop(1)]
    _, ended = play(started(1, 30.1), happened(events.ReloadFailed(30.2, 1, PROBLEM, 1)), state=state)
    assert runs(ended) == [Begin(4, 2, "pytest -q")]


def test_a_run_that_was_lost_with_the_connection_begins_again():
    state, _ = play(*trip(1, 10.0), STANDBY, state=fresh())

    state, lost = play(happened(events.Offline(11.0, 0)), tests_on_save.Tested(11.1, 1, None), state=state)
    _, back = play(happened(events.Online(15.0, 4.0)), state=state)

    assert (runs(lost), runs(back)) == ([], [Begin(2, 1, "pytest -q")])


def test_a_bench_waits_for_the_tests():
    shape = events.EndpointShape("embed", "/embed", ("POST",), (), "str", is_batched=False, is_stream=False)
    state = machine_state.State(bench=bench.State("embed"), tests=State("pytest -q"))
    fed = [
        happened(events.Ready(10.02, 1, 1, 10.01, "standby", (), (shape,), ())) if _is_ready(event) else event
        for event in trip(1, 10.0)
    ]

    state, first = play(*fed, STANDBY, state=state)
    _, then = play(tests_on_save.Tested(12.0, 1, Result("ok", 1.0, 0)), state=state)

    assert [type(action) for action in first if isinstance(action, Begin | bench.Begin)] == [Begin]
    assert [type(action) for action in then if isinstance(action, Begin | bench.Begin)] == [bench.Begin]


def _is_ready(event):
    return isinstance(getattr(event, "event", None), events.Ready)


def test_what_was_left_running_is_tested_without_waiting_for_a_standby():
    state = tests_on_save.iteration_ended(State("make test"), 0, is_resumed=True)

    _, actions = tests_on_save.decide(state, has_flights=False, has_standby=False, is_offline=False)

    assert actions == (Begin(1, 0, "make test"),)


# --- commands


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("pytest -q tests", ["pytest", "-q", "tests", "--failed-first"]),
        ("python3.12 -m pytest", ["python3.12", "-m", "pytest", "--failed-first"]),
        (".venv/bin/pytest -k 'a b'", [".venv/bin/pytest", "-k", "a b", "--failed-first"]),
        ("pytest -p no:cacheprovider", ["pytest", "-p", "no:cacheprovider"]),
        ("make test", ["make", "test"]),
        ("sh -c 'pytest -q && true'", ["sh", "-c", "pytest -q && true"]),
    ],
)
def test_pytest_runs_first_what_failed_and_others_run_as_they_are(command, words):
    assert tester.arranged(tester.parse(command, "--test")) == words


@pytest.mark.parametrize(
    ("command", "said"),
    [("", "is empty"), ("pytest 'x", "can't be split"), ("make && make test", "needs a shell")],
)
def test_commands_that_can_not_be_are_refused(command, said):
    with pytest.raises(UsageError, match=said):
        tester.parse(command, "--test")


# --- pytest's report

TESTS = """
import pytest
from helper import broken

class TestThings:
    def test_method(self):
        assert 1 == 2, "why"

@pytest.fixture
def bad():
    raise RuntimeError("no fixture")

def test_fine(): pass

@pytest.mark.parametrize("number", [1, 2])
def test_number(number):
    assert number == 1

def test_setup(bad): pass

def test_deep():
    broken()

@pytest.mark.skip
def test_skipped(): pass
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tested")
    (folder / "tests").mkdir()
    (folder / "helper.py").write_text("def broken():\n    raise KeyError('no key')\n")
    (folder / "tests" / "test_things.py").write_text(TESTS)
    (folder / "tests" / "test_unimportable.py").write_text("import no_such_module\n")
    return folder


def report(project, *options):
    options = (*options, "-q", "-p", "no:cacheprovider", "--junitxml=report.xml", "-o", "junit_family=xunit1")
    command = [sys.executable, "-m", "pytest", *options]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # they take longest, and none is needed
    subprocess.run(command, cwd=project, env=environment, capture_output=True, check=False)
    return junit.read((project / "report.xml").read_bytes())


@pytest.mark.parametrize("style", ["auto", "short", "long"])
def test_each_failed_test_is_named_with_the_line_of_the_test_and_what_it_said(project, style):
    read = report(project, "tests/test_things.py", f"--tb={style}")

    assert (read.num_passed, read.num_failed) == (2, 4)
    assert [(test.name, test.line, test.error_type, test.message) for test in read.failed] == [
        ("tests/test_things.py::TestThings::test_method", 7, "AssertionError", "why"),
        ("tests/test_things.py::test_number[2]", 17, read.failed[1].error_type, "assert 2 == 1"),
        ("tests/test_things.py::test_setup", 11, "RuntimeError", "no fixture"),
        ("tests/test_things.py::test_deep", 22, "KeyError", "'no key'"),
    ]
    assert {test.file for test in read.failed} == {"tests/test_things.py"}
    assert read.failed[1].error_type in {"AssertionError", ""}  # a short traceback does not say


def test_a_file_that_can_not_be_imported_is_named(project):
    read = report(project, "tests/test_unimportable.py")

    assert (read.num_passed, read.num_failed) == (0, 1)
    assert read.failed == (
        events.FailedTest(
            "tests/test_unimportable.py", "tests/test_unimportable.py", 1, "ModuleNotFoundError",
            "No module named 'no_such_module'",
        ),
    )  # fmt: skip


@pytest.mark.parametrize("text", [b"", b"<testsuites><testsuite>", b"no xml"])
def test_a_report_that_was_cut_is_none(text):
    assert junit.read(text) is None
