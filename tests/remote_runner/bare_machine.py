"""Bare machines for tests: homes with nothing in them, and small or odd file systems to put them on."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from hotloop.remote_runner.bootstrap.request import Options
from hotloop.remote_runner.client import connect
from hotloop.remote_runner.hosted_way import HostWay
from tests.remote_runner.shell_host import ShellHost

UNREACHABLE = "http://127.0.0.1:9/simple"
NO_REGISTRY = {
    "PIP_INDEX_URL": UNREACHABLE, "PIP_NO_INDEX": "", "UV_DEFAULT_INDEX": UNREACHABLE, "UV_HTTP_RETRIES": "0",
    "PIP_CONFIG_FILE": "/dev/null", "UV_PYTHON_INSTALL_MIRROR": UNREACHABLE,
}  # fmt: skip
PROJECT = "abcdef0123"


class Machine:
    """A bare machine of one user, and ways to it.

    Attributes:
        phases: What was reported, as (phase, text).
        hosts: The connections made so far.
    """

    def __init__(self, home, *, cache="", **host_options):
        self.home = Path(home)
        self.options = Options(cache=str(cache))
        self.phases = []
        self.hosts = []
        self._host_options = host_options

    @property
    def state(self):
        return self.home / ".local/state/hotloop/runner"

    @property
    def agent_pid(self):
        return int((self.state / "agent/pid").read_text())

    def way(self, **options):
        async def connect_lane(lane):
            self.hosts.append(ShellHost(self.home, **self._host_options))
            return self.hosts[-1]

        return HostWay("bare", connect_lane, options=self.options, report=self._note, **options)

    async def visit(self):
        """Open a session, end it; returns what the agent said of itself."""
        async with connect(self.way()) as session:
            info = await session.open(self.home, PROJECT)
            await session.end()
        return info

    def run(self, main, timeout_s=50):
        """Run a test's coroutine; whatever it leaves running ends with it."""
        try:
            return asyncio.run(asyncio.wait_for(main, timeout_s))
        finally:
            with contextlib.suppress(OSError, ValueError):
                os.kill(self.agent_pid, signal.SIGKILL)

    def _note(self, progress):
        self.phases.append((progress.phase.value, progress.text))


@contextlib.contextmanager
def mounted(folder, options):
    """A file system of a test's own."""
    if os.geteuid():
        pytest.skip("mounting a small disk needs root: run the tests as root, or in a user namespace")
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def script(path, text):
    """Make an executable."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def oldest_python():
    """The oldest interpreter here that stage 0 is for."""
    for minor in range(8, 15):
        found = shutil.which(f"python3.{minor}")
        if found and not subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode:
            ask = "import sys; print(sys.executable)"
            return subprocess.run([found, "-c", ask], capture_output=True, text=True, check=True).stdout.strip()
    msg = "no Python 3.8 or newer"
    raise AssertionError(msg)
