"""Workers that were replaced: they finish what they have, in time or by force."""

from __future__ import annotations

from collections.abc import Callable

from hotloop.gpu_runtime import controller_events as on
from hotloop.gpu_runtime.controller_state import State
from hotloop.gpu_runtime.dispatch import Dispatcher
from hotloop.gpu_runtime.fleet import WorkerProcess
from hotloop.gpu_runtime.telling import HOLD_BACK_S, Telling
from hotloop.gpu_runtime.timers import Timers


class Draining:
    """Watches them.

    Args:
        state: What the controller knows.
        feed: Told when one is drained.
        timers: Cancelled by their owner.
        timeout_s: How long one may take.
    """

    def __init__(
        self,
        state: Callable[[], State],
        feed: Callable[[on.Event], None],
        dispatcher: Dispatcher,
        telling: Telling,
        timers: Timers,
        timeout_s: float,
    ) -> None:
        self._state = state
        self._feed = feed
        self._dispatcher = dispatcher
        self._telling = telling
        self._timers = timers
        self._timeout_s = timeout_s

    def begin(self, worker: WorkerProcess) -> None:
        """Report a worker as drained when it has nothing left, or when its time is up."""
        timer = f"drain {worker.number}"
        if self._dispatcher.is_idle(worker.generation):
            # Not at once: to end a process takes more than to begin the new one's probes.
            self._timers.later(timer, HOLD_BACK_S, lambda: self._feed(on.Drained(worker.number)))
        else:
            self._timers.later(timer, self._timeout_s, lambda: self._by_force(worker))

    def _by_force(self, worker: WorkerProcess) -> None:
        timeout = f"{self._timeout_s:g} s"
        lost = self._dispatcher.lost(worker.generation, f"did not finish in {timeout}", worker.number)
        if lost:
            self._telling.say(
                f"drain {worker.number}",
                f"Generation {worker.generation} did not finish {lost} requests in {timeout} after it was replaced; "
                "they failed.",
            )
        self._feed(on.Drained(worker.number))

    def generation_idle(self, generation: int) -> None:
        """A generation has nothing left to do."""
        for worker in list(self._state().workers.values()):
            if worker.role == "draining" and worker.generation == generation:
                self._timers.cancel(f"drain {worker.number}")
                self._feed(on.Drained(worker.number))
