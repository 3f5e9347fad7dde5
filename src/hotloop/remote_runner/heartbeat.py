# pyright: basic
"""The heartbeat of a session's stream: pings that tell a dead link, how long a round trip takes, and the other clock.

Basic type checks: what protoc generates derives from untyped classes.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import statistics
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from hotloop.remote_runner.offset import Offset, Sample
from hotloop.remote_runner.protocol import agent_pb2 as pb
from hotloop.remote_runner.stream import LostError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

BUSY_S = 0.5  # between pings while there is traffic, or something has yet to be answered
IDLE_S = 5.0
HERE_IDLE_S = (
    10.0  # on this machine, where a process that is gone is known at once; gRPC's threads wake for 3 s after each
)
TRAFFIC_S = 1.0  # how long a message counts as traffic
SILENT_S = 1.2  # without a word after a ping: the link is dead; or this many round trips
SILENT_TRIPS = 4
_ASIDE_S = 0.02  # a ping lets the save go first that woke it
_LATE_S = 0.2  # this process was held up: what the agent said may lie there unread


class Heartbeat:
    """Pings through whatever stream there is.

    Attributes:
        offset: How far the agent's clock is off.
    """

    def __init__(
        self, send: Callable[[pb.Up], Awaitable[None]], is_waiting: Callable[[], bool], *, idle_s: float = IDLE_S
    ) -> None:
        """Prepare.

        Args:
            send: Sends a message; raises `LostError`.
            is_waiting: Whether something was sent that has yet to be answered.
            idle_s: Between pings while there is nothing else.
        """
        self._idle_s = idle_s
        self.offset = Offset()
        self._send = send
        self._is_waiting = is_waiting
        self._numbers = itertools.count(1)
        self._sent_s: dict[int, float] = {}
        self._wanted: dict[int, asyncio.Future[float]] = {}
        self._trips_s: deque[float] = deque(maxlen=8)
        self._traffic_s = 0.0
        self._stirred = asyncio.Event()
        self._heard = asyncio.Event()
        self._silent = asyncio.Event()

    # --- what happens

    def begin(self, greeting: Sample, *, is_same_clock: bool) -> None:
        """There is a new stream; its greeting was a round trip too."""
        self._silent.clear()
        self._trips_s.clear()
        self.offset.add(greeting)
        if is_same_clock:
            self.offset.share(greeting.received_s)

    def stop(self, error: Exception) -> None:
        """The stream ended."""
        self._sent_s.clear()
        fail(self._wanted.values(), error)
        self._wanted.clear()

    def note_traffic(self) -> None:
        """Something was sent or came that is not a ping."""
        self._traffic_s = time.monotonic()
        self._stirred.set()

    def note_heard(self) -> None:
        """The agent said something: it lives."""
        self._heard.set()

    def take(self, pong: pb.Pong) -> None:
        """A ping was answered."""
        now_s = time.monotonic()
        sent_s = self._sent_s.pop(pong.number, None)
        if sent_s is None:
            return
        self._trips_s.append(now_s - sent_s)
        self.offset.add(Sample(sent_s, pong.at_s, now_s))
        settle(self._wanted.pop(pong.number, None), now_s - sent_s)

    # --- what is asked

    @property
    def round_trip_s(self) -> float:
        """The median of the last round trips, 0 before the first."""
        return statistics.median(self._trips_s) if self._trips_s else 0.0

    async def ping(self) -> float:
        """Measure a round trip, seconds.

        Raises:
            LostError: The stream ended meanwhile.
        """
        number = next(self._numbers)
        future = self._wanted[number] = asyncio.get_running_loop().create_future()
        await self._send_ping(number)
        return await future

    async def beat(self) -> None:
        """Ping until cancelled; ends only so."""
        while True:
            self._heard.clear()
            sending = asyncio.create_task(self._beat_once(), name="ping")
            try:
                if not await self._is_heard():
                    self._silent.set()
                    await self._heard.wait()
                    self._silent.clear()
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
            await self._pause()

    async def until_silent(self) -> None:
        """Wait until the agent has not answered for too long."""
        await self._silent.wait()

    async def until_heard(self) -> None:
        """Wait until it says something."""
        await self._heard.wait()

    # --- pings

    async def _beat_once(self) -> None:
        with contextlib.suppress(LostError):
            await self._send_ping(next(self._numbers))

    async def _send_ping(self, number: int) -> None:
        self._sent_s[number] = time.monotonic()
        await self._send(pb.Up(ping=pb.Ping(number=number)))

    async def _is_heard(self) -> bool:
        """Whether the agent says anything in time."""
        while True:
            limit_s = max(SILENT_S, SILENT_TRIPS * max(self._trips_s, default=0.0))
            deadline_s = time.monotonic() + limit_s
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limit_s):  # not `wait_for`, which may swallow a cancellation
                    await self._heard.wait()
                return True
            if time.monotonic() - deadline_s < _LATE_S:
                return False

    async def _pause(self) -> None:
        if self._is_waiting() or time.monotonic() - self._traffic_s < TRAFFIC_S:
            await asyncio.sleep(BUSY_S)
            return
        self._stirred.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._idle_s):
                await self._stirred.wait()
            await asyncio.sleep(_ASIDE_S)


def settle(future: asyncio.Future[Any] | None, value: Any) -> None:
    """Give a future its result, if it still waits for one."""
    if future is not None and not future.done():
        future.set_result(value)


def fail(futures: Iterable[asyncio.Future[Any] | None], error: Exception) -> None:
    """End all waiting with an error."""
    for future in futures:
        if future is not None and not future.done():
            future.set_exception(error)
            future.exception()  # seen: it may have nobody who waits
