"""Edits and requests for as long as wanted, while the network breaks and client and agent are killed.

    python -m tests.soak --minutes 30 [--seed 1]

Prints what was injected and what was seen; exit code 1 if anything was lost or done twice.
"""

import argparse
import collections
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[2]
BARE_PYTHON = str(Path(sys.base_prefix) / "bin" / "python3")
SETTLE_S = 60.0  # for the newest edit to be served once the network is back
APP = """
import hotloop
from parts import part0, part1, part2, part3

app = hotloop.App("soak")

@app.model
def words():
    return {{"end": "!"}}

@app.endpoint
def edit(request: int, words) -> list[int]:
    print("request", request)
    return [{number}, part0.EDIT, part1.EDIT, part2.EDIT, part3.EDIT]
"""


class Client:
    """A client process, and all that it told."""

    def __init__(self, project, state, way, seen):
        self._seen = seen
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.soak.client", str(project), str(state), BARE_PYTHON, way],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip
        self._thread = threading.Thread(target=self._read)
        self._thread.start()
        self._seen.begin_life()

    def _read(self):
        for line in self.process.stdout:
            if line.startswith("{"):
                self._seen.take(json.loads(line))

    def tell(self, command):
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()

    def kill(self):
        self.process.kill()
        self.wait()

    def end(self):
        self.process.stdin.close()
        self.wait()

    def wait(self):
        self.process.wait(SETTLE_S)
        self._thread.join(SETTLE_S)


class Seen:
    """What came out, and what is wrong with it."""

    def __init__(self):
        self.address = ""
        self.kinds = collections.Counter()
        self.logged = collections.Counter()
        self.num_doubled = self.num_lost = self.num_told_again = 0
        self._last = self._last_of_life = 0

    def begin_life(self):
        self._last_of_life = None

    def take(self, told):
        if "loop" in told:
            self.kinds[told["loop"]["kind"]] += 1
            self.address = told["loop"].get("address", self.address)  # where the client serves it, not the runner
            return
        number, before = told["number"], self._last if self._last_of_life is None else self._last_of_life
        self.num_lost += max(0, number - before - 1)
        if number <= before and self._last_of_life is None:
            self.num_told_again += (
                before - number + 1
            )  # the client before was killed before it could say that it has them
        elif number <= before:
            self.num_doubled += 1
        self._last_of_life = number
        if number <= self._last:
            return
        self._last = number
        if told["kind"] == "log":
            self.logged[told["text"]] += 1


