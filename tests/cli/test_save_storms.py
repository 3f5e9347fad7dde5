"""Saves in any rhythm: once a session says how the last one went, it answers as a cold start of the files on disk does.

Edits during a reload, saves and reverts within milliseconds, writes in pieces, checkouts, modules that go and come back, loaders
that take long, requests under way. HOTLOOP_STORMS runs more of them, HOTLOOP_STORMS_FROM begins at another seed; five a minute.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from random import Random

import pytest
from tests.cli.served import BARE_PYTHON, DEADLINE_S, Loop
from tests.gpu_runtime import mutate

ROOT = Path(__file__).parents[2]
BASE = ROOT / "tests/data/mutable_app"
STORMS = int(os.environ.get("HOTLOOP_STORMS", "2"))
FIRST = int(os.environ.get("HOTLOOP_STORMS_FROM", "0"))
SEEN_S = 0.15  # a save that was made just now has been seen by then, as `dev wait` has it
REQUESTS = [("numbers", {"x": 1}), ("text", {"x": 2}), ("decorated", {"x": 3}), ("delayed", {"x": 5})]
SLOW = "import time\nWAIT = 0.0\n\n\ndef wait():\n    time.sleep(WAIT)\n    return WAIT\n"
MORE = """

@app.model
def slow():
    import slow as part
    with open("data/weights.json") as file:
        before = json.load(file)["values"]
    waited = part.wait()
    with open("data/weights.json") as file:
        return [waited, before, json.load(file)["values"]]


@app.endpoint
def delayed(x: int, slow) -> list:
    import time
    time.sleep(x / 1000)
    return [slow, OFFSET, SCALE]
