"""`dev bench --compare REVISION`: another revision is served meanwhile, and nothing of it stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from tests.cli.test_serve import BARE_PYTHON, COMMAND, processes_of, wait_until
from tests.devloop.load.server import Server
from tests.devloop.test_checkout import commit, everything, git

from hotloop.cli import rest

SLOW = """
import time

import hotloop

app = hotloop.App("tiny")


@app.endpoint
def greet(name: str) -> str:
    time.sleep(0.03)
    return f"hello {name}"
"""
QUICK = SLOW.replace("0.03", "0.0")
SETTINGS = f'[tool.hotloop]\npython = "{BARE_PYTHON}"\n'
ARGUMENTS = ["bench", "/greet", "--data", '{"name": "Bo"}', "--duration", "0.3", "--warmup", "0.1", "-c", "1"]

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    commit(folder, {"app.py": SLOW, "pyproject.toml": SETTINGS})
    (folder / "app.py").write_text(QUICK)  # not committed: what is compared is what lies there
    return folder


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """Where temporary folders are made, to see that none stays."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def bench(project, *arguments):
    done = subprocess.run(
        [*COMMAND, *ARGUMENTS, *arguments], cwd=project, capture_output=True, text=True, timeout=100, check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_what_lies_there_is_compared_with_a_commit(project, temporary, own_state_directory):
    git_before = everything(project / ".git")

    code, out, err = bench(project, "--compare", "HEAD", "--rounds", "6", "--json")

    assert code == 0, err
    said = json.loads(out)
    (run,) = said["runs"]
    assert said["revision"] == git(project, "rev-parse", "HEAD")
    assert said["compared_with"] != said["url"]
    assert run["compared_with"]["latency_ms"]["p50"] >= 30
    assert run["ratios"]["requests_per_s"]["low"] > 1
    assert f"serving {project} as it is now" in err
    assert "serving the revision HEAD (" in err
    assert everything(project / ".git") == git_before
    assert [path for path in temporary.iterdir() if path.name.startswith("hotloop-")] == []
    assert wait_until(lambda: not processes_of(own_state_directory))


def test_the_running_dev_serve_is_the_first_side(project, temporary):
    served = subprocess.Popen(
        [*COMMAND, "serve", "--json", "--port", "0"], cwd=project, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        told = (json.loads(line) for line in served.stdout)
        address = next(event["address"] for event in told if event["kind"] == "runtime_started")
        assert next(event for event in told if event["kind"] == "standby_ready")
        code, _, err = bench(project, "--compare", "main", "--rounds", "2")
        ended = served.poll()
    finally:
        served.terminate()
        served.communicate(timeout=30)

    assert (code, ended) == (0, None), err
    assert f"A is {address}, B is http://127.0.0.1:" in err
    assert "as it is now" not in err


def test_a_revision_that_can_not_be_served_is_told_with_its_error(project, temporary, own_state_directory):
    commit(project, {"app.py": QUICK.replace("import time", "import nothing_of_that_name")})
    (project / "app.py").write_text(QUICK)

    code, out, err = bench(project, "--compare", "HEAD")

    assert (code, out) == (1, "")
    assert "error: it can't be served: ModuleNotFoundError: No module named 'nothing_of_that_name' (app.py:2)" in err
    assert wait_until(lambda: not processes_of(own_state_directory))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_comparison_that_is_called_off_leaves_nothing(project, temporary, own_state_directory, number):
    process = subprocess.Popen(
        [*COMMAND, *ARGUMENTS, "--compare", "HEAD", "--rounds", "900"], cwd=project, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert any("round 1 of 900" in line for line in process.stderr)

    process.send_signal(number)

    assert process.wait(30) in {128 + number, -number}
    if number != signal.SIGKILL:
        assert "Traceback" not in process.communicate()[1]
        assert [path for path in temporary.iterdir() if path.name.startswith("hotloop-")] == []
    assert wait_until(lambda: not processes_of(own_state_directory))


@pytest.mark.parametrize(
    ("compared_with", "said"),
    [("nowhere", "'nowhere' is no revision of the repository"), ("http://", "'http://' is no address of a server")],
)
def test_what_is_neither_revision_nor_address_is_told_in_two_lines(project, compared_with, said):
    with Server() as server:
        code, out, err = bench(project, "--url", server.url, "--compare", compared_with)

    error, hint = err.splitlines()
    assert (code, out) == (2, "")
    assert said in error
    assert hint.startswith("hint: ")


# --- at rest ----------------------------------------------------------------------------------------------------------


def test_the_time_of_a_process_holds_that_of_its_children():
    script = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'while True: pass'])"
    process = subprocess.Popen([sys.executable, "-c", script], start_new_session=True)
    try:
        assert wait_until(lambda: rest.used_by(process.pid) > 0.5)
        own = sum(int(each) for each in Path(f"/proc/{process.pid}/stat").read_text().split()[13:15])
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)

    assert own / os.sysconf("SC_CLK_TCK") < 0.4


def test_a_process_at_rest_is_waited_for_and_a_busy_one_not_for_ever(monkeypatch):
    monkeypatch.setattr(rest, "REST_S", 0.6)
    monkeypatch.setattr(rest, "MAX_WAIT_S", 1.5)
    idle, busy = (
        subprocess.Popen([sys.executable, "-c", script])
        for script in ("import time; time.sleep(600)", "while True: pass")
    )
    try:
        assert wait_until(lambda: rest.used_by(busy.pid) > 0.1)
        began_s = time.monotonic()
        assert rest.wait([idle.pid])
        assert time.monotonic() - began_s >= 0.6
        assert not rest.wait([idle.pid, busy.pid])
    finally:
        for process in (idle, busy):
            process.kill()
            process.wait(10)
