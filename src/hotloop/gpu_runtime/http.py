"""The HTTP/1.1 server: listens, sweeps away what takes too long, keeps room for newcomers, closes gracefully."""

from __future__ import annotations

import asyncio
import errno
import heapq
import resource
import socket

from hotloop.gpu_runtime.answers import RETRY_AFTER, error_body, json_fields
from hotloop.gpu_runtime.connection import Connection, OnRequest
from hotloop.gpu_runtime.exchange import Request
from hotloop.gpu_runtime.limits import Limits, RefusedError

BACKLOG = 1024
SPARE_FILES = 256  # of those a process may open: for workers, models, logs
MAX_TURNED_AWAY = 64  # who hear at a time that there is no room; more are cut off unheard
CUT_AT_ONCE_RATIO = 1 / 64  # looking for whom to cut goes through all of them, so it had better be worth it
MAX_PORT = 65_535
_REFUSALS = {
    400: "BadRequest",
    408: "Timeout",
    413: "BodyTooLarge",
    415: "EncodingNotTaken",
    417: "ExpectationFailed",
    431: "HeadersTooLarge",
    503: "TooManyConnections",
    505: "WrongVersion",
}


class Server:
    """A listening server.

    Attributes:
        address: Its URL, with the port that it got.
        port: The port that it got.
    """

    def __init__(self, host: str, port: int, limits: Limits, on_request: OnRequest) -> None:
        self.address = f"http://{_shown(host)}:{port}"
        self.port = port
        self._limits = limits
        self._on_request = on_request
        self._loop = asyncio.get_running_loop()
        self._connections: set[Connection] = set()
        self._is_empty = asyncio.Event()
        self._is_empty.set()
        self._listener: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._max_connections = min(limits.max_connections, _max_sockets())

    @property
    def num_connections(self) -> int:
        """How many clients are connected."""
        return len(self._connections)

    def stop_listening(self) -> None:
        """Close the port; who is connected stays so."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()

    async def finish(self, timeout_s: float) -> bool:
        """Stop listening, let answers under way finish; give whether all are gone after ``timeout_s``."""
        self.stop_listening()
        for connection in tuple(self._connections):
            connection.close()
        return await self._all_gone(timeout_s)

    async def close(self, timeout_s: float = 5.0) -> None:
        """`finish`, then cut what is left."""
        if not await self.finish(timeout_s):
            for connection in tuple(self._connections):
                connection.abort()
            await self._all_gone(1.0)
        if self._sweeper is not None:
            self._sweeper.cancel()

    async def _all_gone(self, timeout_s: float) -> bool:
        try:
            async with asyncio.timeout(timeout_s):
                await self._is_empty.wait()
        except TimeoutError:
            return False
        return True

    def opened(self, connection: Connection) -> None:
        """Take note of a new connection."""
        self._connections.add(connection)
        self._is_empty.clear()
        if len(self._connections) > self._max_connections:
            self._make_room(connection)

    def closed(self, connection: Connection) -> None:
        """Take note that a connection is gone."""
        self._connections.discard(connection)
        if not self._connections:
            self._is_empty.set()

    def _make_room(self, newcomer: Connection) -> None:
        """Cut off who has owed a request the longest, or turn the newcomer away if all are being answered."""
        dispensable = [known for known in self._connections if known.is_dispensable and known is not newcomer]
        count = 1 + int(self._max_connections * CUT_AT_ONCE_RATIO)
        for connection in heapq.nsmallest(count, dispensable, key=lambda known: known.waiting_since_s):
            self._connections.discard(connection)
            connection.abort()
        if dispensable:
            return
        if len(self._connections) > self._max_connections + MAX_TURNED_AWAY:
            newcomer.abort()
            return
        message = f"{self._max_connections} connections have requests that are being answered already."
        newcomer.turn_away(RefusedError(503, message, "Try again later, or share connections."))

    async def listen(self, sock: socket.socket) -> None:
        """Accept clients from now on."""
        self._listener = await self._loop.create_server(self._connect, sock=sock, backlog=BACKLOG)

    def _connect(self) -> Connection:
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(self._limits.sweep_every_s, self._sweep)
        return Connection(self._on_request, refuse, self._limits, self)

    def _sweep(self) -> None:
        now_s = self._loop.time()
        for connection in tuple(self._connections):
            connection.sweep(now_s)
        # An idle server has no timer at all: the next client starts it again.
        self._sweeper = self._loop.call_later(self._limits.sweep_every_s, self._sweep) if self._connections else None


async def serve(host: str, port: int, on_request: OnRequest, limits: Limits | None = None) -> Server:
    """Listen on an address and call ``on_request`` with every whole request.

    Args:
        host: A name or address; ``127.0.0.1`` keeps it on this machine.
        port: 0 takes any free one.
        on_request: Answers the request, now or later. It must not block.
        limits: What a client may do; `Limits`'s defaults if None.

    Raises:
        OSError: The port is in use (`errno.EADDRINUSE`), or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if not 0 <= port <= MAX_PORT:
        raise OSError(errno.EINVAL, f"{port} is no port: expected 0 to {MAX_PORT}")
    sock = socket.create_server((host, port), family=family, backlog=BACKLOG)
    sock.setblocking(False)
    server = Server(host, sock.getsockname()[1], limits or Limits(), on_request)
    await server.listen(sock)
    return server


def refuse(request: Request, refused: RefusedError) -> None:
    """Answer what could not be handed on."""
    kind = _REFUSALS.get(refused.status, "BadRequest")
    fields = json_fields(RETRY_AFTER) if refused.status == 503 else json_fields()
    request.respond(refused.status, fields, error_body(kind, refused.message, refused.hint))


def _max_sockets() -> int:
    """How many connections the process may have open; beyond that, it could open nothing else."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(limit - SPARE_FILES, limit // 2) if limit != resource.RLIM_INFINITY else 1 << 30


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
