"""A disk that fills up under a real session: what is said, and that nothing is lost when there is room again."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess

import pytest
from tests.cli.served import BARE_PYTHON, COMMAND, Loop
from tests.remote_runner.bare_machine import mounted

APP = "import hotloop\n\napp = hotloop.App('x')\nN = {n}\n\n\n@app.endpoint\ndef greet() -> int:\n    return N\n"


@pytest.fixture
def small(tmp_path):
    with mounted(tmp_path / "small", "size=150m") as folder:  # 128 MiB are to stay free
        yield folder


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "app.py").write_text(APP.format(n=1))
    return folder


def fill(folder):
    """Take all there is; a file system that rounds up leaves nothing either."""
    with (folder / "fill").open("wb", buffering=0) as file:
        for block in (bytes(1 << 20), bytes(1 << 12)):
            try:
                while file.write(block) == len(block):
                    pass
            except OSError:
                continue


def replace(path, text):
    fresh = path.with_name("fresh~")
    fresh.write_bytes(text)
    fresh.replace(path)


def test_saves_that_the_runners_disk_had_no_room_for_go_with_the_next_one(project, small, monkeypatch):
    monkeypatch.setenv("HOTLOOP_STATE_DIR", str(small / "state"))
    loop = Loop(project)
    try:
        loop.until("iteration_finished")
        fill(small)
        replace(project / "data.bin", os.urandom(300_000))
        refused, after = loop.until("reload_failed")
        replace(project / "app.py", APP.format(n=2).encode())
        loop.until("reload_failed", after)
        served_meanwhile = loop.post()

        (small / "fill").unlink()
        replace(project / "app.py", APP.format(n=3).encode())
        started, after = loop.until("iteration_started", after, number=3)
        loop.until("iteration_finished", after)
        served = loop.post()
        (tree,) = (small / "state" / "sessions").glob("*/tree")
        there = sorted(path.name for path in tree.iterdir())
    finally:
        code = loop.close()

    assert refused["problem"]["message"] == "The runner's disk is full: the save was not applied."
    assert refused["problem"]["hint"] == "free some space there; what was saved goes with the next save"
    assert (served_meanwhile, served) == (1, 3)
    assert set(started["paths"]) == {"app.py", "data.bin"}
    assert there == ["app.py", "data.bin"]
    assert code == 143


def test_an_agent_that_a_full_disk_keeps_from_starting_says_so(project, small, monkeypatch):
    state = small / "state"
    (state / "agent").mkdir(parents=True)
    monkeypatch.setenv("HOTLOOP_STATE_DIR", str(state))
    fill(small)

    serve = [*COMMAND, "serve", "--port", "0", "--ui", "plain", "--python", BARE_PYTHON]
    done = subprocess.run(serve, cwd=project, capture_output=True, text=True, timeout=40, check=False)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"error: The agent on this machine can't start: the disk is full at {state}.\n"
        "hint: free some space there, or set HOTLOOP_STATE_DIR to another folder\n"
    )


def test_a_history_that_finds_no_room_is_said_once_and_goes_on_when_there_is(tmp_path, small):
    project = small / "project"
    project.mkdir()
    (project / "app.py").write_text(APP.format(n=1))
    loop = Loop(project)
    try:
        loop.until("iteration_finished")
        fill(small)
        loop.ask("reload")
        _, after = loop.until("iteration_finished", 1 + loop.told.index(loop.until("iteration_started")[0]))
        said, _ = loop.until("notice", key="history")
        (small / "fill").unlink()
        loop.ask("reload")
        started, after = loop.until("iteration_started", after)
        loop.until("iteration_finished", after)
    finally:
        loop.close()
    with contextlib.closing(sqlite3.connect(project / ".hotloop" / "history.db")) as database:
        kept = [number for (number,) in database.execute("SELECT number FROM iteration ORDER BY number")]

    assert said["text"].endswith("can't be written, the disk is full: what happens meanwhile is not kept")
    assert said["hint"] == "free some space"
    assert kept == [0, started["number"]]
