"""`git checkout` between two branches under `dev serve`: what is served equals a cold start of the branch."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from hotloop import events
from tests.gpu_runtime.mutate import EDITS
from tests.gpu_runtime.test_differential import BASE, REQUESTS, base_files, cold_start

BARE_PYTHON = str(Path(sys.base_prefix) / "bin" / "python3")
IDENTITY = ["-c", "user.name=t", "-c", "user.email=t@example.org"]


class JsonLoop:
    """`dev serve --json` in a folder, and its events."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "hotloop.cli.main", "serve", "--json", "--python", BARE_PYTHON],
            cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self.address = ""

    def iteration(self) -> events.Iteration:
        """Wait for the next iteration that was not superseded."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            event = events.from_json(json.loads(line))
            if isinstance(event, events.RuntimeStarted):
                self.address = event.address
            if isinstance(event, events.IterationFinished) and event.iteration.outcome != "superseded":
                return event.iteration
        pytest.fail(f"dev serve ended with {self.process.wait()}")

    def answers(self) -> list[list[Any]]:
        return [self._answer(name, arguments) for name, arguments in REQUESTS]

    def _answer(self, name: str, arguments: dict[str, Any]) -> list[Any]:
        request = urllib.request.Request(
            f"{self.address}/{name}", json.dumps(arguments).encode(), {"content-type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return [200, json.loads(response.read())]
        except urllib.error.HTTPError as error:
            body = json.loads(error.read())
            return [error.code, body["error"]["type"] if error.code == 500 else None]


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *IDENTITY, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository with two branches that differ in a dozen edits, among them new and deleted files."""
    folder = tmp_path / "project"
    shutil.copytree(BASE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    git(folder, "init", "-q", "-b", "one")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "one")
    git(folder, "checkout", "-qb", "two")
    _write(folder, _edited(folder))
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "two")
    git(folder, "checkout", "-q", "one")
    return folder


def _edited(folder: Path) -> dict[str, str]:
    """A dozen edits that together still answer."""
    random = Random(7)
    files = base_files()
    done = 0
    while done < 12:
        attempt = dict(files)
        random.choice(EDITS)(attempt, random)
        if attempt == files:
            continue
        _write(folder, attempt)
        cold = cold_start(folder)
        if "answers" in cold and all(status == 200 for status, _ in cold["answers"]):
            files, done = attempt, done + 1
    return files


def _write(folder: Path, files: dict[str, str]) -> None:
    for path in folder.rglob("*"):
        if path.is_file() and ".git" not in path.parts and str(path.relative_to(folder)) not in files:
            path.unlink()
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")


@pytest.fixture
def loop(project: Path) -> Iterator[JsonLoop]:
    loop = JsonLoop(project)
    yield loop
    loop.process.send_signal(signal.SIGINT)
    loop.process.wait(30)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_checkout_is_one_iteration_and_serves_the_branch(project: Path, loop: JsonLoop):
    assert loop.iteration().outcome == "ok"
    cold: dict[str, list[Any]] = {"one": cold_start(project)["answers"]}
    assert loop.answers() == cold["one"]

    for number, branch in enumerate(["two", "one"] * 4, start=1):
        time.sleep(0.3)
        git(project, "checkout", "-q", branch)
        iteration = loop.iteration()
        cold.setdefault(branch, cold_start(project)["answers"])

        assert (iteration.number, iteration.outcome) == (number, "ok")
        assert loop.answers() == cold[branch]
    assert cold["one"] != cold["two"]
