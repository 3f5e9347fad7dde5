# pyright: basic
"""Bulk on its way to an agent: paced by what the agent has written, on a connection of its own where the way has two.

Basic type checks: what protoc generates derives from untyped classes.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

from hotloop.errors import RunnerError
from hotloop.remote_runner.pacing import Pacer
from hotloop.remote_runner.protocol import agent_pb2 as pb
from hotloop.remote_runner.protocol import codec
from hotloop.remote_runner.stream import BROKEN, LostError, SessionTakenError, Stream

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable

    from hotloop.remote_runner.way import Way

LANE = 1
RETRY_S = (0.1, 0.5, 2.0, 5.0)


class Flow:
    """The parts on one stream."""

    def __init__(self, send: Callable[[pb.Up], Awaitable[None]], *, is_yielding: Callable[[], bool]) -> None:
        """Prepare.

        Args:
            send: Writes to the stream.
            is_yielding: Whether an edit is on its way, or was a moment ago.
        """
        self._send = send
        self._is_yielding = is_yielding
        self._pacer = Pacer()
        self._wake = asyncio.Event()
        self._lost: Exception | None = None
        self._refused: pb.Refused | None = None

    async def carry(self, messages: Iterable[pb.Up], *, is_waiting: bool = True) -> pb.Refused | None:
        """Send parts; gives the first refusal, after which no more are sent.

        Args:
            messages: The parts.
            is_waiting: Wait until all are written there; else until all are on their way.

        Raises:
            LostError: The stream ended.
        """
        self._refused = None
        for message in messages:
            num_bytes = message.parts.ByteSize()
            await self._until(lambda n=num_bytes: self._pacer.may_send(n, is_yielding=self._is_yielding()))
            if self._refused is not None:
                break
            self._pacer.sent(num_bytes, time.monotonic())
            await self._send(message)
        if is_waiting:
            await self._until(lambda: not self._pacer.in_flight_bytes)
        return self._refused

    def received(self, num_bytes: int) -> None:
        """The agent has written this many bytes since the stream began."""
        self._pacer.acknowledged(num_bytes, time.monotonic())
        self._wake.set()

    def refused(self, refused: pb.Refused) -> None:
        """The agent did not take a part."""
        self._refused = self._refused or refused

    def lost(self, error: Exception) -> None:
        """The stream ended."""
        self._lost = error
        self._wake.set()

    async def _until(self, is_true: Callable[[], bool]) -> None:
        while self._lost is None and not is_true():
            self._wake.clear()
            await self._wake.wait()
        if self._lost is not None:
            raise self._lost


class BulkLane:
    """A second connection beside a session's stream; made again when it is lost, for as long as that stream lasts."""

    def __init__(self, way: Way, on_answer: Callable[[pb.Down], None], *, is_yielding: Callable[[], bool]) -> None:
        """Prepare; `begin` connects.

        Args:
            way: Has two lanes at least.
            on_answer: Is given what the agent says of changesets.
            is_yielding: As in `Flow`.
        """
        self._way = way
        self._on_answer = on_answer
        self._is_yielding = is_yielding
        self._stream: Stream | None = None
        self._task: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()  # the connection, those before it that still end, copies
        self.flow: Flow | None = None

    @property
    def is_begun(self) -> bool:
        """Whether it is there, or is being made."""
        return self._task is not None

    def begin(self, hello: pb.Hello) -> None:
        """Connect beside the stream that was opened with this Hello."""
        self.end()
        copy = pb.Hello()
        copy.CopyFrom(hello)
        self._task = self._spawn(self._stay(copy), "bulk lane")

    def end(self) -> None:
        """Let go of the connection."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def close(self) -> None:
        """As `end`, and wait for it."""
        self.end()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def copy(self, message: pb.Up) -> None:
        """Send a changeset that goes through the session's stream too: a lost packet there does not delay it."""
        stream = self._stream
        if stream is None:
            return

        async def write() -> None:
            with contextlib.suppress(LostError):
                await stream.write(message)

        self._spawn(write(), "copy of a changeset")

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _stay(self, hello: pb.Hello) -> None:
        attempt = 0
        while True:
            try:
                await self._hold(Stream(await self._way.dial(LANE), codec.LANE_METHOD), hello)
                attempt = 0
            except SessionTakenError:
                return  # the session's stream is another by now, and begins another lane
            except (*BROKEN, LostError, RunnerError):
                pass
            await asyncio.sleep(RETRY_S[min(attempt, len(RETRY_S) - 1)])
            attempt += 1

    async def _hold(self, stream: Stream, hello: pb.Hello) -> None:
        try:
            await stream.greet(hello)
            self._stream, self.flow = stream, Flow(stream.write, is_yielding=self._is_yielding)
            while (message := await stream.read()) is not None:
                self._take(message)
        finally:
            if self.flow is not None:
                self.flow.lost(LostError())
            self._stream = self.flow = None
            await stream.close()

    def _take(self, message: pb.Down) -> None:
        kind = message.WhichOneof("body")
        if kind == "received" and self.flow is not None:
            self.flow.received(message.received.num_bytes)
        elif kind == "refused" and not message.refused.sequence and self.flow is not None:
            self.flow.refused(message.refused)
        elif kind == "ack" or (kind == "refused" and message.refused.reason == pb.Refused.CHANGESET):
            self._on_answer(message)  # what lacks something here may have it where the first copy comes
