"""A call and the way to answer it, as the dispatcher has it: it writes and never waits; the service takes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from hotloop.gpu_runtime.answers import error_body, json_fields
from hotloop.gpu_runtime.exchange import Headers, Likeness
from hotloop.gpu_runtime.grpc_front.target import Target
from hotloop.gpu_runtime.manners import Asked

PIECE_BYTES = 1 << 20  # a client takes 4 MiB in a message unless it was told otherwise


class CallExchange:
    """One call's request and answer.

    Args:
        target: What it is for.
        headers: Its metadata as headers, and what the request says of its body.
        body: The request's.

    Attributes:
        status: As in HTTP; 0 until the answer begins.
        answer_headers: Of the answer, those that came with its end included.
        error: Why the answer broke off, as a JSON body; empty while it is whole.
    """

    ends_with_status = True

    def __init__(self, target: Target, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        self._target = target
        self.headers = headers
        self.body = body
        self.on_disconnect: Callable[[], None] | None = None
        self.asked: Asked | None = None
        self.status = 0
        self.answer_headers: Headers = ()
        self.error = b""
        self.backlog_bytes = 0
        self._pieces: deque[bytes | memoryview] = deque()
        self._is_complete = False
        self._news = asyncio.Event()

    @property
    def method(self) -> str:
        """As in HTTP."""
        return self._target.method

    @property
    def path(self) -> str:
        """The endpoint's."""
        return self._target.path

    @property
    def query(self) -> str:
        """Without the question mark."""
        return self._target.query

    def header(self, name: bytes, default: bytes = b"") -> bytes:
        """Give the first header of that name (in lower case)."""
        return next((value for key, value in self.headers if key == name), default)

    # --- the dispatcher's side ----------------------------------------------------------------------------------

    def respond(self, status: int, headers: Headers = (), body: bytes | memoryview = b"", own: Headers = ()) -> None:
        """Answer at once."""
        self.begin(status, (*headers, *own))
        self.write(bytes(body))  # of bytes it is no copy, and a message can't be made of a view
        self.finish()

    def respond_like(self, likeness: Likeness, own: tuple[bytes, bytes], body: bytes | memoryview) -> None:
        """Answer at once, as many others are answered, save one header."""
        self.respond(likeness.status, likeness.headers, body, (own,))

    def begin(self, status: int, headers: Headers = ()) -> None:
        """Start the answer."""
        self.status = status
        self.answer_headers = headers
        self._news.set()

    def write(self, data: bytes | memoryview) -> None:
        """Add a piece."""
        if data and not self._is_complete:
            self._pieces.append(data)
            self.backlog_bytes += len(data)
            self._news.set()

    def finish(self, trailers: Headers = ()) -> None:
        """Complete the answer."""
        self.answer_headers = (*self.answer_headers, *trailers)
        self._complete()

    def abort(self, error: bytes = b"") -> None:
        """Complete the answer as one that broke off."""
        self.error = error or error_body("StreamBroken", "The answer broke off before its end.")
        if self.backlog_bytes > PIECE_BYTES:
            self._drop()  # the client did not take it in time, which may be why
        if not self.status:
            self.begin(502, json_fields())
        self._complete()

    def _complete(self) -> None:
        self._is_complete = True
        self.on_disconnect = None
        self._news.set()

    def _drop(self) -> None:
        self._pieces.clear()
        self.backlog_bytes = 0

    # --- the service's side -------------------------------------------------------------------------------------

    def disconnect(self) -> None:
        """Take note that the client is gone, unless the answer is complete."""
        callback, self.on_disconnect = self.on_disconnect, None
        is_unanswered, self._is_complete = not self._is_complete, True
        self._drop()
        if callback is not None and is_unanswered:
            callback()

    async def begun(self) -> None:
        """Wait until the answer begins."""
        while not self.status:
            await self._next()

    async def take(self, max_bytes: int = PIECE_BYTES) -> bytes:
        """Take what there is of the answer, or wait for it; empty at its end."""
        while not self._pieces and not self._is_complete:
            await self._next()
        taken: list[bytes | memoryview] = []
        room = max_bytes
        while self._pieces and room:
            piece = self._pieces.popleft()
            if len(piece) > room:
                rest = memoryview(piece)
                piece = rest[:room]
                self._pieces.appendleft(rest[room:])
            taken.append(piece)
            room -= len(piece)
        self.backlog_bytes -= max_bytes - room
        return b"".join(taken)

    async def whole(self) -> bytes:
        """Wait for the end of the answer, and take all of it."""
        while not self._is_complete:
            await self._next()
        return await self.take(self.backlog_bytes)

    async def _next(self) -> None:
        self._news.clear()
        await self._news.wait()
