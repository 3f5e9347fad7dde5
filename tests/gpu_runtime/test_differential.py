"""After each hot reload, the responses equal those of a cold start of the files on disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

from hotloop import events
from tests.gpu_runtime.driver import RuntimeDriver
from tests.gpu_runtime.mutate import EDITS, Files

ROOT = Path(__file__).parents[2]
BASE = ROOT / "tests" / "data" / "mutable_app"
REQUESTS = [
    ("numbers", {"x": 1}),
    ("text", {"x": 2}),
    ("decorated", {"x": 3}),
    ("numbers", {"x": 4}),
    ("text", {"x": 1}),
    ("late", {"x": 5}),
]
SEQUENCES = int(os.environ.get("HOTLOOP_DIFFERENTIAL_SEQUENCES", "5"))
EDITS_EACH = 26


def base_files() -> Files:
    return {
        str(path.relative_to(BASE)): path.read_text("utf-8")
        for path in sorted(BASE.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def cold_start(workspace: Path) -> dict[str, Any]:
    """What a fresh interpreter answers in this folder."""
    run = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "gpu_runtime" / "cold_start.py"), json.dumps(REQUESTS)],
        cwd=workspace, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


def hot_answers(driver: RuntimeDriver) -> list[list[Any]]:
    answers: list[list[Any]] = []
    for name, arguments in REQUESTS:
        answer = driver.call(name, **arguments)
        if answer.status == 200:
            answers.append([200, answer.json])
        else:
            answers.append([answer.status, answer.json["error"]["type"] if answer.status == 500 else None])
    return answers


def check_reload(driver: RuntimeDriver, revision: int, what: str) -> bool:
    """Compare one reload with a cold start; returns whether the revision serves."""
    outcome = driver.wait_reload(revision)
    cold = cold_start(driver.workspace)
    if isinstance(outcome, events.ReloadFailed):
        assert cold.get("failed") == outcome.problem.type, (what, cold, outcome)
        return False
    assert "answers" in cold, (what, cold, outcome)
    assert hot_answers(driver) == cold["answers"], (what, outcome.models)
    return True


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(SEQUENCES))
def test_hot_reloads_answer_as_cold_starts_do(seed: int, tmp_path: Path):
    random = Random(seed)
    files = base_files()
    good = dict(files)
    history: list[str] = []
    with RuntimeDriver(tmp_path, files) as driver:
        driver.wait_reload(1)
        for _ in range(EDITS_EACH):
            before = dict(files)
            history.append(random.choice(EDITS)(files, random))
            changed: dict[str, str | None] = {
                p: files.get(p) for p in {*before, *files} if before.get(p) != files.get(p)
            }
            if not changed:
                continue
            if check_reload(driver, driver.save(changed), " / ".join(history)):
                good = dict(files)
            elif random.random() < 0.7:  # people undo what broke; sometimes they go on from there
                history.append("undo")
                changed = {p: good.get(p) for p in {*good, *files} if good.get(p) != files.get(p)}
                files = dict(good)
                assert check_reload(driver, driver.save(changed), " / ".join(history))
