"""Start a zygote in the user's environment, or fork it from another one, and have it fork."""

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

REAP_AFTER_S = 1.0

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
        up: It can fork; the modules that it has because of what was learned.
        left_out: A module can't be in a zygote: its name, and why.
        forked: A worker's process exists: its number and pid.
        exited: A worker's process ended: its number and wait status.
        down: The zygote is gone.
        log: It wrote a line: the stream's name, the text.
    """

    up: Callable[[frozenset[str]], None]
    left_out: Callable[[str, str], None]
    forked: Callable[[int, int], None]
    exited: Callable[[int, int], None]
    down: Callable[[Problem], None]
    log: Callable[[str, str], None]


@dataclass
class Zygote:
    """One zygote process, and the link to it.

    Attributes:
        learned: What it has.
        python: The interpreter that it runs in.
        pid: Its process; 0 if it is being forked.
        process: The same, if it was started and not forked.
        cause: How it ended, if the zygote that it was forked from saw it.
        brought: Modules that it has because of what was learned, the outermost of each package.
        pages: Ranges of memory that a child of it wrote to while it became ready: others have their own ahead.
    """

    learned: Learned
    python: str
    link: AsyncLink
    readers: tuple[LineReader, ...]
    last_words: list[str]
    pid: int = 0
    process: subprocess.Popen[bytes] | None = None
    cause: str = ""
    brought: frozenset[str] = frozenset()
    pages: list[list[int]] = field(default_factory=list[list[int]])
    is_stopped: bool = False
    _successors: dict[int, Zygote] = field(default_factory=dict[int, "Zygote"])

    def fork(self, number: int, boot: dict[str, object], link: socket.socket, stdout: int, stderr: int) -> None:
        """Ask for a child that owns the given ends; the caller closes its copies."""
        self.link.send({**boot, "kind": "fork", "number": number}, fds=(link.fileno(), stdout, stderr))

    def can_become(self, python: str, learned: Learned) -> bool:
        """Whether one that is to have this can be forked from it: all that it has is wanted, and modules only are added."""
        had = self.learned
        return (
            self.python == python
            and bool(had.modules)
            and had.environment == learned.environment
            and had.modules == learned.modules[: len(had.modules)]
        )

    def forked(self, number: int, pid: int) -> None:
        """Take note of the process of a zygote that was forked from it."""
        successor = self._successors.get(number)
        if successor is not None:
            successor.pid = pid
            if successor.is_stopped:
                successor.kill()

    def exited(self, number: int, status: int) -> None:
        """Take note of how a zygote ended that was forked from it."""
        successor = self._successors.pop(number, None)
        if successor is not None:
            successor.cause = describe_exit(os.waitstatus_to_exitcode(status))
            successor.pid = 0  # was taken by its parent, so another process may have the number

    def adopt(self, number: int, successor: Zygote) -> None:
        """Take note of a zygote that is being forked from it."""
        self._successors[number] = successor

    def stop(self) -> None:
        """End the zygote; its children live on."""
        self.is_stopped = True
        self.link.close()
        for reader in self.readers:
            reader.close()
        self.kill()

    def kill(self) -> None:
        """End its process, and have it not remain as a zombie."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        elif self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            # The zygote that it was forked from takes its status; if that is gone, it is ours to take.
            asyncio.get_running_loop().call_later(REAP_AFTER_S, reaped, self.pid)

    def how_it_ended(self) -> str:
        """Say how a stopped one ended."""
        if self.process is not None:
            return describe_exit(self.process.returncode)
        return self.cause or reaped(self.pid) or "its end was not seen"


def start(python: str, environment: dict[str, str], bridge: Path, learned: Learned, reports: Reports) -> Zygote:
    """Start a zygote that imports what was learned.

    Raises:
        OSError: The interpreter can't be started.
    """
    ends = _Ends()
    code = _BOOTSTRAP.format(bridge=str(bridge), fd=ends.link.fileno())
    try:
        process = subprocess.Popen(
            [python, "-c", code],
            env=environment,
            pass_fds=[ends.link.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=ends.stdout,
            stderr=ends.stderr,
            start_new_session=True,
        )
    except OSError:
        ends.drop()
        raise
    finally:
        ends.close()
    zygote = ends.zygote(learned, python, reports)
    zygote.process, zygote.pid = process, process.pid
    zygote.link.send({
        "kind": "start", "environment": environment, "preset": learned.environment, "modules": list(learned.modules),
    })  # fmt: skip
    return zygote


def succeed(parent: Zygote, number: int, learned: Learned, reports: Reports) -> Zygote:
    """Fork a zygote from another one, which imports what that lacks (see `Zygote.can_become`)."""
    ends = _Ends()
    zygote = ends.zygote(learned, parent.python, reports)
    parent.adopt(number, zygote)
    lacking = learned.modules[len(parent.learned.modules) :]
    parent.fork(number, {"role": "zygote", "modules": lacking}, ends.link, ends.stdout, ends.stderr)
    ends.close()
    return zygote


class _Ends:
    """What connects a zygote that is being made: its ends, which it gets, and ours."""

    def __init__(self) -> None:
        self._ours, self.link = socket.socketpair()
        self._out, self.stdout = os.pipe()
        self._err, self.stderr = os.pipe()

    def close(self) -> None:
        """Close its ends."""
        os.close(self.stdout)
        os.close(self.stderr)
        self.link.close()

    def drop(self) -> None:
        """Close ours: there will be none."""
        os.close(self._out)
        os.close(self._err)
        self._ours.close()

    def zygote(self, learned: Learned, python: str, reports: Reports) -> Zygote:
        """Listen to it from now on."""
        last_words: list[str] = []

        def on_line(stream: str, text: str) -> None:
            last_words.append(text)
            del last_words[:-20]
            reports.log(stream, text)

        readers = (
            LineReader(self._out, lambda text: on_line("stdout", text)),
            LineReader(self._err, lambda text: on_line("stderr", text)),
        )

        def on_closed() -> None:
            asyncio.get_running_loop().call_later(0.05, _report_down, zygote, reports)

        link = AsyncLink(self._ours, lambda message: _on_message(zygote, message, reports), on_closed)
        zygote = Zygote(learned, python, link, readers, last_words)
        return zygote


def _on_message(zygote: Zygote, message: Message, reports: Reports) -> None:
    header = message.header
    match message.kind, header.get("role"):
        case "up", _:
            reports.up(frozenset(header["brought"]))
        case "tainted", _:
            reports.left_out(header["module"], header["why"])
        case "forked", "zygote":
            zygote.forked(header["number"], header["pid"])
        case "exited", "zygote":
            zygote.exited(header["number"], header["status"])
        case "forked", _:
            reports.forked(header["number"], header["pid"])
        case "exited", _:
            reports.exited(header["number"], header["status"])
        case _:
            return


def _report_down(zygote: Zygote, reports: Reports) -> None:
    zygote.stop()
    words = zygote.last_words[-1] if zygote.last_words else ""
    message = f"the zygote ended ({zygote.how_it_ended()})" + (f": {words}" if words else "")
    reports.down(Problem("ZygoteDied", message, hint="its last lines are in the log"))


def describe_exit(code: int) -> str:
    """Say how a process ended: ``SIGKILL``, ``exit 3``. The code is a signal's number if negative."""
    if code >= 0:
        return f"exit {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def reaped(pid: int) -> str:
    """How an adopted process ended; empty if it is not ours to ask for or still runs."""
    if not pid:
        return ""
    with contextlib.suppress(ChildProcessError):
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return describe_exit(os.waitstatus_to_exitcode(status))
    return ""


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
