"""A closed loop: each connection sends its next request when it has an answer, as a fixed number of clients would."""

from __future__ import annotations

import asyncio
import time
from itertools import cycle
from typing import TYPE_CHECKING

from hotloop.devloop.load.connection import Connection, connect
from hotloop.devloop.load.note import note

if TYPE_CHECKING:
    from hotloop.devloop.load.tally import Tally, Window
    from hotloop.devloop.load.target import Target

RECONNECT_PAUSE_S = 0.05  # after a connection that could not be opened
CONNECT_TIMEOUT_S = 5.0


class ClosedLoop:
    """Keeps a number of connections busy.

    Args:
        target: Where to.
        num_connections: How many.
        window: When: requests are sent until its end.
        tally: Takes the counts.
    """

    def __init__(self, target: Target, num_connections: int, window: Window, tally: Tally) -> None:
        self._target = target
        self._num = num_connections
        self._window = window
        self._tally = tally
        self._requests = cycle(target.requests)
        self._clock = time.monotonic  # the loop's own is a millisecond coarse
        self._open: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_over = asyncio.Event()

    async def run(self, drain_s: float) -> None:
        """Send until the window ends, then wait for what is under way, ``drain_s`` at most."""
        for _ in range(self._num):
            self._start()
        remaining_s = self._window.end_s - self._clock() + drain_s
        try:
            async with asyncio.timeout(remaining_s):
                await self._is_over.wait()
        except TimeoutError:
            self._give_up()

    def answered(self, connection: Connection) -> None:
        """Count an answer and send the next request."""
        now_s = self._clock()
        note(self._tally, self._window, connection, now_s)
        if now_s >= self._window.end_s:
            self._drop(connection)
        elif connection.keeps_alive:
            connection.send(next(self._requests), now_s)
        else:
            self._drop(connection)
            self._start()

    def lost(self, connection: Connection, why: str) -> None:
        """Count what was under way and connect again."""
        if connection not in self._open:
            return
        now_s = self._clock()
        if connection.is_busy:
            self._tally.lost(self._window, connection.due_s, now_s, why)
        self._drop(connection)
        if now_s < self._window.end_s:
            self._start()

    def _start(self) -> None:
        task = asyncio.get_running_loop().create_task(self._connect())
        self._tasks.add(task)
        task.add_done_callback(self._settled)

    async def _connect(self) -> None:
        """Open a connection and send on it; what can't be sent counts as a request that got no answer."""
        while (began_s := self._clock()) < self._window.end_s:
            try:
                connection = await connect(self, self._target.address, CONNECT_TIMEOUT_S)
            except OSError as error:
                self._tally.lost(self._window, began_s, self._clock(), refusal(error))
                await asyncio.sleep(RECONNECT_PAUSE_S)
                continue
            self._open.add(connection)
            connection.send(next(self._requests), began_s)
            return

    def _settled(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._look_if_over()

    def _drop(self, connection: Connection) -> None:
        self._open.discard(connection)
        connection.close()
        self._look_if_over()

    def _look_if_over(self) -> None:
        if not self._open and not self._tasks and self._clock() >= self._window.end_s:
            self._is_over.set()

    def _give_up(self) -> None:
        for task in self._tasks:
            task.cancel()
        for connection in tuple(self._open):
            self.lost(connection, "no answer in time")


def refusal(error: OSError) -> str:
    """Name why a connection could not be opened."""
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    return "no connection in time" if isinstance(error, TimeoutError) else f"no connection: {error.strerror or error}"
