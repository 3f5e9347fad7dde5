"""One keep-alive connection of the load generator: it sends a prepared request and tells when the answer is whole."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import httptools


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer.

    Attributes:
        status: The HTTP status; 0 if the connection broke before the answer was whole.
        sent_s: When its request was sent, by `time.perf_counter`.
        done_s: When it was whole.
    """

    status: int
    sent_s: float
    done_s: float
    body: bytes


class Client(asyncio.Protocol):
    """A connection with at most one request under way.

    Attributes:
        tag: The caller's: what the request under way is.
        is_open: Whether it can take another request.
    """

    def __init__(self, on_answer: Callable[[Client, Answer], None]) -> None:
        self.tag = 0
        self.is_open = False
        self._on_answer = on_answer
        self._parser = httptools.HttpResponseParser(self)
        self._parts: list[bytes] = []
        self._sent_s = 0.0
        self._is_busy = False
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection's other end."""
        self._transport = transport
        self.is_open = True

    def send(self, request: bytes, tag: int) -> None:
        """Send a whole request."""
        self.tag = tag
        self._is_busy = True
        self._sent_s = perf_counter()
        self._transport.write(request)

    def close(self) -> None:
        """Hang up."""
        self.is_open = False
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Read a piece of the answer; one that can't be read ends the connection."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.abort()

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the answer's body."""
        self._parts.append(body)

    def on_message_complete(self) -> None:
        """Hand the answer on."""
        self.is_open = self._parser.should_keep_alive()
        body = b"".join(self._parts)
        self._parts.clear()
        self._finish(self._parser.get_status_code(), body)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell of a request that got no whole answer."""
        self.is_open = False
        if self._is_busy:
            self._finish(0, b"")

    def _finish(self, status: int, body: bytes) -> None:
        self._is_busy = False
        self._on_answer(self, Answer(status, self._sent_s, perf_counter(), body))


def make_request(path: str, body: dict[str, Any], accept: str = "application/json") -> bytes:
    """Write a POST request with JSON."""
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: {accept}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content
