"""Reach the agent on this machine: find the one that runs, or start one that outlives this process."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from hotloop.errors import RunnerError
from hotloop.remote_runner.places import ALREADY_RUNS_EXIT_CODE, agent_folder, log_path, make_private, socket_path
from hotloop.remote_runner.way import NoAgentError

if TYPE_CHECKING:
    from pathlib import Path

FULL_BELOW_BYTES = 1 << 16
_POLL_S = 0.01
_started: list[subprocess.Popen[bytes]] = []  # kept so that an agent that ends is reaped, and no warning is printed


class LocalWay:
    """The way to this machine's own agent."""

    name = "local"
    num_lanes = 1

    def __init__(self, state: Path, *, agent_arguments: tuple[str, ...] = (), is_starting: bool = True) -> None:
        """Prepare.

        Args:
            state: hotloop's state folder.
            agent_arguments: More options for an agent that is started.
            is_starting: Start an agent if none runs; else `dial` raises `NoAgentError`.
        """
        self._state = state
        self._arguments = agent_arguments
        self._is_starting = is_starting

    async def dial(self, lane: int = 0) -> str:
        """As `way.Way.dial`."""
        del lane
        if not self._is_starting and not accepts(socket_path(self._state)):
            msg = "No agent runs on this machine."
            raise NoAgentError(msg, hint="dev serve starts one")
        return f"unix:{await reach_agent(self._state, arguments=self._arguments)}"

    async def close(self) -> None:
        """Nothing is held."""


async def reach_agent(state: Path, *, arguments: tuple[str, ...] = (), timeout_s: float = 20.0) -> Path:
    """Give the socket of an agent that accepts connections.

    Args:
        state: hotloop's state folder.
        arguments: More options for an agent that is started now.
        timeout_s: How long it may take to start, seconds.

    Raises:
        RunnerError: It does not start.
    """
    make_private(state)
    make_private(agent_folder(state))
    path = socket_path(state)
    if accepts(path):
        return path
    process = _start(state, arguments)
    deadline_s = time.monotonic() + timeout_s
    while not accepts(path):
        code = process.poll()
        if code == ALREADY_RUNS_EXIT_CODE:  # it may be about to listen, or about to end
            await asyncio.sleep(10 * _POLL_S)
            process = _start(state, arguments) if not accepts(path) else process
        elif code is not None or time.monotonic() > deadline_s:
            raise _failure(state, code, timeout_s)
        if time.monotonic() > deadline_s:
            raise _failure(state, code, timeout_s)
        await asyncio.sleep(_POLL_S)
    return path


def accepts(path: Path) -> bool:
    """Whether a process listens on a Unix socket."""
    if not path.exists():
        return False
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def _start(state: Path, arguments: tuple[str, ...]) -> subprocess.Popen[bytes]:
    _started[:] = [process for process in _started if process.poll() is None]
    command = [sys.executable, "-P", "-m", "hotloop.remote_runner.agent", "--state", str(state), *arguments]
    with log_path(state).open("ab") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=agent_folder(state), start_new_session=True
        )
    _started.append(process)
    return process


def _failure(state: Path, code: int | None, timeout_s: float) -> RunnerError:
    if shutil.disk_usage(state).free < FULL_BELOW_BYTES:  # it could not even write down why
        message = f"The agent on this machine can't start: the disk is full at {state}."
        return RunnerError(message, hint="free some space there, or set HOTLOOP_STATE_DIR to another folder")
    how = f"ended with exit code {code}" if code is not None else f"did not listen within {timeout_s:.0f} s"
    lines = log_path(state).read_text(errors="replace").strip().splitlines()[-1:]
    message = f"The agent on this machine {how}. {' '.join(lines)}".strip()
    return RunnerError(message, hint=f"look at {log_path(state)}")
