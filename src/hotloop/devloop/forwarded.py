# pyright: basic
"""One client's connection to a forwarded port: its bytes to the runner and back, or why that can't be.

Basic type checks: what protoc generates derives from untyped classes.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from hotloop.errors import RunnerError
from hotloop.remote_runner.calls import Call
from hotloop.remote_runner.protocol import agent_pb2 as pb
from hotloop.remote_runner.pump import BLOCK_BYTES, BrokenError, carry, reset

LINGER_S = 2.0  # a client that still sends would take a close for a reset, and not read why
_HTTP2_BEGINS = b"PRI * HTTP/2"
_REASONS = {502: "Bad Gateway", 503: "Service Unavailable"}


@dataclass(eq=False, slots=True)
class Port:
    """A port that clients connect to.

    Attributes:
        number: Of this machine.
        target: The runtime's own, on the runner; 0 while it is not known.
    """

    listener: socket.socket
    host: str
    number: int
    is_http: bool
    target: int = 0

    @property
    def address(self) -> str:
        """What a client is given: a URL for HTTP, host and port for gRPC."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'http://' if self.is_http else ''}{host}:{self.number}"


# Gives a port's target on the runner, and a call that goes there.
Reach = Callable[[Port, contextlib.AsyncExitStack], Awaitable[tuple[int, Call]]]


class Connection:
    """One client's connection, from its first bytes on."""

    def __init__(self, reach: Reach, project_id: str, port: Port, sock: socket.socket, first: bytes) -> None:
        """Take it over; the socket stays its owner's to close.

        Args:
            reach: Gives what to call, as long as the stack is open.
            project_id: Whose runtime it is for.
            port: Where the client connected.
            sock: The client's.
            first: What the client sent first; empty if it sends nothing.
        """
        self._reach = reach
        self._project_id = project_id
        self._port = port
        self._sock = sock
        self._first = first
        self._has_answer = False

    async def run(self) -> None:
        """Carry it to its end; what can't be is told, or ends with a reset.

        Raises:
            OSError: This side's client broke it.
        """
        try:
            async with contextlib.AsyncExitStack() as stack:
                target, call = await self._reach(self._port, stack)
                await self._carry(target, call)
        except (RunnerError, _NotSentError) as error:
            await self._refuse(503, "RunnerOffline", str(error))
        except _BrokenThereError as error:
            await self._refuse(502, "AnswerLost", f"{error} The request may have run.")

    async def _carry(self, target: int, call: Call) -> None:
        async def read() -> Any | None:
            message = await call.read()
            if message is not None and message.error and message.port:
                raise _NotSentError(message.error)
            self._has_answer |= message is not None and bool(message.data)
            return message

        async def write(message: Any) -> None:
            await call.write(message)
            if message.is_end:
                await call.done_writing()

        is_ended = not self._first
        opening = pb.TunnelData(project_id=self._project_id, port=target, data=self._first, is_end=is_ended)
        try:
            await write(opening)
            await carry(self._sock, read, write, is_ended=is_ended)
        except RunnerError as error:
            raise _BrokenThereError(error.message) from error
        except BrokenError as error:
            raise _BrokenThereError(str(error)) from error

    async def _refuse(self, status: int, kind: str, message: str) -> None:
        if self._has_answer or not self._port.is_http or self._first.startswith(_HTTP2_BEGINS):
            reset(self._sock)
            return
        # Of the front's modules, which a client needs for nothing else.
        from hotloop.gpu_runtime.answers import error_body

        body = error_body(kind, message, "dev serve connects again by itself; try again when it says so")
        head = (
            f"HTTP/1.1 {status} {_REASONS[status]}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
            "retry-after: 1\r\nconnection: close\r\n\r\n"
        )
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self._sock, head.encode() + body)
        self._sock.shutdown(socket.SHUT_WR)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                while await loop.sock_recv(self._sock, BLOCK_BYTES):
                    pass


class _NotSentError(Exception):
    """The agent could not connect to what serves."""


class _BrokenThereError(Exception):
    """The connection was lost after the request was sent."""
