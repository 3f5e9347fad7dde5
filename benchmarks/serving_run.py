"""One side, serving: its processes, their processor time and memory, bursts of load against it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import hotloop
from benchmarks import environments, memory, servers, serving_cpu, serving_load, serving_wrk
from benchmarks.serving_burst import Burst, summary
from benchmarks.serving_client import make_request
from benchmarks.serving_sides import ENDPOINTS, Check, Side, command

START_TIMEOUT_S = 90
SETTLE_TIMEOUT_S = 60
STOP_PATIENCE_S = 15
LOOKED_AT_S = 0.3
QUIET_CORES = 0.35  # LitServe and Ray use up to a quarter of a core when idle
QUIET_LOOKS, LOOK_S = 5, 0.5


class WrongAnswer(Exception):
    """A side answered with something else; the text says what."""


@dataclass
class ServedSide:
    """A side that serves. Use as a context manager: it answers inside, and has nothing left to do.

    Attributes:
        project: The folder of the app, and of the peers' servers.
        folder: For what this start writes.
    """

    side: Side
    python: Path
    project: Path
    folder: Path
    bridge: Path

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._log = self.folder / "log"
        self.port = servers.free_port()
        line = command(self.side, str(self.python), self.port, str(self.project))
        self._process = servers.start(line, self.project, self._environment(), self._log)
        self._roots = {self._process.pid}
        try:
            servers.wait_until(self._answers, START_TIMEOUT_S, f"{self.side.name}: first answer")
            self._roots |= self._find_agent()
            self._settle()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def burst(self, texts: list[str], num_clients: int, window_s: float, check: Check) -> dict[str, Any]:
        """Load it, look at its answers, and give rate, latencies and processor time a request.

        What the trivial endpoint gives is measured by wrk, once some of its answers were looked at: a load generator in
        Python costs as much of a processor as hotloop does there, and would be measured too.

        Raises:
            WrongAnswer: A status is not 200, or a body not what it should be.
            serving_load.LoadFailed: It stopped answering.
        """
        sample_every = 1 if self.side.workload == "sse" else 17
        requests, is_trivial = self.requests(texts), self.side.workload == "echo"
        looked_at_s = LOOKED_AT_S if is_trivial else window_s
        before_s = serving_cpu.trees_s(self._roots)
        result = serving_load.run(serving_load.Load(self.port, requests, num_clients, looked_at_s, sample_every))
        self._check(result, check)
        found = summary(result)
        if is_trivial:
            before_s = serving_cpu.trees_s(self._roots)
            found = serving_wrk.run(self.port, requests, num_clients, window_s)
            if found["num_errors"]:
                msg = f"{self.side.name} gave wrk {found['num_answers']} answers and {found['num_errors']} errors"
                raise WrongAnswer(msg)
        used_s = serving_cpu.trees_s(self._roots) - before_s
        return {**found, "cpu_ms_per_request": round(used_s * 1000 / found["num_answers"], 4)}

    def requests(self, texts: list[str]) -> list[bytes]:
        """The requests of this side, whole."""
        accept = "text/event-stream" if self.side.workload == "sse" else "application/json"
        return [make_request(self.side.path, self.side.body(text), accept) for text in texts]

    def cores(self, window_s: float) -> float:
        """How many cores it uses, on average over a window."""
        before_s, began = serving_cpu.trees_s(self._roots), time.monotonic()
        time.sleep(window_s)
        return (serving_cpu.trees_s(self._roots) - before_s) / (time.monotonic() - began)

    def pss_bytes(self) -> int:
        """Memory of all its processes, shared pages counted once."""
        return sum(memory.pss_bytes(pid) for pid in serving_cpu.members(self._roots))

    def _check(self, result: Burst, check: Check) -> None:
        if result.bad or not result.done_s:
            counts = ", ".join(f"{count} of status {status}" for status, count in result.bad.items())
            msg = f"{len(result.done_s)} good answers, {counts or 'no other'}: {result.first_bad[:200]!r}"
            raise WrongAnswer(msg)
        for number, answer in result.samples:
            if problem := check(number, answer):
                msg = f"{self.side.name} answered request {number} with {problem}"
                raise WrongAnswer(msg)

    def _settle(self) -> None:
        """Wait until it does nothing by itself: hotloop makes another zygote when it has learned what is imported."""
        num_quiet, deadline = 0, time.monotonic() + SETTLE_TIMEOUT_S
        while num_quiet < QUIET_LOOKS:
            num_quiet = num_quiet + 1 if self.cores(LOOK_S) < QUIET_CORES else 0
            if time.monotonic() > deadline:
                msg = f"{self.side.name} keeps a processor busy, though nothing is asked of it"
                raise TimeoutError(msg)

    def _environment(self) -> dict[str, str]:
        more = {
            "OMP_NUM_THREADS": "1",
            "WORKLOAD": ENDPOINTS[self.side.workload],
            "VARIANT": self.side.variant,
            "SERVING_PORT": str(self.port),
            "SERVING_FOLDER": str(self.folder),
            "BENTOML_HOME": str(self.folder / "bentoml"),
            "BENTOML_DO_NOT_TRACK": "True",
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        if self.side.family == "hotloop":  # the one that this process imported, whatever is installed
            more["PYTHONPATH"] = str(Path(hotloop.__file__).resolve().parent.parent)
            more["HOTLOOP_STATE_DIR"] = str(self.folder / "state")
        else:
            more["PYTHONPATH"] = str(self.bridge)
        return environments.clean_environment(**more)

    def _answers(self) -> bool:
        if self._process.poll() is not None:
            msg = f"{self.side.name} ended with status {self._process.returncode}: {self._last_words()}"
            raise environments.Unavailable(msg)
        servers.request_bytes(self.port, self.side.path, self.side.body("a cat"))
        return True

    def _find_agent(self) -> set[int]:
        """The top of the other tree of hotloop's: its agent is nobody's child, and has the runtime below it."""
        if self.side.family != "hotloop":
            return set()
        lines = (line for line in self._log.read_text(errors="replace").splitlines() if '"runtime_started"' in line)
        runtime = int(json.loads(next(lines))["pid"])
        return {serving_cpu.parent(runtime) or runtime} - {1}

    def _stop(self) -> None:
        started = {pid: serving_cpu.started(pid) for pid in serving_cpu.members(self._roots)}
        try:  # by SIGTERM: whoever runs this in the background has its children ignore SIGINT
            servers.stop(self._process, STOP_PATIENCE_S, signal.SIGTERM)
        finally:  # also if this run is ended meanwhile
            for pid, ticks in started.items():
                if ticks and serving_cpu.started(pid) == ticks:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)

    def _last_words(self) -> str:
        return " / ".join(self._log.read_text(errors="replace").splitlines()[-3:])
