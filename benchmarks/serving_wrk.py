"""Closed-loop load by ``wrk``, for endpoints that answer faster than a load generator in Python can ask."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.serving_load import LoadFailed

PROGRAM = "wrk"
HINT = "wrk is not installed: apt-get install wrk"
TIMEOUT_S = 5
# wrk's times are in microseconds; it calls `request` for each request that it sends, and `done` at the end.
SCRIPT = """
local requests = {{ {requests} }}
local number = 0

function request()
    number = number % #requests + 1
    return requests[number]
end

function done(summary, latency)
    local errors = summary.errors
    io.write(string.format(
        '\\n{{"num_answers": %d, "took_us": %d, "num_errors": %d, "p50_us": %d, "p99_us": %d}}\\n',
        summary.requests, summary.duration, errors.connect + errors.read + errors.write + errors.status + errors.timeout,
        latency:percentile(50), latency:percentile(99)))
end
"""


def run(port: int, requests: Sequence[bytes], num_clients: int, window_s: float) -> dict[str, Any]:
    """Load a server of 127.0.0.1, and give ``rate``, ``p50_ms``, ``p99_ms``, ``num_answers`` and ``num_errors``.

    Args:
        requests: Sent in turn, whole.
        num_clients: How many connections wait for an answer at any time; one thread has them all.
        window_s: Rounded up to whole seconds.

    Raises:
        LoadFailed: It is not installed, or got no answer; the text says what it said.
    """
    program = shutil.which(PROGRAM)
    if program is None:
        raise LoadFailed(HINT)
    seconds = max(1, -int(-window_s // 1))
    with tempfile.TemporaryDirectory(prefix="hl-wrk-") as folder:
        script = Path(folder, "requests.lua")
        script.write_text(SCRIPT.format(requests=", ".join(map(_quoted, requests))), "ascii")
        command = [program, "-t1", f"-c{num_clients}", f"-d{seconds}s", f"--timeout={TIMEOUT_S}s", "-s", str(script)]
        done = subprocess.run(
            [*command, f"http://127.0.0.1:{port}/"],
            capture_output=True, text=True, timeout=seconds + 10 * TIMEOUT_S, check=False,
        )  # fmt: skip
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines or not lines[-1].startswith("{"):
        msg = f"wrk ended with status {done.returncode}: {(done.stderr or done.stdout).strip()[-300:]}"
        raise LoadFailed(msg)
    found = json.loads(lines[-1])
    if not found["num_answers"]:
        msg = f"wrk got no answer in {seconds} s, and {found['num_errors']} errors"
        raise LoadFailed(msg)
    return {
        "rate": round(found["num_answers"] / found["took_us"] * 1e6, 2),
        "p50_ms": found["p50_us"] / 1000,
        "p99_ms": found["p99_us"] / 1000,
        "num_answers": found["num_answers"],
        "num_errors": found["num_errors"],
    }


def _quoted(request: bytes) -> str:
    """A string of Lua's with any bytes in it."""
    return '"' + "".join(f"\\{byte:03d}" for byte in request) + '"'
