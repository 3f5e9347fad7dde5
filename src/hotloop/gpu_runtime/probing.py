"""Run a generation's probes: the app's functions in its worker, then the pinned requests; one result after the other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hotloop.events import ProbeFinished, ProbesFinished, Problem, record_from_json
from hotloop.frozen import frozen
from hotloop.gpu_runtime.fleet import WorkerProcess
from hotloop.gpu_runtime.pins import Pins

if TYPE_CHECKING:
    from hotloop.events import Event


@frozen
class _Run:
    worker: WorkerProcess
    generation: int
    revision: int
    only: str = ""  # the one that is run; empty: all


class Probing:
    """The probes of one app. A newer generation's run takes the place of one under way.

    Args:
        pins: The pinned requests.
        timeout_s: How long a generation's probes may take in all.
        emit: Gets each result.
        done: Called with a generation's number when its probes ran or their time is up.
    """

    def __init__(
        self, pins: Pins, timeout_s: float, emit: Callable[[Event], None], done: Callable[[int], None]
    ) -> None:
        self._pins = pins
        self._timeout_s = timeout_s
        self._emit = emit
        self._done = done
        self._run: _Run | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self, worker: WorkerProcess, generation: int, revision: int, *, only: str = "") -> None:
        """Run all probes against an active worker, or one by its name; all if a run is under way that this one ends."""
        only = "" if self._run is not None else only
        self.cancel()
        self._run = _Run(worker, generation, revision, only)
        self._timer = asyncio.get_running_loop().call_later(self._timeout_s, self._finish)
        if only in worker.ready["probes"] if only else worker.ready["probes"]:
            worker.link.send({"kind": "probe", "only": only})
        else:
            self.functions_done(worker)

    def cancel(self) -> None:
        """Forget the run under way; what it still reports is not told."""
        self._run = None
        for waiting in (self._timer, self._task):
            if waiting is not None:
                waiting.cancel()

    def lost(self, worker: WorkerProcess) -> None:
        """Take note that a worker is gone: what it had to try is over, if others serve on."""
        if self._run is not None and self._run.worker is worker:
            self._finish()

    def heard(self, worker: WorkerProcess, result: dict[str, Any]) -> None:
        """Tell what one of the app's own probes gave."""
        run = self._run
        if run is None or run.worker is not worker:
            return
        trouble = result["problem"]
        self._emit(
            ProbeFinished(
                at_s=time.monotonic(),
                revision=run.revision,
                generation=run.generation,
                name=result["name"],
                source="function",
                is_ok=result["is_ok"],
                output=result["output"],
                took_s=result["took_s"],
                compute_s=result["compute_s"],
                problem=None if trouble is None else record_from_json(Problem, trouble),
            )
        )

    def functions_done(self, worker: WorkerProcess) -> None:
        """Go on with the pinned requests, now that the app's own probes ran."""
        if self._run is not None and self._run.worker is worker:
            self._task = asyncio.get_running_loop().create_task(self._try_pins(self._run))

    async def _try_pins(self, run: _Run) -> None:
        async for result in self._pins.try_all(run.revision, run.generation, only=run.only):
            self._emit(result)
        self._finish()

    def _finish(self) -> None:
        run, self._run = self._run, None
        if self._timer is not None:
            self._timer.cancel()
        if run is not None:
            count = 1 if run.only else len(run.worker.ready["probes"]) + len(self._pins)
            self._emit(ProbesFinished(time.monotonic(), run.revision, run.generation, count))
            self._done(run.generation)
