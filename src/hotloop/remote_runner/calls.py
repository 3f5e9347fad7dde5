# pyright: basic
"""A client's call to an agent with messages each way, whose end is told in our own errors. Basic: grpc has no types."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc

from hotloop.errors import RunnerError
from hotloop.remote_runner.protocol import codec

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from hotloop.remote_runner.channels import Channels

_ENDS = (grpc.RpcError, asyncio.InvalidStateError, grpc.aio.UsageError, asyncio.CancelledError)


class CallLostError(RunnerError):
    """The connection ended before the call did."""


class Call:
    """One call. One task may write while another reads."""

    def __init__(self, runner: str, call: Any, down: type[Any]) -> None:
        self._runner = runner
        self._call = call
        self._down = down

    async def write(self, message: Any) -> None:
        """Send a message; returns when the connection takes more.

        Raises:
            CallLostError: The connection ended, or the agent ended the call.
            RunnerError: The agent knows no such call.
        """
        try:
            await self._call.write(message)
        except _ENDS as error:
            raise self._translated(error) from error

    async def read(self) -> Any | None:
        """Wait for a message; None after the last one. Raises as `write`."""
        try:
            message = await self._call.read()
        except _ENDS as error:
            raise self._translated(error) from error
        return message if isinstance(message, self._down) else None

    async def done_writing(self) -> None:
        """Say that no more will be sent. Raises as `write`."""
        try:
            await self._call.done_writing()
        except _ENDS as error:
            raise self._translated(error) from error

    def _translated(self, error: BaseException) -> BaseException:
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            return error  # not gRPC's own, which has the same type
        if isinstance(error, grpc.aio.AioRpcError) and error.code() is grpc.StatusCode.NOT_FOUND:
            return RunnerError(error.details() or "not found", hint="dev serve first")
        if isinstance(error, grpc.aio.AioRpcError) and error.code() is grpc.StatusCode.UNIMPLEMENTED:
            msg = f"The agent on {self._runner} is of another hotloop, which can't do this."
            return RunnerError(msg, hint="end its sessions: an agent of this version takes its place")
        return CallLostError(f"The connection to {self._runner} was lost.")


@asynccontextmanager
async def open_call(channels: Channels, lane: int, method: str, up: type[Any], down: type[Any]) -> AsyncGenerator[Call]:
    """Begin a call; it ends with the block, whatever is under way.

    Args:
        channels: Of the runner.
        lane: Which of them.
        method: The call's name in the protocol, such as ``Tunnel``.
        up: The messages that are sent.
        down: The messages that come.

    Raises:
        RunnerError: The runner can't be reached.
    """
    async with channels.channel(lane) as channel:
        path = f"/{codec.SERVICE}/{method}"
        make = channel.stream_stream(
            path, request_serializer=up.SerializeToString, response_deserializer=down.FromString
        )
        call = make()
        try:
            yield Call(channels.runner, call, down)
        finally:
            call.cancel()
