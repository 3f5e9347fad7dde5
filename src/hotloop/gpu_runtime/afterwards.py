"""What is made when a reload is over and the machine is quiet: the other workers, the next standby, a better zygote."""

from __future__ import annotations

import time
from collections.abc import Callable

from hotloop.gpu_runtime import controller_events as on
from hotloop.gpu_runtime.controller_state import State
from hotloop.gpu_runtime.dispatch import Dispatcher
from hotloop.gpu_runtime.fleet import Fleet
from hotloop.gpu_runtime.timers import Timers
from hotloop.gpu_runtime.zygotes import Zygotes

RELEARN_AFTER_S = 1.0
GROW_WITHIN_S = 1.0
QUIET_S = 0.05  # who saves an app without probes asks it by hand or by a script, at once
STANDBY_WAIT_S = 1.0


class Afterwards:
    """Tells the controller when it is time.

    Args:
        state: What the controller knows.
        feed: Told what it is time for.
        timers: Cancelled by their owner.
    """

    def __init__(
        self,
        state: Callable[[], State],
        feed: Callable[[on.Event], None],
        fleet: Fleet,
        zygotes: Zygotes,
        dispatcher: Dispatcher,
        timers: Timers,
    ) -> None:
        self._state = state
        self._feed = feed
        self._fleet = fleet
        self._zygotes = zygotes
        self._dispatcher = dispatcher
        self._timers = timers

    def reload_began(self) -> None:
        """Put off what would come amid the new generation's probes."""
        for timer in ("learn", "grow"):
            self._timers.cancel(timer)

    def probes_began(self, generation: int) -> None:
        """A generation's first worker serves; its probes have the machine."""
        self._grow_in(GROW_WITHIN_S, generation)

    def probes_done(self, generation: int) -> None:
        """They have their results, or their time is up."""
        self._grow_in(QUIET_S, generation)
        self._timers.later("learn", RELEARN_AFTER_S, self._ask_what_was_imported)
        self._ask_for_pages()
        self._await_quiet(generation, time.monotonic() + STANDBY_WAIT_S)

    def learned(self, modules: list[str]) -> None:
        """A worker said which modules it imported itself."""
        self._zygotes.learned(modules)
        self._timers.cancel("grow")
        self._feed(on.Grow(self._state().generation))

    def _await_quiet(self, generation: int, until_s: float) -> None:
        """Have the next standby made when nothing is being answered: making it takes a core for a third of a second."""

        def look() -> None:
            if self._dispatcher.is_idle(generation) or time.monotonic() >= until_s:
                self._feed(on.Probed(generation))
            else:
                self._await_quiet(generation, until_s)

        self._timers.later("quiet", QUIET_S, look)

    def _grow_in(self, delay_s: float, generation: int) -> None:
        """Have a generation's other workers made soon: first its own probes, or who tries it by hand, have the machine."""
        if self._state().replicas > 1:
            self._timers.later("grow", delay_s, lambda: self._grow(generation))

    def _grow(self, generation: int) -> None:
        zygote = self._zygotes.current
        if zygote is not None and not zygote.learned.modules:  # the first start ever: each would import all by itself
            self._ask_what_was_imported()
            self._timers.later("grow", GROW_WITHIN_S, lambda: self._feed(on.Grow(generation)))
        else:
            self._feed(on.Grow(generation))

    def _ask_for_pages(self) -> None:
        """Have the first worker of a zygote that was a standby say what it wrote to, for the standbys after it."""
        if serving := self._state().serving:
            worker = self._fleet[serving[0].number]
            if not worker.zygote.pages:
                worker.link.send({"kind": "pages"})

    def _ask_what_was_imported(self) -> None:
        if serving := self._state().serving:
            self._fleet[serving[0].number].link.send({"kind": "learn"})
