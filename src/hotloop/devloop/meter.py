"""Counts what a session costs: hears its events, says what `cost` decides. No timer runs where nothing is to be paid."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from hotloop import events
from hotloop.devloop import cost, tariff

if TYPE_CHECKING:
    from collections.abc import Callable

    from hotloop.devloop.tariff import Terms

OVER_BUDGET = 1  # the exit code of a session that its budget ended


class Meter:
    """One session's. Make it when the session begins.

    Args:
        terms: What is known of the runner's price.
        say: Tells everybody who reads the session's events.
        stop: Ends the session with a reason and an exit code.
    """

    def __init__(self, terms: Terms, say: Callable[[events.Event], None], stop: Callable[[str, int], None]) -> None:
        self._terms = terms
        self._say = say
        self._stop = stop
        self._loop = asyncio.get_running_loop()
        self._state = cost.begin(time.monotonic(), terms.price, terms.budget)
        self._timer: asyncio.TimerHandle | None = None
        self._is_over = False
        self._is_priced = terms.price is not None  # or its GPUs were looked up
        self._is_missed = False

    def take(self, event: events.Event) -> None:
        """Take note of what happened; what follows is said afterwards."""
        if isinstance(event, events.CostReported | events.Notice) or self._is_over:
            return
        if isinstance(event, events.SessionEnded):
            self.close()
            return
        if isinstance(event, events.RuntimeSampled) and not self._is_priced:
            self._look_up(event)
        self._step(event)

    def close(self) -> None:
        """Count no more."""
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()

    def _look_up(self, sample: events.RuntimeSampled) -> None:
        self._is_priced = bool(sample.gpus)
        price = tariff.list_price(self._terms, sample.gpus)
        if price is not None:
            self._state = cost.priced(self._state, price)
        elif not self._is_missed and (notice := tariff.unknown(self._terms, sample.gpus, time.monotonic())) is not None:
            self._is_missed = True
            self._loop.call_soon(self._say, notice)

    def _step(self, event: events.Event | None = None) -> None:
        self._state, actions = cost.step(self._state, event, time.monotonic())
        for action in actions:
            if isinstance(action, cost.End):
                self._loop.call_soon(self._stop, action.reason, OVER_BUDGET)
            else:
                self._loop.call_soon(self._say, action)
        due_s = cost.due_s(self._state)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if due_s is None else self._loop.call_later(max(0.0, due_s - time.monotonic()), self._step)
