# pyright: basic
"""The client's end of one gRPC stream: opened with a Hello, written to, read from, closed. Dials nothing.

Basic type checks: grpc has no types, and what protoc generates derives from untyped classes.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

import grpc

from hotloop.errors import RunnerError
from hotloop.remote_runner.offset import Sample
from hotloop.remote_runner.protocol import agent_pb2 as pb
from hotloop.remote_runner.protocol import codec

if TYPE_CHECKING:
    from collections.abc import Awaitable

WRITE_TIMEOUT_S = 1.0  # of a write that nobody wants any more, on a connection that takes nothing
BROKEN = (grpc.RpcError, OSError, asyncio.InvalidStateError, grpc.aio.UsageError)  # what a lost connection raises
_FINAL = (pb.Refused.STALE, pb.Refused.HELD, pb.Refused.VERSION, pb.Refused.HELLO)


class LostError(Exception):
    """The stream ended while something was waited for."""


class SessionTakenError(RunnerError):
    """Another client holds the session, or this client's version is not the agent's. Reconnecting does not help.

    Attributes:
        holder: Who holds it, ``user@host``; empty if it is not about that.
        holder_pid: That client's process on its machine.
    """

    def __init__(self, message: str, *, hint: str = "", holder: str = "", holder_pid: int = 0) -> None:
        super().__init__(message, hint=hint)
        self.holder = holder
        self.holder_pid = holder_pid


class Stream:
    """An open stream of a session, with the channel that it has for itself."""

    def __init__(self, address: str, method_path: str = codec.METHOD) -> None:
        self._channel = grpc.aio.insecure_channel(address, options=codec.CHANNEL_OPTIONS)
        method = self._channel.stream_stream(
            method_path, request_serializer=pb.Up.SerializeToString, response_deserializer=pb.Down.FromString
        )
        self._call: Any = method()
        self._write_lock = asyncio.Lock()
        self._writing: set[asyncio.Future[None]] = set()
        self.ok = pb.HelloOk()
        self.greeting = Sample(0.0, 0.0, 0.0)

    async def greet(self, hello: pb.Hello) -> None:
        """Say Hello and keep what the agent answers in `ok`, with both clocks in `greeting`.

        Raises:
            SessionTakenError: It refuses, and will again.
            LostError: The stream ended, or the agent ends for one of another version.
        """
        sent_s = time.monotonic()
        await self.write(pb.Up(hello=hello))
        first = await self.read()
        if first is None:
            raise LostError
        self.ok = first.hello_ok
        self.greeting = Sample(sent_s, self.ok.at_s, time.monotonic())

    async def write(self, message: pb.Up) -> None:
        """Write one message.

        Raises:
            LostError: The stream ended.
        """
        try:
            async with self._write_lock:  # gRPC allows one write at a time
                await self._finish(self._call.write(message))
        except (*BROKEN, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and _is_being_cancelled():
                raise
            raise LostError from error

    async def read(self) -> pb.Down | None:
        """Give the next message; None at the end.

        Raises:
            SessionTakenError: The agent refuses this client for good.
            LostError: The stream broke.
        """
        try:
            message = await self._call.read()
        except (*BROKEN, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and _is_being_cancelled():
                raise
            raise LostError from error
        if not isinstance(message, pb.Down):
            return None
        if message.WhichOneof("body") == "refused":
            _check(message.refused)
        return message

    async def close(self) -> None:
        """End the stream and its channel at once."""
        self._call.cancel()
        for writing in self._writing:
            writing.cancel()
        await asyncio.gather(*self._writing, return_exceptions=True)
        await self._channel.close()

    async def _finish(self, write: Awaitable[None]) -> None:
        """Write to the end, also if whoever wants it is cancelled meanwhile: gRPC would end the whole stream."""
        writing = asyncio.ensure_future(write)
        self._writing.add(writing)
        writing.add_done_callback(self._written)
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            await asyncio.wait([writing], timeout=WRITE_TIMEOUT_S)
            raise

    def _written(self, writing: asyncio.Future[None]) -> None:
        self._writing.discard(writing)
        if not writing.cancelled():
            writing.exception()  # seen: whoever wanted it may be gone


def _check(refused: pb.Refused) -> None:
    if refused.reason == pb.Refused.RETIRING:  # it ends; the next attempt starts an agent of this version
        raise LostError
    if refused.reason in _FINAL:
        raise SessionTakenError(
            _told(refused), hint=refused.hint, holder=refused.holder.who, holder_pid=refused.holder.pid
        )


def _told(refused: pb.Refused) -> str:
    """Say who has the session and since when, on this machine's clock: the runner's may be of another zone."""
    holder = refused.holder
    if not holder.who:
        return refused.message
    since = time.strftime("%H:%M:%S", time.localtime(time.time() - holder.held_s))
    return f"{refused.message} It is held by {holder.who} (pid {holder.pid}) since {since}."


def _is_being_cancelled() -> bool:
    """Whether this task is; if not, a cancellation is gRPC's own: the call was cancelled, not its caller."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
