"""`dev wait` beside a real `dev serve`: what a coding agent does after it has saved."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.test_commands import dev_here
from tests.cli.test_iterations import APP

from hotloop.devloop import control, history

BARE_PYTHON = str(Path(sys.base_prefix) / "bin" / "python3")

pytestmark = pytest.mark.timeout(90)


@pytest.fixture
def wait(capsys, monkeypatch, tmp_path):
    return lambda *arguments: dev_here(capsys, monkeypatch, "wait", *arguments, cwd=tmp_path)


@pytest.fixture
def project(tmp_path):
    """A project that is served; when it is given, its first outcome has yet to come."""
    (tmp_path / "app.py").write_text(APP)
    command = [sys.executable, "-m", "hotloop.cli.main", "serve", "--json", "--port", "0", "--python", BARE_PYTHON]
    loop = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**os.environ}
    )
    try:
        assert loop.stdout.readline()
        yield tmp_path
    finally:
        loop.terminate()
        loop.stdout.close()
        loop.wait(30)


def test_what_was_saved_just_now_is_waited_for_and_its_outcome_is_the_exit_code(project, wait):
    assert wait("--for", "green")[0] == 0

    (project / "app.py").write_text(APP.replace("NUMBER = 0", "NUMBER = 1"))
    assert wait()[0] == 0
    assert json.loads(wait("--json")[1])["iteration"]["number"] == 1

    (project / "app.py").write_text(APP.replace("NUMBER = 0", "NUMBER = nothing"))
    code, out, _ = wait("--timeout", "20")
    assert code == 3
    assert out.startswith("#2  failed  ")
    assert out.endswith("app.py:5: NameError: name 'nothing' is not defined\n")
    assert wait("--for", "red")[0] == 0
    code, out, _ = wait("--for", "green", "--timeout", "0.3", "--json")
    assert (code, json.loads(out)) == (7, {"schema": 1, "is_timed_out": True, "iteration": None})


def test_keys_of_a_dashboard_are_activity_and_questions_of_programs_are_not(project, wait):
    wait("--for", "any")
    with history.reading(project) as kept:
        assert kept.records().moments == ()

    socket = control.control_path(control.state_folder(), control.project_id(project))
    control.ask(socket, {"name": "touched"})

    with history.reading(project) as kept:
        assert [moment.what for moment in kept.records().moments] == ["key"]


def test_where_nothing_is_served_nothing_is_waited_for(wait):
    code, _, err = wait()

    assert code == 2
    assert "no dev serve runs" in err
    assert wait("--for", "blue")[0] == 2