class Traffic:
    """Sends one request after the other; the edits that answers tell of may only grow."""

    def __init__(self, seen):
        self._seen = seen
        self.newest = [0] * 5
        self.num_sent = self.num_answered = self.num_backward = 0
        self.answered = set()
        self.failures = collections.Counter()
        self._is_over = False
        self._thread = threading.Thread(target=self._send)
        self._thread.start()

    def end(self):
        self._is_over = True
        self._thread.join(SETTLE_S)

    def _send(self):
        while not self._is_over:
            address = self._seen.address
            if address:
                self._send_one(address)
            time.sleep(0.02)

    def _send_one(self, address):
        self.num_sent += 1
        body = json.dumps({"request": self.num_sent}).encode()
        request = urllib.request.Request(f"{address}/edit", body, {"content-type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                edits = json.loads(answer.read())
        except OSError as error:
            self.failures[type(getattr(error, "reason", error)).__name__] += 1
            return
        self.num_answered += 1
        self.answered.add(self.num_sent)
        self.num_backward += any(edit < before for edit, before in zip(edits, self.newest, strict=True))
        self.newest = edits


class Soak:
    """The project, its edits, and what breaks."""

    def __init__(self, folder, choose, way, agent_state):
        self._choose, self._way = choose, way
        self._project, self._state = folder / "project", folder / "state"
        self._agent_state = agent_state or self._state
        (self._project / "parts").mkdir(parents=True)
        os.environ["HOTLOOP_STATE_DIR"] = str(self._state)
        self.edits = [0] * 5
        self.num_edits = 0
        self.injected = collections.Counter()
        self.seen = Seen()
        for part in range(5):
            self._save(part, 0)
        self._client = Client(self._project, self._state, self._way, self.seen)
        self.traffic = Traffic(self.seen)
        self.slowest_s = 0.0

    def _save(self, part, number):
        path = self._project / (f"parts/part{part - 1}.py" if part else "app.py")
        fresh = path.with_suffix(".tmp")
        fresh.write_text(APP.format(number=number) if not part else f"EDIT = {number}\n")
        fresh.replace(path)

    def edit(self):
        part = self._choose.randrange(5)
        self.num_edits += 1
        self.edits[part] = self.num_edits
        self._save(part, self.num_edits)

    def break_something(self):
        kinds = {"cut": 5, "dark": 4, "freeze": 3, "kill client": 2, "kill agent": 1}
        kind = self._choose.choices(list(kinds), list(kinds.values()))[0]
        self.injected[kind] += 1
        match kind:
            case "cut":
                self._client.tell("cut")
            case "dark" | "freeze":
                self._client.tell(
                    f"{kind} {0.5 * 40 ** self._choose.random() ** 2:.2f}"
                )  # 0.5 to 20 s, short ones more often
            case "kill client":
                self._client.kill()
                self._client = Client(self._project, self._state, self._way, self.seen)
            case "kill agent":
                self._kill_agent()

    def settle(self):
        """Wait until the newest edits are served; gives what is not."""
        began_s = time.monotonic()
        while self.traffic.newest != self.edits and time.monotonic() - began_s < SETTLE_S:
            time.sleep(0.02)
        self.slowest_s = max(self.slowest_s, time.monotonic() - began_s)
        return sum(served != saved for served, saved in zip(self.traffic.newest, self.edits, strict=True))

    def end(self):
        self.traffic.end()
        if self._client.process.poll() is None:
            self._client.end()
        else:
            self._client.wait()
        for _ in range(100):
            if not (self._agent_state / "agent" / "agent.sock").exists():
                return
            time.sleep(0.1)
        self._kill_agent()

    def _kill_agent(self):
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):  # killed before, or not there yet
            pid = int((self._agent_state / "agent" / "pid").read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            if os.fsencode(self._agent_state) in command:  # else the number is another process's by now
                os.kill(pid, signal.SIGKILL)

    def unequal(self):
        """Files that differ between the project and the workspace."""
        tree = next((self._agent_state / "sessions").iterdir()) / "tree"
        names = {path.relative_to(base) for base in (self._project, tree) for path in base.rglob("*.py")}
        return [name for name in names if _content(self._project / name) != _content(tree / name)]


def _content(path):
    return path.read_bytes() if path.exists() else None


def soak(options):
    choose = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="hotloop-soak-") as folder:
        run = Soak(Path(folder), choose, options.way, options.agent_state)
        lost = []
        try:
            lost.append(run.settle())
            until_s = time.monotonic() + 60 * options.minutes
            while time.monotonic() < until_s:
                for _ in range(choose.randrange(1, 6)):
                    run.edit()
                    time.sleep(choose.random() * 0.3)
                run.break_something()
                for _ in range(choose.randrange(0, 4)):
                    run.edit()
                    time.sleep(choose.random() * 1.0)
                if choose.random() < 0.5:
                    lost.append(run.settle())
            lost.append(run.settle())
            time.sleep(1)  # the last log lines
        finally:
            run.end()
        return report(run, sum(lost))


def report(run, num_lost_edits):
    seen, traffic = run.seen, run.traffic
    unlogged = [number for number in traffic.answered if not seen.logged[f"request {number}"]]
    doubled_logs = sum(count - 1 for count in seen.logged.values() if count > 1)
    unequal = run.unequal()
    rows = [
        ("injected", ", ".join(f"{kind} {count}" for kind, count in sorted(run.injected.items()))),
        ("edits made", run.num_edits),
        ("edits not served in the end", num_lost_edits),
        ("answers that went back to an older edit", traffic.num_backward),
        ("files that differ on the runner", len(unequal)),
        ("slowest from the last save to served", f"{run.slowest_s:.1f} s"),
        ("requests answered", f"{traffic.num_answered:,} of {traffic.num_sent:,}"),
        ("requests failed", ", ".join(f"{kind} {count}" for kind, count in traffic.failures.items()) or 0),
        ("events lost", seen.num_lost),
        ("events doubled", seen.num_doubled),
        ("events told to a killed client and the next", seen.num_told_again),
        ("log lines of answered requests lost", f"{len(unlogged)} of {len(traffic.answered):,}"),
        ("log lines doubled", doubled_logs),
        ("loop events", ", ".join(f"{kind} {count}" for kind, count in sorted(seen.kinds.items()))),
    ]
    for name, value in rows:
        print(f"{name:<45}{value}")
    wrong = [num_lost_edits, traffic.num_backward, len(unequal), seen.num_lost, seen.num_doubled, doubled_logs]
    too_many = max(
        0, len(unlogged) - 20 * run.injected["kill agent"]
    )  # a runtime dies with its agent, and what it had to say
    return 1 if any(wrong) or too_many else 0


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--way", default="tests.soak.client:line", help="MODULE:FUNCTION, see tests/soak/client.py")
    parser.add_argument("--agent-state", type=Path, help="the agent's state folder, if that way leads to another")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nothing is left behind
    print(f"seed {options.seed}", flush=True)
    return soak(options)


if __name__ == "__main__":
    sys.exit(main())
