"""Start a zygote in the user's environment, and have it fork."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from hotloop.events import Problem
from hotloop.frozen import frozen
from hotloop.gpu_runtime.learning import Learned
from hotloop.gpu_runtime.links import AsyncLink
from hotloop.gpu_runtime.logs import LineReader
from hotloop.gpu_runtime.user_env.wire import Message

# What hotloop has installed beside itself must not be importable in the user's environment, so the path that leads to
# this package (a folder that holds nothing else) is there for one import only.
_BOOTSTRAP = """
import sys
sys.path[0] = {bridge!r}
from hotloop.gpu_runtime.user_env import zygote
del sys.path[0]
zygote.main({fd})
"""


@frozen
class Reports:
    """Who is told what a zygote says.

    Attributes:
        up: It can fork.
        left_out: A module can't be in a zygote: its name, and why.
        forked: A worker's process exists: its number and pid.
        exited: A worker's process ended: its number and wait status.
        down: The zygote is gone.
        log: It wrote a line: the stream's name, the text.
    """

    up: Callable[[], None]
    left_out: Callable[[str, str], None]
    forked: Callable[[int, int], None]
    exited: Callable[[int, int], None]
    down: Callable[[Problem], None]
    log: Callable[[str, str], None]


@dataclass
class Zygote:
    """One zygote process, and the link to it.

    Attributes:
        pages: Ranges of memory that a child of it wrote to while it became ready: others have their own ahead.
    """

    learned: Learned
    process: subprocess.Popen[bytes]
    link: AsyncLink
    readers: tuple[LineReader, ...]
    last_words: list[str] = field(default_factory=list[str])
    pages: list[list[int]] = field(default_factory=list[list[int]])

    def fork(self, number: int, boot: dict[str, object], link: socket.socket, stdout: int, stderr: int) -> None:
        """Ask for a child that owns the given ends; the caller closes its copies."""
        self.link.send({**boot, "kind": "fork", "worker": number}, fds=(link.fileno(), stdout, stderr))

    def stop(self) -> None:
        """End the zygote; its children live on."""
        self.link.close()
        for reader in self.readers:
            reader.close()
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()


def start(python: str, environment: dict[str, str], bridge: Path, learned: Learned, reports: Reports) -> Zygote:
    """Start a zygote that imports what was learned.

    Raises:
        OSError: The interpreter can't be started.
    """
    ours, theirs = socket.socketpair()
    out_read, out_write = os.pipe()
    err_read, err_write = os.pipe()
    code = _BOOTSTRAP.format(bridge=str(bridge), fd=theirs.fileno())
    try:
        process = subprocess.Popen(
            [python, "-c", code],
            env=environment,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=out_write,
            stderr=err_write,
            start_new_session=True,
        )
    except OSError:
        for fd in (out_read, err_read):
            os.close(fd)
        ours.close()
        raise
    finally:
        for fd in (out_write, err_write):
            os.close(fd)
        theirs.close()
    last_words: list[str] = []

    def on_line(stream: str, text: str) -> None:
        last_words.append(text)
        del last_words[:-20]
        reports.log(stream, text)

    readers = (
        LineReader(out_read, lambda text: on_line("stdout", text)),
        LineReader(err_read, lambda text: on_line("stderr", text)),
    )

    def on_closed() -> None:
        asyncio.get_running_loop().call_later(0.05, _report_down, zygote, reports)

    link = AsyncLink(ours, lambda message: _on_message(message, reports), on_closed)
    zygote = Zygote(learned, process, link, readers, last_words)
    link.send({
        "kind": "start", "environment": environment, "preset": learned.environment, "modules": list(learned.modules),
    })  # fmt: skip
    return zygote


def _on_message(message: Message, reports: Reports) -> None:
    header = message.header
    match message.kind:
        case "up":
            reports.up()
        case "tainted":
            reports.left_out(header["module"], header["why"])
        case "forked":
            reports.forked(header["worker"], header["pid"])
        case "exited":
            reports.exited(header["worker"], header["status"])
        case _:
            return


def _report_down(zygote: Zygote, reports: Reports) -> None:
    zygote.stop()
    cause = describe_exit(zygote.process.returncode)
    words = zygote.last_words[-1] if zygote.last_words else ""
    message = f"the zygote ended ({cause})" + (f": {words}" if words else "")
    reports.down(Problem("ZygoteDied", message, hint="its last lines are in the log"))


def describe_exit(code: int) -> str:
    """Say how a process ended: ``SIGKILL``, ``exit 3``. The code is a signal's number if negative."""
    if code >= 0:
        return f"exit {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def make_bridge(state: Path) -> Path:
    """Make the folder that leads to this package and to nothing else; returns its path."""
    package = Path(__file__).resolve().parents[1]
    bridge = state / "bridge"
    bridge.mkdir(parents=True, exist_ok=True)
    link = bridge / package.name
    if not link.is_symlink() or link.resolve() != package:
        fresh = bridge / f".{package.name}.{os.getpid()}"
        fresh.symlink_to(package)
        fresh.replace(link)
    return bridge
