"""The processes of hosted models: started when a worker needs one, connected to the workers, loaded again if they die."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hotloop.gpu_runtime import oom
from hotloop.gpu_runtime.fleet import Fleet, WorkerProcess
from hotloop.gpu_runtime.holdings import Holdings
from hotloop.gpu_runtime.user_env.wire import Message
from hotloop.gpu_runtime.zygote_process import Zygote

_FIRST_NUMBER = 1_000_000  # beside the workers' own numbers


@dataclass
class Host:
    """One hosted model's process.

    Attributes:
        about: What it said of the model once loaded; empty before.
        is_lost: Whether its model can't be called, so that requests wait for another host.
        waiting: Workers to connect once it is loaded.
        users: Numbers of the workers that are connected.
    """

    model: str
    process: WorkerProcess
    waiting: list[WorkerProcess]
    then: Callable[[], None]
    about: dict[str, Any] = field(default_factory=dict[str, Any])
    users: set[int] = field(default_factory=set[int])
    is_lost: bool = False


class Hosts:
    """All hosted models of one app.

    Args:
        lost: Called when a model can't be called any more; once, also if its process is still to die.
        died: Called with a model's name and the cause when the process that serves it died.
        notice: Called with the header of a notice.
        failed: Called with the local variables of a load that failed.
        gauged: Called with a process and the header of a figure that it tells; without a header when it is gone.
    """

    def __init__(
        self,
        fleet: Fleet,
        holdings: Holdings,
        lost: Callable[[], None],
        died: Callable[[str, str], None],
        notice: Callable[[dict[str, Any]], None],
        failed: Callable[[dict[str, Any]], None],
        gauged: Callable[[int, dict[str, Any] | None], None],
    ) -> None:
        self._fleet = fleet
        self._holdings = holdings
        self._lost = lost
        self._died = died
        self._notice = notice
        self._keep_failure = failed
        self._gauged = gauged
        self._current: dict[str, Host] = {}
        self._all: dict[int, Host] = {}
        self._made = 0

    def names(self) -> set[str]:
        """The models that are hosted now."""
        return set(self._current)

    def numbers(self) -> list[int]:
        """The processes that models are called in."""
        return [host.process.number for host in self._current.values()]

    def loading_for(self, number: int) -> list[int]:
        """The processes that load a model which a worker waits for."""
        waited = (h for h in self._all.values() if any(worker.number == number for worker in h.waiting))
        return [host.process.pid for host in waited if host.process.pid]

    def start(
        self,
        model: str,
        zygote: Zygote,
        waiting: list[WorkerProcess],
        then: Callable[[], None] = lambda: None,
    ) -> None:
        """Load a model in a new process, connect the workers that wait for it, and call ``then``, come what may."""
        self._made += 1
        process = self._fleet.fork(
            _FIRST_NUMBER + self._made, zygote, self._heard, self._gone, role="host", model=model
        )
        self._fleet.prefer(process, oom.LOADS)
        host = Host(model, process, waiting, then)
        self._all[process.number] = host
        for holding in self._holdings:
            header, payload, fds = holding.frame("model")
            process.link.send(header, payload, fds)
        for name, other in self._current.items():
            if name != model:
                self._connect(other, process)
        process.link.send({"kind": "load"})

    def connect_all(self, worker: WorkerProcess) -> None:
        """Give a new worker a connection to every hosted model."""
        for host in self._current.values():
            self._connect(host, worker)

    def retire(self, model: str) -> None:
        """Let go of a model that is not hosted any more; who uses it now has it until the end."""
        host = self._current.pop(model, None)
        if host is not None and not host.users and not host.waiting:
            self._end(host)

    def released(self, number: int) -> None:
        """A worker is gone: hosts that only it used, or waited for, go too."""
        for host in list(self._all.values()):
            host.users.discard(number)
            was_waiting = any(worker.number == number for worker in host.waiting)
            host.waiting = [worker for worker in host.waiting if worker.number != number]
            is_current = self._current.get(host.model) is host
            if not is_current and not host.users and not host.waiting and (host.about or was_waiting):
                self._end(host)

    def give_up(self, number: int) -> None:
        """Take a host for dead that a worker can't reach any more: its end is seen a moment later, or brought about."""
        host = self._all.get(number)
        if host is not None and self._current.get(host.model) is host:
            self._lose(host)
            self._fleet.crash(number)

    def _lose(self, host: Host) -> None:
        if not host.is_lost:
            host.is_lost = True
            self._lost()

    def _connect(self, host: Host, worker: WorkerProcess) -> None:
        one, other = socket.socketpair()
        host.process.link.send({"kind": "connect"}, fds=(one.fileno(),))
        worker.link.send({**host.about, "kind": "hosted", "host": host.process.number}, fds=(other.fileno(),))
        one.close()
        other.close()
        host.users.add(worker.number)

    def _heard(self, process: WorkerProcess, message: Message) -> None:
        host = self._all.get(process.number)
        if host is None:
            return
        if message.kind == "notice":
            self._notice(message.header)
        elif message.kind == "locals":
            self._keep_failure(message.header["failure"])
        elif message.kind == "gauge":
            self._gauged(process.number, message.header)
        elif message.kind == "failed":
            self._failed(host, message.header["problem"])
        elif message.kind == "hosted":
            self._loaded(host, message.header)

    def _loaded(self, host: Host, header: dict[str, Any]) -> None:
        host.about = header
        self._fleet.prefer(host.process, oom.SERVES)
        old = self._current.get(host.model)
        self._current[host.model] = host
        for worker in host.waiting:
            self._connect(host, worker)
        host.waiting = []
        if old is not None and not old.users:
            self._end(old)
        host.then()

    def _failed(self, host: Host, problem: dict[str, Any]) -> None:
        for worker in host.waiting:
            worker.link.send({"kind": "host_failed", "problem": problem})
        self._end(host)
        host.then()

    def _gone(self, process: WorkerProcess) -> None:
        self._gauged(process.number, None)
        host = self._all.pop(process.number, None)
        if host is None:
            return
        if not host.about:
            message = f"the process that loaded model {host.model!r} died ({process.cause})"
            self._failed(host, {"type": "HostDied", "message": message, "hint": oom.hint(process.cause)})
            return
        if self._current.get(host.model) is host:
            del self._current[host.model]
            self._lose(host)
            self._died(host.model, process.cause)

    def _end(self, host: Host) -> None:
        self._all.pop(host.process.number, None)
        self._fleet.kill(host.process.number)