"""

WAYS = ("plain", "renamed over", "in pieces", "moved away first", "in place")
STEPS = (
    ("edit", 9), ("pause", 8), ("same", 1), ("back", 2), ("there and back", 2), ("slip", 2), ("gone and back", 1),
    ("move", 1), ("data", 2), ("data, then code", 2), ("slow", 2), ("request", 2), ("switch", 2), ("check", 2),
)  # fmt: skip
EDITS_BACK = {
    "there and back": mutate.change_number, "slip": mutate.break_syntax, "gone and back": mutate.delete_module,
}  # fmt: skip

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


class Storm:
    """A project under `dev serve`, and what its files hold."""

    def __init__(self, project: Path) -> None:
        self.project = project
        self.files = {
            str(path.relative_to(BASE)): path.read_text("utf-8")
            for path in sorted(BASE.rglob("*"))
            if path.is_file() and "__pycache__" not in path.parts
        }
        self.files["app.py"] += MORE
        self.files["slow.py"] = SLOW
        for path, text in self.files.items():
            self.write(path, text, "plain")
        (project / ".gitignore").write_text("__pycache__/\n.hotloop/\n*~\n.*.new\n")
        self.git("init", "-q", "-b", "main")
        self.commit()
        for number in range(2):
            self.git("checkout", "-q", "-b", f"branch{number}", "main")
            random = Random(number)
            self.change(random, "plain", mutate.change_number, mutate.add_method, mutate.change_data)
            self.commit()
        self.checkout("main")
        self.loop = Loop(project)

    # --- files

    def git(self, *arguments: str) -> None:
        names = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *names, *arguments], cwd=self.project, check=True, capture_output=True)

    def commit(self) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "x")

    def checkout(self, branch: str) -> None:
        self.git("checkout", "-q", "-f", branch)
        tracked = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=self.project, check=True, capture_output=True, text=True)  # fmt: skip
        paths = [path for path in tracked.stdout.split() if path != ".gitignore" and (self.project / path).is_file()]
        self.files = {path: (self.project / path).read_text("utf-8") for path in paths}

    def write(self, path: str, text: str | None, way: str) -> None:
        target = self.project / path
        if text is None:
            target.unlink(missing_ok=True)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        if way == "renamed over":
            fresh = target.with_name(f".{target.name}.new")
            fresh.write_text(text, "utf-8")
            fresh.replace(target)
        elif way == "in pieces":
            with target.open("w", encoding="utf-8") as file:
                file.write(text[: len(text) // 2])
                file.flush()
                time.sleep(0.002)
                file.write(text[len(text) // 2 :])
        elif way == "moved away first" and target.exists():
            target.rename(target.with_name(f"{target.name}~"))
            target.write_text(text, "utf-8")
            target.with_name(f"{target.name}~").unlink()
        elif way == "in place" and target.exists():
            with target.open("r+", encoding="utf-8") as file:
                file.write(text)
                file.truncate()
        else:
            target.write_text(text, "utf-8")

    def put(self, files: dict[str, str], way: str) -> None:
        for path in sorted({*files, *self.files}):
            if files.get(path) != self.files.get(path):
                self.write(path, files.get(path), way)
        self.files = dict(files)

    def change(self, random: Random, way: str, *edits: mutate.Edit) -> None:
        files = dict(self.files)
        for edit in edits:
            edit(files, random)
        self.put(files, way)

    def move(self, random: Random, way: str) -> None:
        """Rename a module and edit those that import it, and one thing more."""
        files = dict(self.files)
        names = [p for p in files if re.fullmatch(r"[a-z0-9]+\.py", p) and p not in {"app.py", "slow.py"}]
        old = random.choice(sorted(names)).removesuffix(".py")
        new = f"{old.rstrip('0123456789')}{random.randrange(100)}"
        for path in [path for path in files if path.endswith(".py")]:
            files[path] = re.sub(rf"\b(import|from) {old}\b", rf"\1 {new}", files[path])
        files[f"{new}.py"] = files.pop(f"{old}.py")
        mutate.change_number(files, random)
        self.put(files, way)

    # --- answers

    def post(self, name: str, **arguments: int) -> list[object]:
        url = self.loop.until("runtime_started")[0]["address"]
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(f"{url}/{name}", json.dumps(arguments).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
                return [200, json.loads(answer.read())]
        except urllib.error.HTTPError as error:
            return [error.code, json.loads(error.read())["error"]["type"] if error.code == 500 else None]

    def outcome(self) -> dict[str, object]:
        """How the saves made so far went, when the session says so."""
        time.sleep(SEEN_S)
        until_s = time.monotonic() + DEADLINE_S
        while time.monotonic() < until_s:
            iteration = self.loop.ask("outcome")["iteration"]
            if iteration is not None and iteration["outcome"] in {"ok", "failed"}:
                return iteration
            time.sleep(0.01)
        pytest.fail(f"no outcome: {self.loop.told[-5:]}")

    def cold(self) -> dict[str, object]:
        command = [BARE_PYTHON, str(ROOT / "tests/gpu_runtime/cold_start.py"), json.dumps(REQUESTS)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        run = subprocess.run(command, cwd=self.project, env=environment, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
        return json.loads(run.stdout.splitlines()[-1])

    def check(self, told: str) -> None:
        iteration = self.outcome()
        problem = iteration["problem"]
        if iteration["outcome"] == "ok":
            seen = {"answers": [self.post(name, **arguments) for name, arguments in REQUESTS]}
        else:
            seen = {"failed": problem["type"]}

        assert seen == self.cold(), told

    # --- steps

    def go(self, step: str, seed: int, states: list[dict[str, str]]) -> None:
        random = Random(seed)
        way = random.choice(WAYS)
        pause_s = random.choice((0, 0, 1, 2, 3, 5, 8, 12, 20, 30)) / 1000
        if step == "pause":
            time.sleep(random.choice((0, 2, 5, 10, 20, 30, 60, 100, 250)) / 1000)
        elif step == "back":
            self.put(random.choice(states), way)
        elif step in EDITS_BACK:
            before = dict(self.files)
            self.change(random, way, EDITS_BACK[step])
            time.sleep(pause_s)
            self.put(before, way)
        elif step == "data, then code":
            self.change(random, way, mutate.change_data)
            time.sleep(pause_s)
            self.change(random, way, mutate.change_number)
        else:
            getattr(self, step)(random, way)

    def edit(self, random: Random, way: str) -> None:
        self.change(random, way, random.choice(mutate.EDITS))

    def data(self, random: Random, way: str) -> None:
        self.change(random, way, mutate.change_data)

    def same(self, random: Random, way: str) -> None:
        path = random.choice(sorted(self.files))
        self.write(path, self.files[path], way)

    def slow(self, random: Random, way: str) -> None:
        wait_s = random.choice((0.05, 0.1, 0.3, 0.6, 1.0))
        self.put({**self.files, "slow.py": SLOW.replace("0.0", str(wait_s))}, way)

    def switch(self, random: Random, _: str) -> None:
        for _ in range(random.choice((1, 2))):
            self.checkout(random.choice(("main", "branch0", "branch1")))


def storm_of(seed: int) -> list[tuple[str, int]]:
    """Steps, each with a seed of its own: without some of them the others do the same."""
    random = Random(seed)
    names = random.choices([name for name, _ in STEPS], [weight for _, weight in STEPS], k=random.randrange(3, 14))
    return [(name, random.randrange(1 << 30)) for name in names]


def run(storm: Storm, steps: list[tuple[str, int]], told: str) -> list[list[object]]:
    """Go through the steps; gives the answers to what was asked meanwhile."""
    answers: list[list[object]] = []
    threads: list[threading.Thread] = []
    states = [dict(storm.files)]
    for step, seed in steps:
        if step == "check":
            storm.check(told)
        elif step == "request":
            asking = threading.Thread(target=lambda ms=seed % 600: answers.append(storm.post("delayed", x=ms)))
            asking.start()
            threads.append(asking)
        else:
            storm.go(step, seed, states)
        states.append(dict(storm.files))
    storm.check(told)
    for thread in threads:
        thread.join()
    return answers


@pytest.mark.skipif(sys.platform != "linux", reason="no inotify on this system")
def test_a_session_answers_as_a_cold_start_does_once_it_says_how_the_last_save_went(tmp_path: Path):
    storm = Storm(tmp_path)
    try:
        start, _ = storm.loop.until("iteration_finished")
        assert start["iteration"]["outcome"] == "ok"
        base = dict(storm.files)
        for seed in range(FIRST, FIRST + STORMS):
            steps = storm_of(seed)
            answers = run(storm, steps, f"storm {seed}: {steps}")

            assert {answer[0] for answer in answers} <= {200, 404, 500}
            storm.checkout("main")
            storm.put(base, "plain")
            storm.check(f"back at the start after storm {seed}")
    finally:
        storm.loop.close()
