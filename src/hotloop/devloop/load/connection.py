"""One connection of a load generator: a request out, an answer in, and what its headers say. Parsing is llhttp's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol, cast

import httptools

if TYPE_CHECKING:
    from hotloop.gpu_runtime.user_env.client.address import Address

QUEUE_MS = b"x-hotloop-queue-ms"
COMPUTE_MS = b"x-hotloop-compute-ms"
BATCH_SIZE = b"x-hotloop-batch-size"
_FIELDS = frozenset({QUEUE_MS, COMPUTE_MS, BATCH_SIZE})


class Loop(Protocol):
    """Whoever sends requests on connections."""

    def answered(self, connection: Connection) -> None:
        """Take note of a whole answer."""
        ...

    def lost(self, connection: Connection, why: str) -> None:
        """Take note that a connection is gone."""
        ...


class Connection(asyncio.Protocol):
    """Carries one request at a time.

    Attributes:
        due_s: When the request under way was due; of an idle one, of the last.
        is_busy: Whether a request is under way.
        status: Of the last answer.
        fields: The server's measurements in the last answer.
        keeps_alive: Whether the connection can be used after the last answer.
    """

    def __init__(self, loop: Loop) -> None:
        self.due_s = 0.0
        self.is_busy = False
        self.status = 0
        self.fields: dict[bytes, bytes] = {}
        self.keeps_alive = True
        self._loop = loop
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport = cast("Any", None)

    def send(self, data: bytes, due_s: float) -> None:
        """Send a request."""
        self.due_s = due_s
        self.is_busy = True
        self._transport.write(data)

    def close(self) -> None:
        """Close at once."""
        self._transport.abort()

    # --- the transport's side -----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._transport.abort()
            self._loop.lost(self, "no HTTP answer")

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell that it is gone."""
        self._loop.lost(self, "connection reset" if exc is not None else "connection closed")

    # --- the parser's side --------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Start an answer."""
        self.fields = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep what the server measured."""
        name = name.lower()
        if name in _FIELDS:
            self.fields[name] = value

    def on_message_complete(self) -> None:
        """Tell of the answer."""
        self.status = self._parser.get_status_code()
        if self.status < 200:  # something comes before the answer
            return
        self.keeps_alive = self._parser.should_keep_alive()
        self.is_busy = False
        self._loop.answered(self)


async def connect(loop: Loop, address: Address, timeout_s: float) -> Connection:
    """Open a connection.

    Raises:
        OSError: The server can't be reached; `TimeoutError` is one.
    """
    context = None
    if address.is_tls:
        import ssl

        context = ssl.create_default_context()
    running = asyncio.get_running_loop()
    async with asyncio.timeout(timeout_s):
        _, connection = await running.create_connection(
            lambda: Connection(loop), address.host, address.port, ssl=context,
            server_hostname=address.host if context else None,
        )  # fmt: skip
    return connection
