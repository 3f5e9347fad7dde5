# pyright: basic
"""A TCP connection's bytes as messages and back, both ways at once. Basic: what protoc generates has untyped bases.

Neither way has a queue: the next bytes are read when the last ones were taken, so a slow reader slows its sender. Plain
sockets, not asyncio's streams: those drop what was read when a reset comes after it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import TYPE_CHECKING, Any

from hotloop.remote_runner.protocol import agent_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

BLOCK_BYTES = 64 << 10


class BrokenError(Exception):
    """The other side said that the connection broke there, and how."""


async def carry(
    sock: socket.socket,
    read: Callable[[], Awaitable[Any]],
    write: Callable[[Any], Awaitable[None]],
    *,
    is_ended: bool = False,
) -> None:
    """Carry bytes until both sides sent their last, each at its own time.

    Args:
        sock: Not blocking; stays open.
        read: Gives the next `TunnelData`; None if there are no more.
        write: Sends one.
        is_ended: What the socket's peer sent is through already, its end included.

    Raises:
        OSError: The socket's peer broke the connection.
        BrokenError: The other side did.
        Exception: What ``read`` and ``write`` raise.
    """
    ways = [asyncio.ensure_future(_to_socket(sock, read))]
    if not is_ended:
        ways.append(asyncio.ensure_future(_from_socket(sock, write)))
    try:
        await asyncio.gather(*ways)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _from_socket(sock: socket.socket, write: Callable[[Any], Awaitable[None]]) -> None:
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(sock, BLOCK_BYTES):
        await write(pb.TunnelData(data=data))
    await write(pb.TunnelData(is_end=True))


async def _to_socket(sock: socket.socket, read: Callable[[], Awaitable[Any]]) -> None:
    loop = asyncio.get_running_loop()
    is_ended = False
    while (message := await read()) is not None:
        if message.data:
            await loop.sock_sendall(sock, message.data)
        if message.error:
            raise BrokenError(message.error)
        if message.is_end:
            is_ended = True
            sock.shutdown(socket.SHUT_WR)
    if not is_ended:
        msg = "The other side ended too early."
        raise BrokenError(msg)


def reset(sock: socket.socket) -> None:
    """Close a socket such that its peer can't take what it got for the whole."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def hurry(sock: socket.socket) -> None:
    """Send small pieces at once."""
    with contextlib.suppress(OSError):  # a Unix socket has no such option
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
