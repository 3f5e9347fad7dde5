"""One client's connection: bytes in, requests out, in order. Parsing is llhttp's (through httptools).

Requests of one connection are handled one after another, as HTTP/1.1 asks for those that are not safe to repeat; what
a client pipelines waits in a short backlog.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, cast
from urllib.parse import unquote

import httptools

from hotloop.gpu_runtime.exchange import Request

OnRequest = Callable[[Request], None]

MAX_PIPELINED = 16  # requests parsed ahead; the socket is not read while there are more
ONE_PIECE_FROM_BYTES = 256 * 1024  # a body of known length is gathered where it will stay: joining costs as much again
LINGER_S = 2.0  # how long a refused client's bytes are thrown away, so that it can read why


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client may do.

    Attributes:
        max_head_bytes: Request line and headers together; above it 431.
        max_body_bytes: Above it 413.
        head_timeout_s: From a request's first byte to the end of its headers; then 408.
        body_timeout_s: The longest pause within a body; then 408.
        idle_timeout_s: How long a connection may be open without a request.
        write_timeout_s: How long a client may take nothing of an answer; then it is cut off.
    """

    max_head_bytes: int = 64 * 1024
    max_body_bytes: int = 64 * 1024 * 1024
    head_timeout_s: float = 15.0
    body_timeout_s: float = 60.0
    idle_timeout_s: float = 75.0
    write_timeout_s: float = 60.0


