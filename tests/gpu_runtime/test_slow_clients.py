"""slowhttptest against a served app: clients that dawdle, far more of them than there is room for."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotloop import events
from tests.gpu_runtime.driver import RuntimeDriver

APP = """
import hotloop
app = hotloop.App("slow")

@app.endpoint
def count(text: str = "") -> int:
    return len(text)

@app.endpoint(methods=["GET"])
def much() -> str:
    return "x" * 400_000
"""
MAX_FILES = 512  # which leaves room for half as many connections
TEST_S = int(os.environ.get("HOTLOOP_SLOW_CLIENTS_S", "7"))
KINDS = {
    "slow heads": ["-H", "-c", "300", "-u", "{address}/count"],
    "slow bodies": ["-B", "-c", "300", "-u", "{address}/count", "-s", "8192"],
    # Fewer than there is room for: who is being answered is not cut off for others until it takes too little.
    "slow readers": [
        "-X",
        "-c",
        "100",
        "-u",
        "{address}/much",
        "-w",
        "512",
        "-y",
        "1024",
        "-n",
        "2",
        "-z",
        "32",
        "-k",
        "3",
    ],
}


@pytest.fixture
def few_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (MAX_FILES, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_who_dawdles_shuts_nobody_out(tmp_path: Path, few_files: None):
    program = shutil.which("slowhttptest")
    if program is None:
        pytest.skip("slowhttptest is not installed: apt-get install slowhttptest")

    with RuntimeDriver(tmp_path, {"app.py": APP}) as runtime:
        runtime.wait_for(events.Ready)
        assert runtime.call("count", text="warm").json == 4
        attackers = [
            _attacker(program, [part.format(address=runtime.address) for part in kind]) for kind in KINDS.values()
        ]
        statuses, most = [], 0
        while any(attacker.poll() is None for attacker in attackers):
            statuses.append(runtime.call("count", text="good").status)
            most = max(most, _num_sockets(runtime.pid))
            time.sleep(0.1)
        reports = {name: _report(attacker) for name, attacker in zip(KINDS, attackers, strict=True)}
        last = runtime.call("count", text="after")
        deadline_s = time.monotonic() + 20
        while (left := _num_sockets(runtime.pid)) > 40 and time.monotonic() < deadline_s:
            time.sleep(0.1)

    assert set(statuses) == {200}
    assert len(statuses) > TEST_S
    assert last.json == 5
    assert all("NO" not in re.findall(r"service available:\s+(\w+)", report) for report in reports.values()), reports
    assert 200 < most <= MAX_FILES
    assert left <= 40


def _attacker(program: str, kind: list[str]) -> subprocess.Popen[str]:
    pace = ["-r", "100", "-i", "1", "-x", "8", "-l", str(TEST_S), "-p", "5"]
    return subprocess.Popen([program, *pace, *kind], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _report(attacker: subprocess.Popen[str]) -> str:
    output, _ = attacker.communicate(timeout=30)
    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", output)


def _num_sockets(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
