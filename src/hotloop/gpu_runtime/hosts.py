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
        waiting: Workers to connect once it is loaded.
        is_replacement: Whether it loads the model of one that died, for workers that have it, and not for one that asked.
        about: What it said of the model once loaded; empty before.
        users: Numbers of the workers that are connected.
        is_lost: Whether a worker could not reach it, so that its end is about to be seen.
    """

    model: str
    process: WorkerProcess
    waiting: list[WorkerProcess]
    is_replacement: bool
    about: dict[str, Any] = field(default_factory=dict[str, Any])
    users: set[int] = field(default_factory=set[int])
    is_lost: bool = False


class Hosts:
    """All hosted models of one app.

    Args:
        lost: Called when a model can't be called any more, also if its process is still to die: requests wait.
        found: Called once for each time that `lost` was, when they need wait no longer, come what may.
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
        found: Callable[[], None],
        died: Callable[[str, str], None],
        notice: Callable[[dict[str, Any]], None],
        failed: Callable[[dict[str, Any]], None],
        gauged: Callable[[int, dict[str, Any] | None], None],
    ) -> None:
        self._fleet = fleet
        self._holdings = holdings
        self._lost = lost
        self._found = found
        self._missing: set[str] = set()  # the models that requests wait for
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

    def start(self, model: str, zygote: Zygote, waiting: list[WorkerProcess], *, is_replacement: bool = False) -> None:
        """Load a model in a new process, and connect the workers that wait for it: one that asked, or all that lost it."""
        others = [other for other in self._all.values() if other.model == model]
        if is_replacement:  # who asked already wants the model as it is now, not as it was
            asked = [worker for other in others if not other.is_replacement for worker in other.waiting]
            waiting = [worker for worker in waiting if worker not in asked]
        else:
            for other in others:
                other.waiting = [worker for worker in other.waiting if worker not in waiting]
        self._made += 1
        process = self._fleet.fork(
            _FIRST_NUMBER + self._made, zygote, self._heard, self._gone, role="host", model=model
        )
        self._fleet.prefer(process, oom.LOADS)
        host = Host(model, process, waiting, is_replacement)
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
                if not host.about:
                    self._replaced(host)

    def activated(self, number: int, hosted: set[str]) -> None:
        """A worker begins a generation: its requests wait for none but those of its models that it can't call.

        Args:
            number: The worker's.
            hosted: The models that it calls in processes of their own.
        """
        for model in list(self._missing):
            current = self._current.get(model)
            is_there = current is not None and not current.is_lost and number in current.users
            if model not in hosted or is_there:
                self._restore(model)

    def give_up(self, number: int) -> None:
        """Take a host for dead that a worker can't reach any more: its end is seen a moment later, or brought about."""
        host = self._all.get(number)
        if host is not None and self._current.get(host.model) is host:
            host.is_lost = True
            self._lose(host.model)
            self._fleet.crash(number)

    def _lose(self, model: str) -> None:
        if model not in self._missing:
            self._missing.add(model)
            self._lost()

    def _restore(self, model: str) -> None:
        if model in self._missing:
            self._missing.remove(model)
            self._found()

    def _replaced(self, host: Host) -> None:
        """Take note that a host is loaded, or never will be."""
        if host.is_replacement:
            self._restore(host.model)

    def _connect(self, host: Host, worker: WorkerProcess) -> None:
        one, other = socket.socketpair()
        host.process.link.send({"kind": "connect"}, fds=(one.fileno(),))
        about = {**host.about, "host": host.process.number, "is_replacement": host.is_replacement}
        worker.link.send({**about, "kind": "hosted"}, fds=(other.fileno(),))
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
        if old is not None and old.is_lost:  # nobody replaces it any more
            self._restore(host.model)
        self._replaced(host)

    def _failed(self, host: Host, problem: dict[str, Any]) -> None:
        if host.is_replacement:
            text = f"model {host.model!r} could not be loaded again: {problem['type']}: {problem['message']}"
            hint = problem.get("hint") or "its endpoints fail until a save or a reload loads it"
            self._notice({"key": f"host {host.process.number}", "text": text, "hint": hint})
        else:
            for worker in host.waiting:
                worker.link.send({"kind": "host_failed", "problem": problem})
        self._end(host)
        self._replaced(host)

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
            self._lose(host.model)
            self._died(host.model, process.cause)

    def _end(self, host: Host) -> None:
        self._all.pop(host.process.number, None)
        self._fleet.kill(host.process.number)
