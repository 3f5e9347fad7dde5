"""What is to be said of a runner: step by step, each with what to do if it is not well."""

from __future__ import annotations

import asyncio
import secrets
import statistics
import time
from typing import TYPE_CHECKING, Literal

from hotloop import __version__
from hotloop.errors import HotloopError
from hotloop.frozen import frozen
from hotloop.remote_runner import onlooker
from hotloop.remote_runner.bootstrap.failures import NEEDED_BYTES
from hotloop.remote_runner.bootstrap.source import own_source
from hotloop.remote_runner.environment import OLDEST_PYTHON
from hotloop.remote_runner.way import NoAgentError

if TYPE_CHECKING:
    from collections.abc import Callable

    from hotloop.remote_runner.host import Host, HostProcess
    from hotloop.remote_runner.way import Way

ANSWER_TIMEOUT_S = 30.0
SLOW_COMMAND_S = 1.0
NUM_ROUND_TRIPS = 7
MAX_ANSWER_BYTES = 1 << 20

# No single quotes: the user's shell, which may be any, gets it within such.
_LOOK = """
echo {mark_1}""{mark_2}
echo "python=$(python3 -c "import sys; print(sys.version.split()[0])" 2>/dev/null)"
echo "uv=$(command -v uv)"
echo "free=$(df -Pk "$HOME" 2>/dev/null | tail -n 1 | tr -s " " | cut -d " " -f 4)"
echo "gpu=$(nvidia-smi --query-gpu=name,memory.total --format=csv,noheader 2>/dev/null | tr "\\n" ";")"
echo {mark_1}""{mark_2}
"""


@frozen
class Finding:
    """What one step found.

    Attributes:
        hint: What to do, if anything.
    """

    step: str
    text: str
    state: Literal["ok", "note", "failed"] = "ok"
    hint: str = ""

    @classmethod
    def of(cls, step: str, error: HotloopError) -> Finding:
        """A failure."""
        return cls(step, error.message, "failed", error.hint)


async def look_at_host(host: Host, tell: Callable[[Finding], None]) -> None:
    """Say what a machine is like that commands run on.

    Raises:
        RunnerError: It runs none, or the connection is lost.
    """
    mark_1, mark_2 = secrets.token_hex(6), secrets.token_hex(6)
    script = _LOOK.format(mark_1=mark_1, mark_2=mark_2)
    began_s = time.monotonic()
    process = await host.start(f"exec sh -c '{script}'")
    mark = f"{mark_1}{mark_2}\n".encode()
    try:
        noise, took_s, answer = await _answer(process, mark, began_s)
    finally:
        process.close()
    if answer is None:
        said = (process.errors() or noise).decode(errors="replace").strip().splitlines()[-1:]
        tell(
            Finding("exec", f"a command prints something else: {' '.join(said)!r}", "failed", "look at the login shell")
        )
        return
    tell(_exec(took_s))
    if noise.strip():
        line = noise.decode(errors="replace").strip().splitlines()[0]
        hint = "hotloop copes with it; rsync and scp do not: print only where [ -t 1 ] in the shell's start-up files"
        tell(Finding("banner", f"start-up files print {len(noise)} bytes: {line[:60]!r}", "note", hint))
    else:
        tell(Finding("banner", "start-up files print nothing"))
    found = dict(line.split("=", 1) for line in answer.splitlines() if "=" in line)
    for finding in findings_of(found):
        tell(finding)
    tell(Finding("round trip", f"{1000 * await _round_trip_s(host):.1f} ms"))


def findings_of(found: dict[str, str]) -> list[Finding]:
    """Judge what a machine said of itself."""
    return [
        _python(found.get("python", ""), found.get("uv", "")),
        _disk(found.get("free", "")),
        _gpu(found.get("gpu", "")),
    ]


async def look_at_agent(way: Way, tell: Callable[[Finding], None]) -> None:
    """Say whether an agent runs, and whether it is of this version.

    Args:
        way: One that starts none.
        tell: Gets what was found.

    Raises:
        RunnerError: It does not answer.
    """
    try:
        status = await onlooker.ask(way, "status")
    except NoAgentError:
        tell(Finding("agent", "none runs; dev serve starts one"))
        return
    sessions = len(status["sessions"])
    text = f"hotloop {status['version']}, pid {status['pid']}, {sessions} session{'s' * (sessions != 1)}"
    if (status["version"], status["source"]) == (__version__, own_source().digest):
        tell(Finding("agent", text))
    else:
        other = __version__ if status["version"] != __version__ else f"{__version__} of other source"
        tell(Finding("agent", f"{text}; this is {other}", "failed", f"hotloop runner upgrade {way.name}"))


async def _answer(process: HostProcess, mark: bytes, began_s: float) -> tuple[bytes, float, str | None]:
    """Give what came before the first mark, when that came, and what is between the two; None if they did not come."""
    data, took_s = b"", 0.0
    async with asyncio.timeout(ANSWER_TIMEOUT_S):
        while data.count(mark) < 2 and len(data) < MAX_ANSWER_BYTES:
            block = await process.read()
            if not block:
                return data, took_s, None
            data += block
            took_s = took_s or (time.monotonic() - began_s if mark in data else 0.0)
    noise, _, rest = data.partition(mark)
    return noise, took_s, rest.partition(mark)[0].decode(errors="replace")


async def _round_trip_s(host: Host) -> float:
    process = await host.start("exec cat")
    took_s: list[float] = []
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            for _ in range(NUM_ROUND_TRIPS):
                began_s = time.monotonic()
                await process.write(b".\n")
                while b"\n" not in (block := await process.read()):
                    if not block:
                        return float("nan")
                took_s.append(time.monotonic() - began_s)
    finally:
        process.close()
    return statistics.median(took_s[1:])  # the first one waits for the shell


def _exec(took_s: float) -> Finding:
    text = f"a command runs after {took_s:.2f} s"
    if took_s < SLOW_COMMAND_S:
        return Finding("exec", text)
    return Finding("exec", text, "note", "the shell's start-up files there are slow: every start waits for them")


def _python(version: str, uv: str) -> Finding:
    wanted = ".".join(map(str, OLDEST_PYTHON))
    parts = version.split(".")
    if len(parts) > 1 and tuple(map(int, parts[:2])) >= OLDEST_PYTHON:
        return Finding("python", f"python3 is {version}")
    there = f"python3 is {version}, {wanted} or newer is wanted" if version else "there is no python3"
    how = "uv is there and brings one" if uv else "hotloop has uv bring one"
    return Finding("python", f"{there}; {how}", "note", "or install one there, such as: sudo apt-get install python3")


def _disk(free: str) -> Finding:
    if not free.isdecimal():
        return Finding("disk", "how much of it is free is not known", "note")
    free_bytes = int(free) * 1024
    text = f"{free_bytes / 1e9:.1f} GB free in the home"
    if free_bytes >= NEEDED_BYTES:
        return Finding("disk", text)
    hint = f'hotloop needs {NEEDED_BYTES // 1_000_000} MB: free as much, or give the runner cache = "/other/folder"'
    return Finding("disk", text, "failed", hint)


def _gpu(gpus: str) -> Finding:
    names = [name.strip() for name in gpus.split(";") if name.strip()]
    return Finding("gpu", " · ".join(names) if names else "none that nvidia-smi knows of")