class RefusedError(Exception):
    """A request that is not handed on: the answer to it, then the connection is closed."""

    def __init__(self, status: int, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.hint = hint


Refuse = Callable[[Request, RefusedError], None]


class Registry(Protocol):
    """Keeps the connections that are open."""

    def opened(self, connection: Connection) -> None:
        """Take note of a new one."""
        ...

    def closed(self, connection: Connection) -> None:
        """Take note that one is gone."""
        ...


class Connection(asyncio.Protocol):
    """Reads requests from one socket and hands them on one at a time.

    Args:
        on_request: Gets each whole request; answers it now or later.
        refuse: Answers what can't be handed on.
        limits: What the client may do.
        registry: Whoever keeps the connections that are open.
    """

    def __init__(self, on_request: OnRequest, refuse: Refuse, limits: Limits, registry: Registry) -> None:
        self._on_request = on_request
        self._refuse = refuse
        self._limits = limits
        self._registry = registry
        self._transport: asyncio.Transport = cast("Any", None)
        self._parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)
        self._active: Request | None = None
        self._backlog: deque[Request | RefusedError] = deque()
        self._is_advancing = False
        self._is_reading_paused = False
        self._is_writing_paused = False
        self._is_closing = False
        self._owes_continue = False
        self._is_refusing = False
        self._refused_at_s = 0.0
        self._clock = asyncio.get_running_loop().time
        self._quiet_since_s = self._clock()
        self._unsent_bytes = 0
        self._reset()

    # --- the transport's side ---------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start."""
        self._transport = cast("asyncio.Transport", transport)
        self._registry.opened(self)

    def data_received(self, data: bytes) -> None:
        """Parse what came, then hand on what is whole."""
        self._quiet_since_s = self._clock()
        is_within_head, headers = self._is_within_head, self._headers
        self._feed(data)
        if is_within_head and self._is_within_head and self._headers is headers:
            self._head_bytes += len(data)
            if self._head_bytes > self._limits.max_head_bytes:
                self._enqueue_refusal(self._head_too_large())
        if len(self._backlog) > MAX_PIPELINED:
            self._pause_reading()
        self._advance()

    def eof_received(self) -> bool:
        """Take a client that stops sending for one that is gone, as nginx does: that is how a disconnect looks."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever works on an answer."""
        self._registry.closed(self)
        self._is_closing = True
        self._parser = None
        self._backlog.clear()
        request, self._active = self._active, None
        if request is not None:
            request.disconnect()

    def pause_writing(self) -> None:
        """Start nothing new while the client takes nothing."""
        self._is_writing_paused = True
        self._unsent_bytes = self.backlog_bytes
        self._quiet_since_s = self._clock()

    def resume_writing(self) -> None:
        """Go on."""
        self._is_writing_paused = False
        self._advance()

    # --- the exchange's side ----------------------------------------------------------------------------------

    @property
    def backlog_bytes(self) -> int:
        """Bytes that were written and that the client has not taken."""
        return self._transport.get_write_buffer_size()

    def write(self, data: bytes | memoryview) -> None:
        """Send bytes; never blocks."""
        self._transport.write(data)

    def abort(self) -> None:
        """Cut the connection at once."""
        self._is_closing = True
        self._transport.abort()

    def finished(self, request: Request) -> None:
        """Go on with the next request, or close."""
        self._active = None
        self._quiet_since_s = self._clock()
        if self._is_refusing:
            self._linger()
        elif not request.keeps_alive or self._is_closing:
            self.close()
        else:
            self._advance()

    # --- the server's side ------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close once the answer under way, if any, is complete and sent."""
        self._is_closing = True
        if self._active is not None:
            self._active.keeps_alive = False
        elif not self._transport.is_closing() and not self._is_refusing:
            self._transport.close()

    def sweep(self, now_s: float) -> None:
        """Enforce the time limits; called now and then."""
        if self._is_reading_paused and not self._is_writing_paused:
            self._quiet_since_s = self._began_at_s = now_s  # it is we who wait
        quiet_s = now_s - self._quiet_since_s
        if self._is_writing_paused:
            self._sweep_writing(now_s, quiet_s)
        elif self._is_refusing and self._active is None:
            if now_s - self._refused_at_s > LINGER_S:
                self._transport.abort()
        elif self._is_within_head:
            if now_s - self._began_at_s > self._limits.head_timeout_s:
                self._enqueue_refusal(RefusedError(408, f"No whole headers in {self._limits.head_timeout_s:g} s."))
        elif self._is_within_body:
            if quiet_s > self._limits.body_timeout_s:
                self._enqueue_refusal(RefusedError(408, f"No more of the body in {self._limits.body_timeout_s:g} s."))
        elif self._active is None and quiet_s > self._limits.idle_timeout_s:
            self.close()
        self._advance()

    def _sweep_writing(self, now_s: float, quiet_s: float) -> None:
        unsent = self.backlog_bytes
        if unsent < self._unsent_bytes:
            self._quiet_since_s = now_s
        elif quiet_s > self._limits.write_timeout_s:
            self._transport.abort()
        self._unsent_bytes = unsent

    # --- the parser's side ------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Start a request."""
        self._reset()
        self._is_within_head = True
        self._began_at_s = self._clock()

    def on_url(self, url: bytes) -> None:
        """Take the target, which may come in pieces."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; trailers behind a chunked body are dropped."""
        if self._is_within_head:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Check what can be checked before the body comes."""
        self._is_within_head = False
        self._is_within_body = True
        self._check_version()
        if self._whole_head_bytes() > self._limits.max_head_bytes:
            raise self._head_too_large()
        for name, value in self._headers:
            if name == b"content-length":
                self._expect_body(int(value))
            elif name == b"expect":
                self._expect(value)
            elif name == b"content-encoding":
                _check_encoding(value)

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body."""
        self._owes_continue = False
        start = self._body_bytes
        self._body_bytes += len(data)
        self._check_body_size(self._body_bytes)
        if self._whole is None:
            self._pieces.append(data)
        else:
            self._whole[start : self._body_bytes] = data

    def on_message_complete(self) -> None:
        """Queue the whole request."""
        parser = self._parser
        if parser is None:
            return
        self._is_within_body = False
        path, query = split_target(self._target)
        request = Request(
            self,
            parser.get_method().decode("latin-1"),
            path,
            query,
            self._headers,
            self._body(),
            keeps_alive=parser.should_keep_alive() and not parser.should_upgrade(),
            is_http10=parser.get_http_version() == "1.0",
        )
        self._reset()
        self._backlog.append(request)
        if not request.keeps_alive:
            self._parser = None

    # --- inside -----------------------------------------------------------------------------------------------

    def _reset(self) -> None:
        self._is_within_head = False
        self._is_within_body = False
        self._began_at_s = 0.0
        self._head_bytes = 0
        self._body_bytes = 0
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._pieces: list[bytes] = []
        self._whole: bytearray | None = None

    def _feed(self, data: bytes) -> None:
        parser = self._parser
        if parser is None:
            return  # what comes behind the last request is thrown away
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._parser = None  # an upgrade is declined by answering plainly; what follows can't be told apart
        except httptools.HttpParserError as error:
            if self._parser is not None:
                cause = error.__context__
                refused = cause if isinstance(cause, RefusedError) else RefusedError(400, f"Not HTTP/1.1: {error}.")
                self._enqueue_refusal(refused)

    def _enqueue_refusal(self, refused: RefusedError) -> None:
        self._reset()
        self._parser = None
        self._owes_continue = False
        self._backlog.append(refused)

    def _head_too_large(self) -> RefusedError:
        limit = self._limits.max_head_bytes
        return RefusedError(431, f"The request's headers are larger than {limit} bytes.")

    def _whole_head_bytes(self) -> int:
        method = self._parser.get_method() if self._parser is not None else b""
        line = len(method) + len(self._target) + len("  HTTP/1.1\r\n")
        return line + sum([len(name) + len(value) + 4 for name, value in self._headers]) + 2

    def _check_version(self) -> None:
        version = self._parser.get_http_version() if self._parser is not None else ""
        if version not in {"1.1", "1.0"}:
            msg = f"The server speaks HTTP/1.1, not HTTP/{version}."
            raise RefusedError(505, msg)

    def _check_body_size(self, size: int) -> None:
        limit = self._limits.max_body_bytes
        if size > limit:
            msg = f"The request's body is larger than {limit} bytes."
            raise RefusedError(413, msg, "Send it in parts.")

    def _expect_body(self, size: int) -> None:
        self._check_body_size(size)
        if size >= ONE_PIECE_FROM_BYTES:
            self._whole = bytearray(size)  # costs no memory before something comes

    def _body(self) -> bytes | bytearray:
        if self._whole is not None:
            return self._whole
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)

    def _expect(self, value: bytes) -> None:
        if value.lower() != b"100-continue":
            msg = f"The server can't do what is expected: {value.decode('latin-1')!r}."
            raise RefusedError(417, msg)
        self._owes_continue = True

    def _advance(self) -> None:
        if self._is_advancing:
            return  # an answer given at once calls back in here; the loop below goes on
        self._is_advancing = True
        try:
            while self._backlog and self._can_start:
                self._start(self._backlog.popleft())
        finally:
            self._is_advancing = False
        if self._owes_continue and self._active is None and not self._is_closing:
            self._owes_continue = False
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self._is_reading_paused and len(self._backlog) <= MAX_PIPELINED // 2:
            self._is_reading_paused = False
            self._transport.resume_reading()

    @property
    def _can_start(self) -> bool:
        return self._active is None and not self._is_closing and not self._is_writing_paused

    def _start(self, item: Request | RefusedError) -> None:
        if isinstance(item, Request):
            self._active = item
            self._on_request(item)
            return
        self._is_refusing = True
        self._active = Request(self, "", "", "", [], b"", keeps_alive=False, is_http10=False)
        self._refuse(self._active, item)

    def _linger(self) -> None:
        """Say that this was all, but throw away what still comes: closing now would reset the answer unread."""
        self._is_closing = True
        self._refused_at_s = self._clock()
        if self._transport.can_write_eof() and not self._transport.is_closing():
            self._transport.write_eof()

    def _pause_reading(self) -> None:
        if not self._is_reading_paused and not self._transport.is_closing():
            self._is_reading_paused = True
            self._transport.pause_reading()


def _check_encoding(value: bytes) -> None:
    """Refuse a compressed body: a few bytes of it may stand for gigabytes."""
    if value.strip().lower() not in {b"", b"identity"}:
        msg = f"The request's body has Content-Encoding {value.decode('latin-1')[:40]!r}, which is not taken."
        raise RefusedError(415, msg, "Send it as it is, without Content-Encoding.")


def split_target(target: bytes) -> tuple[str, str]:
    """Split a request's target into its decoded path and its query as sent."""
    text = target.decode("utf-8", "replace")
    if not text.startswith("/") and "://" in text:
        text = "/" + text.split("://", 1)[1].partition("/")[2]
    path, _, query = text.partition("#")[0].partition("?")
    return (unquote(path) if "%" in path else path), query
