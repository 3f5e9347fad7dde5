# pyright: basic
"""The gRPC server: its limits, its port, its services, its end. Basic type checks: grpc has no types.

It is grpc's asyncio server on the runtime's own loop. A thread of grpc's wakes that loop through a socket pair, which
works with uvloop as long as one loop of a process uses it: with more, the others read from an empty socket and log
BlockingIOError (grpc/grpc#25364). The runtime has one loop, and must keep it so.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from grpc_reflection.v1alpha import reflection

from hotloop.gpu_runtime.grpc_front import health, service
from hotloop.gpu_runtime.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Callable

    from hotloop.gpu_runtime.calls import Exchange, Generation

# Calls above either limit end without a reason that helps: the first burst on a connection comes before the client knows
# its limit, and grpc cancels some of those that nobody has read yet from its own 1000 on. The queues refuse earlier.
MAX_CALLS_PER_CONNECTION = 16_384
MAX_UNREAD_CALLS = 4 * MAX_CALLS_PER_CONNECTION
IDENTITY_ALONE = 1  # a compressed message is refused: grpc bounds it before it unpacks it, not after
PING_EVERY_S = 60.0
GRACE_S = 5.0  # of calls that are answered as the server closes
CLIENTS_MAY_PING_EVERY_S = 10.0
_GRPCS_LOG = "grpc._cython.cygrpc"


class GrpcServer:
    """A listening server.

    Attributes:
        address: What a client connects to, such as ``127.0.0.1:9000``.
        port: The port that it got.
    """

    def __init__(self, address: str, port: int, server: Any, watched: health.Health) -> None:
        self.address = address
        self.port = port
        self._server = server
        self._health = watched
        self._stopping: asyncio.Task[None] | None = None

    async def finish(self, timeout_s: float) -> None:
        """Take no more calls, let those under way finish within ``timeout_s``; what is left can still be answered."""
        self._health.close()
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._server.stop(timeout_s + GRACE_S))
        await asyncio.wait({self._stopping}, timeout=timeout_s)

    async def close(self, timeout_s: float = GRACE_S) -> None:
        """Take no more calls, let those under way finish, then cancel what is left after ``timeout_s``."""
        self._health.close()
        await self._server.stop(timeout_s)


async def serve(
    host: str,
    port: int,
    on_request: Callable[[Exchange], None],
    active: Callable[[], Generation | None],
    limits: Limits | None = None,
) -> GrpcServer:
    """Listen on an address and call ``on_request`` with every call.

    Args:
        host: A name or address; ``127.0.0.1`` keeps it on this machine. ``0.0.0.0`` stands for IPv6's as well.
        port: 0 takes any free one.
        on_request: Takes each request; answers it now or later. It must not block.
        active: Gives the generation that serves, None if there is none.
        limits: What a client may do; those of HTTP if None.

    Raises:
        OSError: The port is in use (`errno.EADDRINUSE`), or the address is not this machine's.
    """
    limits = limits or Limits()
    logging.getLogger(_GRPCS_LOG).addFilter(_can_be_logged)  # once: filters are compared before they are added
    server = grpc.aio.server(options=_options(limits))
    watched = health.Health(active)
    server.add_generic_rpc_handlers((service.Service(on_request, active, limits).handler(),))
    health.health_pb2_grpc.add_HealthServicer_to_server(watched, server)
    reflection.enable_server_reflection((service.NAME, health.NAME, reflection.SERVICE_NAME), server)
    port = _listen(server, host, port)
    await server.start()
    return GrpcServer(f"{_shown(host)}:{port}", port, server, watched)


def _can_be_logged(record: logging.LogRecord) -> bool:
    """Not what grpc says of metadata that is no UTF-8: it says its value, which may be a key, and could fill a disk."""
    return not str(record.msg).startswith("Invalid encoding on")


def _options(limits: Limits) -> tuple[tuple[str, int], ...]:
    return (
        ("grpc.so_reuseport", 0),  # else two servers share a port, and each gets some of the calls
        ("grpc.max_receive_message_length", limits.max_body_bytes + limits.max_head_bytes),
        ("grpc.max_metadata_size", limits.max_head_bytes),
        ("grpc.absolute_max_metadata_size", limits.max_head_bytes),
        ("grpc.compression_enabled_algorithms_bitset", IDENTITY_ALONE),
        ("grpc.max_concurrent_streams", MAX_CALLS_PER_CONNECTION),
        ("grpc.server.max_pending_requests", MAX_UNREAD_CALLS),
        ("grpc.server.max_pending_requests_hard_limit", 2 * MAX_UNREAD_CALLS),
        ("grpc.max_connection_idle_ms", _ms(limits.idle_timeout_s)),
        ("grpc.keepalive_time_ms", _ms(PING_EVERY_S)),
        ("grpc.keepalive_timeout_ms", _ms(limits.head_timeout_s)),
        ("grpc.http2.min_ping_interval_without_data_ms", _ms(CLIENTS_MAY_PING_EVERY_S)),
        ("grpc.keepalive_permit_without_calls", 1),
    )


def _ms(duration_s: float) -> int:
    return round(duration_s * 1000)


def _listen(server: Any, host: str, port: int) -> int:
    """Bind, by way of a socket of our own: grpc says that it failed, not why."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as probe:
        numeric = probe.getsockname()[0]
    try:
        return server.add_insecure_port(f"{_shown(numeric)}:{port}")
    except RuntimeError as error:  # taken since
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE)) from error


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
