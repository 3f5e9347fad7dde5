"""What the agent is told of a runtime: events in their order, those about a reload a little later."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Literal

from hotloop import events
from hotloop.events import record_from_json, to_json
from hotloop.gpu_runtime import oom
from hotloop.gpu_runtime.controller_state import State
from hotloop.gpu_runtime.fleet import WorkerProcess
from hotloop.gpu_runtime.settings import RuntimeConfig

# A reload has the machine for itself: reading, printing and drawing what is told of it cost three processes more than it
# costs the worker, and slowed it down by a tenth.
HOLD_BACK_S = 0.03

Role = Literal["active", "standby", "zygote", "hosted", "runtime"]


class Telling:
    """Sends events to the agent.

    Args:
        config: Where the project lies, and where the user knows it to lie.
        send: Sends a frame to the agent.
    """

    def __init__(self, config: RuntimeConfig, send: Callable[..., object]) -> None:
        self._config = config
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._said: set[str] = set()
        self._held: deque[Callable[[], events.Event]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def emit(self, event: events.Event) -> None:
        """Send an event, after those that were held back."""
        self.release()
        self._tell(event)

    def hold_back(self, make: Callable[[], events.Event]) -> None:
        """Make and send an event a little later, or before the next one that is not held back."""
        self._held.append(make)
        if self._timer is None:
            self._timer = self._loop.call_later(HOLD_BACK_S, self.release)

    def release(self) -> None:
        """Send what was held back."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._held:
            self._tell(self._held.popleft()())

    def say(self, key: str, text: str, hint: str = "") -> None:
        """Say a finding."""
        self.emit(events.Notice(time.monotonic(), key, text, hint))

    def say_once(self, key: str, text: str, hint: str = "") -> None:
        """Say a finding, unless one with its key was said."""
        if key not in self._said:
            self._said.add(key)
            self.say(key, text, hint)

    def notice(self, header: dict[str, Any]) -> None:
        """Pass on a finding of a worker or a host, once."""
        self.say_once(header["key"], header["text"], header.get("hint", ""))

    def log(self, generation: int, stream: str, text: str) -> None:
        """Pass on a line that a process wrote, the project's own path in it where the workspace's stands."""
        shown_root = self._config.shown_root
        shown = text.replace(self._config.root, shown_root) if shown_root else text
        self.emit(events.Log(time.monotonic(), generation, "stdout" if stream == "stdout" else "stderr", shown))

    def ready(self, worker: WorkerProcess) -> None:
        """Say that a worker's generation is ready; its models and endpoints are put into words when it is told."""
        workers = self._config.replicas or worker.ready["replicas"]
        self.hold_back(lambda: _ready_event(worker, workers))

    def failed(self, revision: int, problem: events.Problem, serving: int | None) -> None:
        """Say that a revision failed, and which generation serves on; None if none does."""
        self.emit(events.ReloadFailed(time.monotonic(), revision, problem, serving))

    def died(self, role: Role, cause: str, lost: int = 0, name: str = "", *, is_replaced: bool = True) -> None:
        """Say that a process died, and what to do about it if that is known."""
        hint = oom.hint(cause) if cause == oom.KILLED else ""
        self.emit(events.ProcessDied(time.monotonic(), role, name, cause, lost, hint, is_replaced))

    def serving(self, state: State) -> None:
        """Say how many workers serve, if the app wants more than one."""
        count, wanted = len(state.serving), state.replicas
        if wanted > 1:
            is_growing = count < wanted - state.given_up
            self.emit(events.WorkersServing(time.monotonic(), state.generation, count, wanted, is_growing=is_growing))

    def fewer(self, generation: int, wanted: int, problem: events.Problem) -> None:
        """Say what became of a worker that does not serve beside the others: once a generation."""
        place = f" at {problem.where.file}:{problem.where.line}" if problem.where else ""
        self.say_once(
            f"fewer {generation}",
            f"Generation {generation} goes on with fewer workers than {wanted}: {problem.type}: {problem.message}{place}",
            problem.hint or "the next save tries again",
        )

    def _tell(self, event: events.Event) -> None:
        self._send({"kind": "event", "event": to_json(event)})


def _ready_event(worker: WorkerProcess, workers: int) -> events.Ready:
    ready = worker.ready
    return events.Ready(
        at_s=worker.active_at_s,
        revision=worker.revision,
        generation=worker.generation,
        imported_at_s=ready["imported_at_s"],
        start=worker.start,
        models=tuple(record_from_json(events.ModelOutcome, m) for m in ready["models"]),
        endpoints=tuple(record_from_json(events.EndpointShape, s) for s in ready["shapes"]),
        probes=tuple(ready["probes"]),
        workers=workers,
        imports=tuple(record_from_json(events.ImportTime, each) for each in ready["imports"]),
        import_bytes=ready["import_bytes"],
    )
