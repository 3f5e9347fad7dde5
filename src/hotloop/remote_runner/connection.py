# pyright: basic
"""Staying connected to an agent: one stream at a time, dialed again after each cut. Knows no changeset and no event.

Basic type checks: grpc has no types, and what protoc generates derives from untyped classes.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from typing import TYPE_CHECKING, Any, Protocol

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

import grpc

from hotloop.errors import HotloopError, RunnerError
from hotloop.remote_runner.protocol import agent_pb2 as pb
from hotloop.remote_runner.protocol import codec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

    from hotloop.remote_runner.way import Way

RETRY_S = (0.0, 0.05, 0.2, 0.5, 1.0, 2.0)
WRITE_TIMEOUT_S = 1.0  # of a write that nobody wants any more, on a connection that takes nothing


class SessionTakenError(RunnerError):
    """Another client holds the session now, or this client's version is not the agent's. Reconnecting does not help."""


class LostError(Exception):
    """The stream ended while something was waited for."""


class Listener(Protocol):
    """Who is told what comes down the stream, and when it begins and ends."""

    def greeted(self, ok: pb.HelloOk) -> None:
        """A stream is up; what is sent from now on goes through it."""
        ...

    async def resume(self) -> None:
        """Do again what the agent may have forgotten. Cancelled when the stream ends."""
        ...

    def received(self, message: pb.Down) -> None:
        """A message came that is not the connection's own."""
        ...

    def lost(self, *, was_connected: bool) -> None:
        """The stream ended; another will be tried."""
        ...

    def died(self, error: HotloopError) -> None:
        """There will be no other stream."""
        ...


class Connection:
    """Keeps a stream to the agent of a way. Methods may be called from one event loop only.

    Attributes:
        hello: What each stream begins with; its owner may change what it asks for.
    """

    def __init__(self, way: Way, listener: Listener) -> None:
        self.hello = pb.Hello()
        self._way = way
        self._listener = listener
        self._epochs = itertools.count(time.time_ns())
        self._call: Any = None
        self._connected = asyncio.Event()
        self._fatal: HotloopError | None = None
        self._is_closed = False
        self._task: asyncio.Task[None] | None = None
        self._write_lock = asyncio.Lock()
        self._ping_numbers = itertools.count(1)
        self._pongs: dict[int, asyncio.Future[pb.Pong]] = {}

    @property
    def fatal(self) -> HotloopError | None:
        """Why there will be no other stream, if so."""
        return self._fatal

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._is_closed

    async def open(self, hello: pb.Hello) -> None:
        """Connect, and stay so until `close`.

        Raises:
            SessionTakenError: The agent is of another version and has sessions, or a newer client came meanwhile.
            RunnerError: The agent can't be reached.
        """
        self.hello = hello
        self._task = asyncio.create_task(self._stay_connected(), name="agent session")
        await self.until_connected()

    async def close(self) -> None:
        """Close the stream and try no other."""
        self._is_closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._fail_pings(LostError())

    async def ping(self) -> float:
        """Measure a round trip to the agent, seconds.

        Raises:
            LostError: The stream ended meanwhile.
        """
        await self.until_connected()
        started_s = time.monotonic()
        number = next(self._ping_numbers)
        future = self._pongs[number] = asyncio.get_running_loop().create_future()
        await self.send(pb.Up(ping=pb.Ping(number=number)))
        await future
        return time.monotonic() - started_s

    async def send(self, message: pb.Up) -> None:
        """Write one message.

        Raises:
            LostError: The stream ended.
        """
        call = self._call
        if call is None:
            raise LostError
        try:
            async with self._write_lock:  # gRPC allows one write at a time
                await _finish(call.write(message))
        except (grpc.RpcError, asyncio.InvalidStateError, grpc.aio.UsageError, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and _is_being_cancelled():
                raise
            if call is self._call:  # the reader has not found out yet: nobody is to try again before it has
                self._connected.clear()
            raise LostError from error

    async def until_connected(self) -> None:
        """Wait for a stream.

        Raises:
            RunnerError: There will be none.
        """
        await self._connected.wait()
        if self._fatal is not None:
            raise self._fatal
        if self._is_closed:
            msg = "The session is closed."
            raise RunnerError(msg)

    async def _stay_connected(self) -> None:
        failures = 0
        while True:
            try:
                await self._hold_stream()
                failures = 0
            except HotloopError as error:
                self._die(error)
                return
            except (grpc.RpcError, LostError, OSError, asyncio.InvalidStateError, grpc.aio.UsageError):
                failures = 0 if self._call is not None else failures + 1
            except asyncio.CancelledError:
                if self._is_closed or _is_being_cancelled():
                    raise
                failures = 0
            self._lose()
            if failures >= len(RETRY_S):
                self._die(RunnerError("The agent can't be reached.", hint="look at the agent's log, then start again"))
                return
            await asyncio.sleep(RETRY_S[failures])

    async def _hold_stream(self) -> None:
        address = await self._way.dial()
        async with grpc.aio.insecure_channel(address, options=codec.CHANNEL_OPTIONS) as channel:
            method = channel.stream_stream(
                codec.METHOD, request_serializer=pb.Up.SerializeToString, response_deserializer=pb.Down.FromString
            )
            call = method()
            self.hello.epoch = next(self._epochs)
            await call.write(pb.Up(hello=self.hello))
            first = await call.read()
            if not isinstance(first, pb.Down):
                raise LostError
            if first.WhichOneof("body") == "refused":
                self._refuse_stream(first.refused)
            self._listener.greeted(first.hello_ok)
            self._call = call
            self._connected.set()
            restart = asyncio.create_task(self._listener.resume(), name="resume")
            try:
                while isinstance(message := await call.read(), pb.Down):
                    self._take(message)
            finally:
                restart.cancel()
                call.cancel()

    @staticmethod
    def _refuse_stream(refused: pb.Refused) -> None:
        if refused.reason == pb.Refused.RETIRING:  # it ends; the next attempt starts an agent of this version
            raise LostError
        raise SessionTakenError(refused.message, hint=refused.hint)

    def _take(self, message: pb.Down) -> None:
        match message.WhichOneof("body"):
            case "refused" if message.refused.reason in (pb.Refused.STALE, pb.Refused.VERSION, pb.Refused.HELLO):
                self._refuse_stream(message.refused)
            case "pong":
                settle(self._pongs.pop(message.pong.number, None), message.pong)
            case _:
                self._listener.received(message)

    def _lose(self) -> None:
        was_connected = self._call is not None
        self._connected.clear()
        self._call = None
        self._fail_pings(LostError())
        self._listener.lost(was_connected=was_connected)

    def _die(self, error: HotloopError) -> None:
        self._fatal = error
        self._call = None
        self._connected.set()  # whoever waits finds out
        self._fail_pings(error)
        self._listener.died(error)

    def _fail_pings(self, error: Exception) -> None:
        fail(self._pongs.values(), error)
        self._pongs.clear()


async def _finish(write: Awaitable[None]) -> None:
    """Write to the end, also if whoever wants it is cancelled meanwhile: gRPC would end the whole stream."""
    writing = asyncio.ensure_future(write)
    try:
        await asyncio.shield(writing)
    except asyncio.CancelledError:
        await asyncio.wait([writing], timeout=WRITE_TIMEOUT_S)
        raise


def _is_being_cancelled() -> bool:
    """Whether this task is; if not, a cancellation is gRPC's own: the call was cancelled, not its caller."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


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
