"""`hotloop runner doctor`: the steps to a runner one by one, each with what to do when it fails."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import typer

from hotloop.cli.on import asker, way_to
from hotloop.errors import HotloopError

if TYPE_CHECKING:
    from hotloop.remote_runner.host import Host
    from hotloop.remote_runner.runners import Runner

LABEL_WIDTH = 14
ROUND_TRIPS = 5
SLOW_START_S = 1.0  # of a shell that only says a word: its rc files do more than they need
_WORD = "hotloop-doctor"
_ASK = (
    f"echo {_WORD}; python3 -V 2>&1 || echo none; uname -sm; df -Pk ~ | tail -1; "
    "nvidia-smi --query-gpu=name,memory.total --format=csv,noheader 2>/dev/null || true"
)


def examine(runner: Runner) -> int:
    """Go through the steps; returns the exit code."""
    try:
        asyncio.run(_examine(runner))
    except HotloopError as error:
        _say("✗", "failed", error.message)
        if error.hint:
            _say(" ", "", error.hint)
        return 1
    return 0


async def _examine(runner: Runner) -> None:
    if not runner.is_local and not runner.is_container:
        await _examine_ssh(runner)
    await _examine_agent(runner)


async def _examine_ssh(runner: Runner) -> None:
    from hotloop.remote_runner.ssh import settings
    from hotloop.remote_runner.ssh.connect import connect

    target = settings.parse_target(runner.target)
    resolved = settings.resolve(target)
    through = f" through {', '.join(jump.shown for jump in resolved.jumps)}" if resolved.jumps else ""
    _say("✓", "ssh settings", f"{resolved.user}@{resolved.host}:{resolved.port}{through}")
    began = time.monotonic()
    host = await connect(target, runner.name, asker())
    _say("✓", "connection", f"host key known, logged in, {(time.monotonic() - began) * 1000:.0f} ms")
    try:
        await _examine_shell(host)
    finally:
        await host.close()


async def _examine_shell(host: Host) -> None:
    began = time.monotonic()
    process = await host.start(_ASK)
    said = b""
    while data := await process.read():
        said += data
    took_s = time.monotonic() - began
    before, _, after = said.decode(errors="replace").partition(_WORD)
    if before.strip():
        _say("!", "shell", f"prints {len(before)} characters before a command: {before.strip().splitlines()[0][:60]}")
    if took_s > SLOW_START_S:
        _say(
            "!",
            "shell",
            f"takes {took_s:.1f} s to start: look at ~/.bashrc there (hotloop starts it once a connection)",
        )
    python, system, disk, *gpus = [*after.strip().splitlines(), "", "", ""][: max(3, len(after.strip().splitlines()))]
    _say("✓", "system", f"{system}, {python if python != 'none' else 'no python3: uv brings one'}")
    words = disk.split()
    if len(words) > 3 and words[3].isdigit():
        free_gb = int(words[3]) / 2**20
        _say("✓" if free_gb > 2 else "!", "disk", f"{free_gb:.1f} GB free in the home folder")
    for gpu in gpus or ["none that nvidia-smi shows"]:
        _say("✓", "GPU", gpu)


async def _examine_agent(runner: Runner) -> None:
    from hotloop.remote_runner import onlooker

    way = way_to(runner, None)
    try:
        began = time.monotonic()
        status = await onlooker.ask(way, "status")
        took_s = time.monotonic() - began
        _say("✓", "agent", f"hotloop {status['version']}, pid {status['pid']}, reached in {took_s * 1000:.0f} ms")
        trips: list[float] = []
        for _ in range(ROUND_TRIPS):
            began = time.monotonic()
            await onlooker.ask(way, "status")
            trips.append(time.monotonic() - began)
        _say("✓", "round trip", f"{min(trips) * 1000:.1f} ms, a new call each")
        for session in status["sessions"]:
            _say("✓", "session", f"{session['project']}, revision {session['revision']}")
    finally:
        await way.close()


def _say(mark: str, label: str, text: str) -> None:
    typer.echo(f"{mark} {label:<{LABEL_WIDTH}}{text}")
