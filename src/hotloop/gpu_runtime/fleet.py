"""The worker processes: forked through a zygote, watched until they end, killed with all that they started."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hotloop.gpu_runtime import oom
from hotloop.gpu_runtime.controller_actions import Start
from hotloop.gpu_runtime.links import AsyncLink
from hotloop.gpu_runtime.logs import LineReader
from hotloop.gpu_runtime.settings import RuntimeConfig
from hotloop.gpu_runtime.user_env.lending import Lender
from hotloop.gpu_runtime.user_env.wire import Message
from hotloop.gpu_runtime.zygote_process import REAP_AFTER_S, Zygote, describe_exit, reaped

EXIT_GRACE_S = 5.0  # for exit handlers of the user's
STATUS_GRACE_S = 0.2  # for the zygote to say how a worker ended


@dataclass
class WorkerProcess:
    """One process, and what the runtime knows about it.

    Attributes:
        generation: Marks its log lines; the number that it has, or would have, as active.
        zygote: What it was forked from.
        unsent: Changes of the manifest since it was forked or told last.
        start: What it was when it was told to go.
        ready: What it said when it became ready.
        revision: What it serves, or served; 0 before that.
        active_at_s: When it began to.
        cause: How it ended; empty while it lives.
        loads: The model whose loader runs in it.
        points: By which share of memory the kernel takes it before the runtime when there is none left.
    """

    number: int
    link: AsyncLink
    zygote: Zygote
    on_gone: Callable[[WorkerProcess], None]
    generation: int = 0
    pid: int = 0
    pidfd: int = -1
    readers: tuple[LineReader, ...] = ()
    unsent: dict[str, str | None] = field(default_factory=dict[str, str | None])
    start: Start = "fork"
    ready: dict[str, Any] = field(default_factory=dict[str, Any])
    revision: int = 0
    active_at_s: float = 0.0
    cause: str = ""
    loads: str = ""
    points: int = oom.SERVES
    is_ended: bool = False
    is_wanted: bool = True


class Fleet:
    """All processes forked from zygotes: workers, and hosts of models.

    Args:
        config: What every process is told when it starts.
        on_log: Called with a generation, a stream's name and a line.

    Attributes:
        manifest: The workspace's Python files: digests by path.
    """

    def __init__(self, config: RuntimeConfig, on_log: Callable[[int, str, str], None]) -> None:
        self._config = config
        self._on_log = on_log
        self._processes: dict[int, WorkerProcess] = {}
        self._kills = oom.Kills()
        self.manifest: dict[str, str] = {}
        self._sources: list[str] = []

    def __getitem__(self, number: int) -> WorkerProcess:
        return self._processes[number]

    @property
    def pids(self) -> list[int]:
        """All processes that are up."""
        return [process.pid for process in self._processes.values() if process.pid]

    def get(self, number: int) -> WorkerProcess | None:
        """A process by its number, None if it is gone."""
        return self._processes.get(number)

    def fork(
        self,
        number: int,
        zygote: Zygote,
        on_message: Callable[[WorkerProcess, Message], None],
        on_gone: Callable[[WorkerProcess], None],
        **role: str,
    ) -> WorkerProcess:
        """Have a process forked; it can be sent frames at once."""
        ours, theirs = socket.socketpair()
        out_read, out_write = os.pipe()
        err_read, err_write = os.pipe()
        config = self._config
        boot: dict[str, object] = {
            "role": "worker", "root": config.root, "entry": config.entry, "app_name": config.app_name,
            "packages": list(config.packages), "manifest": self.manifest, "replicas": config.replicas,
            "keeps_locals": config.keeps_locals, "pages": zygote.pages, "sources": self._sources, **role,
        }  # fmt: skip
        self._kills.look()
        zygote.fork(number, boot, theirs, out_write, err_write)
        for fd in (out_write, err_write):
            os.close(fd)
        theirs.close()

        def heard(message: Message) -> None:
            on_message(worker, message)

        link = AsyncLink(ours, heard, lambda: self._ended(worker), Lender())
        worker = WorkerProcess(number, link, zygote, on_gone)
        worker.readers = (
            LineReader(out_read, lambda text: self._on_log(worker.generation, "stdout", text)),
            LineReader(err_read, lambda text: self._on_log(worker.generation, "stderr", text)),
        )
        self._processes[number] = worker
        return worker

    def revise(self, changed: dict[str, str | None], *, is_full: bool) -> bool:
        """Note what the workspace holds, and what each process has to be told of it when it goes.

        Args:
            changed: Digests by path; None for what is gone.
            is_full: There is nothing beside it any more.

        Returns:
            Whether Python files came or went.
        """
        if is_full:
            changed = {**dict.fromkeys(self.manifest), **changed}
        changed = {path: digest for path, digest in changed.items() if path.endswith(".py")}
        is_other = any((digest is None) == (path in self.manifest) for path, digest in changed.items())
        for path, digest in changed.items():
            if digest is None:
                self.manifest.pop(path, None)
            else:
                self.manifest[path] = digest
        for worker in self._processes.values():
            worker.unsent.update(changed)
        return is_other

    def imported(self, paths: list[str]) -> None:
        """Note which of the workspace's Python files a worker imported: the next compiles these ahead, and no others."""
        self._sources = paths

    def forked(self, number: int, pid: int) -> None:
        """Take note of a process's pid, and watch it."""
        worker = self._processes.get(number)
        if worker is None or not worker.is_wanted:
            _kill_group(pid)
            self._processes.pop(number, None)
            return
        worker.pid = pid
        oom.prefer(pid, worker.points)
        try:
            worker.pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            self._ended(worker)
            return
        asyncio.get_running_loop().add_reader(worker.pidfd, self._exited, worker)

    def prefer(self, worker: WorkerProcess, points: int) -> None:
        """Have the kernel take it sooner or later than others when memory runs out: `oom.LOADS`, `oom.SERVES`."""
        if worker.points != points:
            worker.points = points
            if worker.pid:
                oom.prefer(worker.pid, points)

    def exited(self, number: int, status: int) -> None:
        """Take note of how a process ended, as its zygote saw it."""
        worker = self._processes.get(number)
        if worker is not None:
            worker.cause = describe_exit(os.waitstatus_to_exitcode(status))
            self._ended(worker)

    def retire(self, number: int) -> None:
        """Ask a process to end as Python ends; kill it if that takes too long."""
        worker = self._processes.get(number)
        if worker is not None:
            worker.is_wanted = False
            worker.link.send({"kind": "exit"})
            asyncio.get_running_loop().call_later(EXIT_GRACE_S, self.kill, number)

    def kill(self, number: int) -> None:
        """End a process now, with all that it started."""
        worker = self._processes.get(number)
        if worker is None:
            return
        worker.is_wanted = False
        if worker.pid:
            _kill_group(worker.pid)
            self.forget(number)
        else:
            worker.link.close()  # it is killed as soon as its pid is known

    def crash(self, number: int) -> None:
        """End a process now, as if it had crashed: who wants it hears of it."""
        worker = self._processes.get(number)
        if worker is not None and worker.pid:
            _kill_group(worker.pid)

    def forget(self, number: int) -> None:
        """Drop what is left of a process that ended."""
        worker = self._processes.pop(number, None)
        if worker is not None:
            self._unwatch(worker)
            worker.link.close()
            for reader in worker.readers:
                reader.close()
            # Its zygote takes its status; if that is gone, it is ours to take.
            asyncio.get_running_loop().call_later(REAP_AFTER_S, reaped, worker.pid)

    def kill_all(self) -> None:
        """End every process."""
        for number in list(self._processes):
            self.kill(number)

    def _exited(self, worker: WorkerProcess) -> None:
        self._unwatch(worker)
        self._ended(worker)

    def _ended(self, worker: WorkerProcess) -> None:
        """Settle a process whose end was seen: its link closes a moment before there is a status to ask for."""
        if worker.is_ended:
            return
        if not worker.cause and not worker.is_wanted:
            worker.cause = "was told to end"
        if not worker.cause:
            worker.cause = reaped(worker.pid)
        if not worker.cause:  # its zygote will say, or the process itself, if that is gone
            asyncio.get_running_loop().call_later(STATUS_GRACE_S, self._ended_unseen, worker)
            return
        worker.is_ended = True
        worker.cause = self._kills.explain(worker.cause)
        worker.link.take_rest()  # its zygote may have been heard before it: why it failed is not to be lost
        if worker.pid:
            _kill_group(worker.pid)  # what it started must not outlive it
        if worker.is_wanted:
            worker.on_gone(worker)
        self.forget(worker.number)

    def _ended_unseen(self, worker: WorkerProcess) -> None:
        if not worker.is_ended:
            worker.cause = worker.cause or reaped(worker.pid) or "its end was not seen"
            self._ended(worker)

    @staticmethod
    def _unwatch(worker: WorkerProcess) -> None:
        if worker.pidfd >= 0:
            asyncio.get_running_loop().remove_reader(worker.pidfd)
            os.close(worker.pidfd)
            worker.pidfd = -1


def _kill_group(pid: int) -> None:
    # Each worker leads a session of its own, so its group holds all that it started.
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)


def become_subreaper() -> None:
    """Adopt workers whose zygote died, so that their ends can be seen. Linux only; elsewhere nothing happens."""
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
