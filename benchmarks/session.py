"""A session of many edits, driven as a person drives it: good ones, broken ones, some that load a model, some in a burst.

`python -m benchmarks.session FOLDER [EDITS]` makes a project there and serves it through so many saves (60). Afterwards
`dev report FOLDER` and `dev stats FOLDER` have something real to say.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

COMMAND = [sys.executable, "-m", "hotloop.cli.main", "serve", "--json"]
DEADLINE_S = 60.0
REST_S = 0.5

APP = """
import time

import hotloop
import tables

app = hotloop.App("search")
LENGTH = {length}


@app.model
def encoder():
    time.sleep(0.4)
    return {{"length": LENGTH}}


@app.endpoint
def embed(text: str, encoder) -> list:
    {body}
    return [len(text) * {factor}, encoder["length"], len(tables.ROWS)]


@app.probe
def cat(client):
    return client.embed(text="a cat")
"""
TABLES = """
from pathlib import Path

ROWS = Path(__file__).with_name("rows.bin").read_bytes()  # edit {number}
"""


class Session:
    """A running `dev serve`, and what it said of its iterations."""

    def __init__(self, folder: Path, python: str = "") -> None:
        self.folder = folder
        command = [*COMMAND, str(folder), "--port", "0", "--python", python or sys.executable]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ})
        self._changed = threading.Condition()
        self.finished: dict[int, dict] = {}
        self._is_over = False
        self._is_warm = False
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._process.stdout:
            event = json.loads(line)
            with self._changed:
                if event["kind"] == "iteration_finished":
                    self.finished[event["iteration"]["number"]] = event["iteration"]
                    self._is_warm = False
                elif event["kind"] == "standby_ready":
                    self._is_warm = True
                self._changed.notify_all()
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    def wait(self, saved_at_s: float = 0.0) -> None:
        """Wait for the outcome of what was saved at a moment (seconds since 1970), or with a newer save."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_told(saved_at_s) or self._is_over, DEADLINE_S)
            if not self._is_told(saved_at_s):
                msg = f"no outcome after {saved_at_s}; finished: {sorted(self.finished)}"
                raise TimeoutError(msg)

    def rest(self) -> None:
        """Pause until the next standby waits, as a person does who reads the output; after a failure none is made anew."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_warm or self._is_over, REST_S)

    def _is_told(self, saved_at_s: float) -> bool:
        told = [each for each in self.finished.values() if each["outcome"] != "superseded"]
        return any(each["saved_at_s"] >= saved_at_s - 0.001 for each in told)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(DEADLINE_S)


class Author:
    """Writes the project, an edit at a time."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._chance = random.Random(seed)
        self._values = {"length": 8, "body": "pass", "factor": 0}
        self._number = 0

    def begin(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "rows.bin").write_bytes(b"0123456789" * 600_000)
        self._write("tables.py", TABLES.format(number=0))
        self._save()

    def edit(self) -> float:
        """Make one edit; gives when it was saved, seconds since 1970."""
        self._number += 1
        kind = self._chance.choices(("code", "model", "data", "typo", "bug"), (14, 4, 3, 2, 3))[0]
        self._values["body"] = {"typo": "return (", "bug": "text = text + missing"}.get(kind, "pass")
        if kind == "model":
            self._values["length"] += 1
        elif kind == "data":
            return self._write("tables.py", TABLES.format(number=self._number))
        self._values["factor"] = self._number
        return self._save()

    def _save(self) -> float:
        return self._write("app.py", APP.format(**self._values))

    def _write(self, name: str, text: str) -> float:
        (self._folder / name).write_text(text)
        return (self._folder / name).stat().st_mtime


def drive(folder: Path, num_edits: int, *, seed: int = 7, python: str = "") -> dict[int, dict]:
    """Make a project, serve it through so many edits; gives its iterations by number."""
    author = Author(folder, seed)
    author.begin()
    session = Session(folder, python)
    try:
        session.wait()
        for number in range(1, num_edits + 1):
            saved_at_s = author.edit()
            if number % 15:  # each fifteenth is not waited for: the next one overtakes it, or joins it
                session.wait(saved_at_s)
                session.rest()
    finally:
        session.stop()
    return session.finished


def main() -> None:
    folder = Path(sys.argv[1])
    finished = drive(folder, int(sys.argv[2]) if sys.argv[2:] else 60)
    for number, iteration in sorted(finished.items()):
        print(number, iteration["outcome"], iteration["cause"], f"{iteration['feedback_s'] * 1000:.0f} ms")


if __name__ == "__main__":
    main()
