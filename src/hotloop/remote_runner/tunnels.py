# pyright: basic
"""The agent's end of forwarded connections: only to what a session's own runtime serves. Basic: grpc has no types."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING, Any

import grpc

from hotloop.remote_runner.lingering import until_left
from hotloop.remote_runner.protocol import agent_pb2 as pb
from hotloop.remote_runner.pump import BrokenError, carry, hurry, reset

if TYPE_CHECKING:
    from collections.abc import Callable

CONNECT_TIMEOUT_S = 10.0
HOST = "127.0.0.1"


def make_tunnel(ports_of: Callable[[str], frozenset[int]]) -> Any:
    """Make the handler of `Tunnel`.

    Args:
        ports_of: Gives the ports that a project's runtime listens on now.
    """

    async def tunnel(_: Any, context: Any) -> None:
        first = await context.read()
        if not isinstance(first, pb.TunnelData):
            return
        try:
            sock = await _connect(first, ports_of(first.project_id))
        except OSError as error:
            await context.write(pb.TunnelData(port=first.port, error=str(error)))
            await until_left(context)
            return
        try:
            await _serve(sock, first, context)
        except (BrokenError, OSError) as error:
            reset(sock)
            await context.write(pb.TunnelData(error=f"The app's side broke the connection: {error}."))
            await until_left(context)
        except BaseException:  # the client is gone, or the agent ends
            reset(sock)
            raise
        finally:
            sock.close()

    return grpc.stream_stream_rpc_method_handler(
        tunnel, request_deserializer=pb.TunnelData.FromString, response_serializer=pb.TunnelData.SerializeToString
    )


async def _connect(first: pb.TunnelData, ports: frozenset[int]) -> socket.socket:
    if first.port not in ports:
        msg = f"This session's app does not listen on port {first.port}."
        raise OSError(msg)
    sock = socket.socket()
    sock.setblocking(False)
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            await asyncio.get_running_loop().sock_connect(sock, (HOST, first.port))
    except OSError as error:
        sock.close()
        why = os.strerror(error.errno) if error.errno else f"no answer in {CONNECT_TIMEOUT_S:.0f} s"
        msg = f"The app's port {first.port} can't be reached: {why}."
        raise OSError(msg) from error
    except BaseException:
        sock.close()
        raise
    hurry(sock)
    return sock


async def _serve(sock: socket.socket, first: pb.TunnelData, context: Any) -> None:
    waiting = [first]

    async def read() -> Any | None:
        if waiting:
            return waiting.pop()
        message = await context.read()
        return message if isinstance(message, pb.TunnelData) else None

    await carry(sock, read, context.write)
