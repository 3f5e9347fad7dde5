"""`dev serve --test`: tests that run where the app does, after each reload, beside a real agent and runtime."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.cli.served import Loop

APP = """
import hotloop

app = hotloop.App("tiny")


@app.endpoint
def double(number: int) -> int:
    return number * 2
"""
TESTS = """
from app import double


def test_other():
    pass


def test_double():
    assert double(2) == 4
"""

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def project(tmp_path):
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "test_app.py").write_text(TESTS)
    return tmp_path


@pytest.fixture
def served(project):
    opened = []

    def open_(*options, **others):
        opened.append(Loop(project, *options, **others))
        return opened[-1]

    yield open_
    for each in opened:
        each.close()


def is_running(mark):
    """Whether a process has this in its command line."""
    found = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    return any(mark.encode() in line for line in found)


def test_tests_run_after_each_reload_with_what_failed_first_and_paths_of_this_machine(served, project):
    loop = served("--test", "python -m pytest -q", python=sys.executable)
    first, at = loop.until("tests_finished")

    (project / "app.py").write_text(APP.replace("* 2", "* 3"))
    standby_at = loop.until("standby_ready", at)[1]
    started_at = loop.until("tests_started", at)[1]
    failed, at = loop.until("tests_finished", at)
    output = [event["text"] for event in loop.told if event["kind"] == "log" and event["source"] == "tests"]
    (project / "app.py").write_text(APP)
    again, at = loop.until("tests_finished", at)

    assert [(told["number"], told["outcome"], told["num_passed"]) for told in (first, failed, again)] == [
        (0, "ok", 2), (1, "failed", 1), (2, "ok", 2),
    ]  # fmt: skip
    assert standby_at < started_at
    (test,) = failed["failed"]
    assert (test["name"], test["line"], test["error_type"]) == ("test_app.py::test_double", 10, "AssertionError")
    assert any("assert 6 == 4" in line for line in output)
    assert not [path for path in project.iterdir() if path.name not in {"app.py", "test_app.py", ".hotloop"}]


def test_the_documented_command_finds_the_projects_modules_from_a_folder_of_tests(served, project):
    (project / "tests").mkdir()
    (project / "test_app.py").rename(project / "tests" / "test_app.py")
    loop = served("--test", "pytest -q tests", python=sys.executable)

    told, _ = loop.until("tests_finished")

    assert (told["outcome"], told["num_passed"]) == ("ok", 2)


def test_a_newer_save_ends_tests_at_once_and_other_commands_give_their_exit_code(served, project):
    command = "python slow.py loop-test-mark"
    (project / "slow.py").write_text(
        "import app, sys, time\nprint('began', flush=True)\ntime.sleep(app.SLEEP_S)\nsys.exit(3)\n"
    )
    (project / "app.py").write_text(APP + "\nSLEEP_S = 300\n")
    (project / "pyproject.toml").write_text(f'[tool.hotloop]\ntest = "{command}"\n')
    loop = served()
    at = loop.until("log", source="tests", text="began")[1]
    assert is_running("loop-test-mark")

    (project / "app.py").write_text(APP + "\nSLEEP_S = 0\n")
    superseded, at = loop.until("tests_finished", at)
    failed, at = loop.until("tests_finished", at)
    asked = loop.ask("test")
    again, at = loop.until("tests_finished", at)

    assert (superseded["number"], superseded["outcome"], superseded["exit_code"]) == (0, "superseded", None)
    assert [(told["number"], told["outcome"], told["exit_code"], told["num_failed"]) for told in (failed, again)] == [
        (1, "failed", 3, None)
    ] * 2
    assert asked == {}
    loop.ask("stop")
    loop.close()
    assert not is_running("loop-test-mark")


def test_a_command_that_can_not_run_is_said(served):
    loop = served("--test", "no-such-program --all")

    told, _ = loop.until("tests_finished")

    assert (told["outcome"], told["exit_code"]) == ("broken", 127)
    assert loop.until("log", source="tests")[0]["text"] == "hotloop: no-such-program: No such file or directory"
