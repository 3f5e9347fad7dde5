"""When a probe's result was on the screen, where another process paints it and says so."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from hotloop.devloop.machine_events import Shown

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from hotloop.events import ProbeReported

PAINT_TIMEOUT_S = 0.25  # what paints takes a tenth of it; beyond, it hangs, and the loop's own part is what is told


class Painting:
    """Notes results as shown: at once where plain lines are written, else when their painter says so, or is given up.

    Attributes:
        is_elsewhere: Another process paints what is told from now on.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, shown: Callable[[Shown], None]) -> None:
        """Prepare.

        Args:
            loop: Runs the time-outs.
            shown: Told when a result was on the screen.
        """
        self.is_elsewhere = False
        self._loop = loop
        self._shown = shown
        self._pending: dict[tuple[int, str], tuple[float, asyncio.TimerHandle]] = {}
        self._held: list[tuple[int, Callable[[], None]]] = []

    def told(self, event: ProbeReported) -> None:
        """A result was written, or handed to its painter."""
        now_s, key = time.monotonic(), (event.generation, event.report.name)
        if not self.is_elsewhere:
            self._shown(Shown(now_s, *key))
        elif key not in self._pending:
            self._pending[key] = now_s, self._loop.call_later(PAINT_TIMEOUT_S, self._settle, key, now_s)

    def painted(self, generation: int, probe: str, at_s: float | None = None) -> None:
        """A result is on a screen.

        Args:
            generation: Whose result.
            probe: Its name.
            at_s: When, on this machine's monotonic clock; now if it is not said, or can't be.
        """
        key = generation, probe
        if (pending := self._pending.get(key)) is not None:
            now_s = time.monotonic()
            self._settle(key, at_s if at_s is not None and pending[0] <= at_s <= now_s else now_s)

    def after(self, generation: int, go: Callable[[], None]) -> None:
        """Do something when no result of a generation waits to be painted, at the latest when it is given up."""
        if any(key[0] == generation for key in self._pending):
            self._held.append((generation, go))
        else:
            go()

    def give_up(self) -> None:
        """Nobody paints any more: what waits counts as shown when it was told."""
        for key, (told_s, _) in list(self._pending.items()):
            self._settle(key, told_s)

    def _settle(self, key: tuple[int, str], at_s: float) -> None:
        _, timer = self._pending.pop(key)
        timer.cancel()
        self._shown(Shown(at_s, *key))
        held, self._held = self._held, []
        for generation, go in held:
            self.after(generation, go)
