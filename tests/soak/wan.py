"""The soak between two hosts 40 ms apart, by SSH: namespaces, a delay line that is cut and mended, sshd's sessions killed.

    python -m tests.soak.wan --minutes 30 [--seed 1]

Needs what `benchmarks.wan` needs: root, iproute2, openssh-server, a C compiler.
"""

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.wan import Wan

from hotloop.remote_runner.runners import Runner, hosted_way

FOLDER, LINE, RUNNER = "HOTLOOP_SOAK_FOLDER", "HOTLOOP_SOAK_LINE", "HOTLOOP_SOAK_RUNNER"


class Breakable:
    """The way to the far host, which breaks as a `Line` does."""

    def __init__(self, way):
        self._way = way
        self.name, self.num_lanes = way.name, way.num_lanes
        self.dial, self.close = way.dial, way.close

    def cut(self):
        """Have sshd's sessions die: both sides see it."""
        pids = subprocess.run(["ip", "netns", "pids", os.environ[RUNNER]], capture_output=True, text=True, check=True)
        for pid in map(int, pids.stdout.split()):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it may end meanwhile
                said = Path(f"/proc/{pid}/cmdline").read_bytes()
                if said.startswith(b"sshd: ") and b"[listener]" not in said:
                    os.kill(pid, signal.SIGKILL)

    def darken(self):
        """Have packets vanish."""
        os.kill(int(os.environ[LINE]), signal.SIGUSR1)

    def mend(self):
        """Have them pass again."""
        os.kill(int(os.environ[LINE]), signal.SIGUSR2)

    freeze, thaw = darken, mend


def far(_):
    """The way for `tests.soak --way`."""
    folder = Path(os.environ[FOLDER])
    runner = Runner("far", "gpubox", state=str(folder / "there"), cache=str(folder / "cache"))
    way = Breakable(hosted_way(runner))
    way.mend()  # whoever darkened it may have been killed
    return way


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.soak.wan", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--name", default="hlsoak", help="of the namespaces: several soaks at once need several")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="hotloop-soak-wan-") as folder, Wan(Path(folder), name=options.name) as wan:
        told = {
            FOLDER: folder,
            LINE: str(wan.line_pid),
            RUNNER: wan.runner,
            "HOTLOOP_SSH_CONFIG": str(wan.ssh_config),
        }
        command = [sys.executable, "-m", "tests.soak", "--minutes", str(options.minutes), "--seed", str(options.seed)]
        way = ["--way", "tests.soak.wan:far", "--agent-state", f"{folder}/there"]
        return subprocess.run(wan.on_laptop([*command, *way]), env={**os.environ, **told}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
