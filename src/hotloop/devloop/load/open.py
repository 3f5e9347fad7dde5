"""An open loop: requests are due at a rate, whatever the answers take, as they come from many independent users."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from itertools import cycle
from typing import TYPE_CHECKING

from hotloop.devloop.load.closed import CONNECT_TIMEOUT_S, refusal
from hotloop.devloop.load.connection import Connection, connect
from hotloop.devloop.load.note import note
from hotloop.devloop.load.ticker import Ticker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hotloop.devloop.load.tally import Tally, Window
    from hotloop.devloop.load.target import Target

MAX_CONNECTIONS = 512  # a request that is due while all are busy waits for one, and its time runs
NUM_AT_ONCE = 64  # sent one after the other when many are due; then answers are read


class OpenLoop:
    """Sends requests at their times.

    Args:
        target: Where to.
        due_s: When requests are due, seconds from ``start_s``, rising, without end.
        start_s: The first moment, in seconds of the monotonic clock.
        window: When it counts; nothing is due after its end.
        tally: Takes the counts.
        max_connections: Most that are open at a time.
    """

    def __init__(
        self,
        target: Target,
        due_s: Iterator[float],
        start_s: float,
        window: Window,
        tally: Tally,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        self._target = target
        self._due_s = due_s
        self._start_s = start_s
        self._window = window
        self._tally = tally
        self._max = max_connections
        self._requests = cycle(target.requests)
        self._clock = time.monotonic  # the loop's own is a millisecond coarse
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._waiting: deque[float] = deque()
        self._connecting: set[asyncio.Task[None]] = set()
        self._is_drained = asyncio.Event()

    async def run(self, drain_s: float) -> None:
        """Send until the window ends, then wait for the answers, ``drain_s`` at most."""
        try:
            await self._send_all()
            if self._num_unanswered:
                self._is_drained.clear()
                async with asyncio.timeout(drain_s):
                    await self._is_drained.wait()
        except TimeoutError:
            self._give_up()
        finally:
            self._close()

    def answered(self, connection: Connection) -> None:
        """Count an answer; the connection is free."""
        note(self._tally, self._window, connection, self._clock())
        if not connection.keeps_alive:
            self._drop(connection)
        elif self._waiting:
            self._send(connection, self._waiting.popleft())
        else:
            self._idle.append(connection)
        self._look_if_drained()

    def lost(self, connection: Connection, why: str) -> None:
        """Count what was under way."""
        if connection not in self._open:
            return
        if connection.is_busy:
            self._tally.lost(self._window, connection.due_s, self._clock(), why)
        elif connection in self._idle:
            self._idle.remove(connection)
        self._drop(connection)
        self._look_if_drained()

    @property
    def _num_unanswered(self) -> int:
        return len(self._waiting) + len(self._connecting) + len(self._open) - len(self._idle)

    async def _send_all(self) -> None:
        with Ticker() as ticker:
            num_in_a_row = 0
            for offset_s in self._due_s:
                due_s = self._start_s + offset_s
                if due_s >= self._window.end_s:
                    return
                ahead_s = due_s - self._clock()
                num_in_a_row = 0 if ahead_s > 0 else num_in_a_row + 1
                if ahead_s > 0 or num_in_a_row % NUM_AT_ONCE == 0:
                    await ticker.sleep(ahead_s)
                self._take(due_s)

    def _take(self, due_s: float) -> None:
        """Have a request sent that is due."""
        if self._idle:
            self._send(self._idle.pop(), due_s)
            return
        self._waiting.append(due_s)
        if len(self._open) + len(self._connecting) < self._max:
            self._connect()

    def _send(self, connection: Connection, due_s: float) -> None:
        if due_s >= self._window.begin_s:
            self._tally.late.add(max(self._clock() - due_s, 0))
        connection.send(next(self._requests), due_s)

    def _connect(self) -> None:
        task = asyncio.get_running_loop().create_task(self._connect_one())
        self._connecting.add(task)
        task.add_done_callback(self._connected)

    async def _connect_one(self) -> None:
        try:
            connection = await connect(self, self._target.address, CONNECT_TIMEOUT_S)
        except OSError as error:
            if self._waiting:  # one request fails with it; the others may have more luck
                self._tally.lost(self._window, self._waiting.popleft(), self._clock(), refusal(error))
            return
        self._open.add(connection)
        if self._waiting:
            self._send(connection, self._waiting.popleft())
        else:
            self._idle.append(connection)

    def _connected(self, task: asyncio.Task[None]) -> None:
        self._connecting.discard(task)
        self._look_if_drained()

    def _drop(self, connection: Connection) -> None:
        self._open.discard(connection)
        connection.close()
        if len(self._waiting) > len(self._connecting):
            self._connect()  # whoever waits for this one needs another

    def _look_if_drained(self) -> None:
        if not self._num_unanswered:
            self._is_drained.set()

    def _give_up(self) -> None:
        now_s = self._clock()
        while self._waiting:
            self._tally.lost(self._window, self._waiting.popleft(), now_s, "no answer in time")
        for connection in self._open - set(self._idle):
            self._tally.lost(self._window, connection.due_s, now_s, "no answer in time")

    def _close(self) -> None:
        for task in self._connecting:
            task.cancel()
        connections, self._open = self._open, set()
        for connection in connections:
            connection.close()
