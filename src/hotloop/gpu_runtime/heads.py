"""The first parts of requests that were read before: a client sends the same one with nearly every request.

What the parser made of bytes it makes of the same bytes again, so it need not look at them twice. Parsing takes half of
the time in which a small request is handed on.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from hotloop.gpu_runtime.limits import Limits

if TYPE_CHECKING:
    from hotloop.gpu_runtime.manners import Asked

MAX_HEADS = 1024  # each length of a body makes another
MAX_BYTES = 2048  # of one of them


class Head:
    """What the first part of a request says. Requests share it, so nobody may change it.

    Attributes:
        method: As sent, such as ``POST``.
        path: Percent-decoded, without the query.
        query: As sent, without the question mark.
        headers: In order; names in lower case.
        origin: Of the page that a browser sends it for; empty if none says so.
        asked: What they ask of the queue, once somebody found that out.
    """

    __slots__ = ("asked", "headers", "method", "origin", "path", "query")

    def __init__(self, method: str, path: str, query: str, headers: list[tuple[bytes, bytes]]) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.origin = next((value for name, value in headers if name == b"origin"), b"")
        self.asked: Asked | None = None


class Heads:
    """Keeps the heads of whole requests that were handed on, with the length of the body behind each.

    Only those that leave no question open: nothing has to be answered before the body, or closed after it.
    """

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[Head, int]] = {}

    def find(self, data: bytes) -> tuple[Head, bytes] | None:
        """Give head and body if these bytes are one whole request and its head is known."""
        end = data.find(b"\r\n\r\n", 0, MAX_BYTES) + 4
        known = self._known.get(data[:end])
        return (known[0], data[end:]) if known is not None and end + known[1] == len(data) else None

    def keep(self, data: bytes, head: Head, body_bytes: int) -> None:
        """Remember the head of a request that came whole, alone, and in these bytes."""
        end = data.find(b"\r\n\r\n", 0, MAX_BYTES) + 4
        if end < 4 or end + body_bytes != len(data):
            return  # chunks, or something around it
        if len(self._known) >= MAX_HEADS:
            self._known.clear()
        self._known[data[:end]] = (head, body_bytes)


@lru_cache(maxsize=8)
def known_under(_limits: Limits) -> Heads:
    """Give those that were read under the same limits, whoever sent them."""
    return Heads()
