"""One HTTP request and the answer to it. Knows the wire's spelling; parsing is the reader's."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from email.utils import formatdate
from enum import Enum
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

from hotloop.gpu_runtime.heads import Head

if TYPE_CHECKING:
    from hotloop.gpu_runtime.manners import Asked

Headers = Sequence[tuple[bytes, bytes]]

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_BODILESS = frozenset({204, 304})
_APART_FROM_BYTES = 64 * 1024  # a second write costs less than a copy of so much
_CHUNKED = b"transfer-encoding: chunked\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Wire(Protocol):
    """What an exchange needs of its connection."""

    @property
    def backlog_bytes(self) -> int:
        """Bytes that were written and that the client has not taken."""
        ...

    def write(self, data: bytes | memoryview) -> None:
        """Send bytes; never blocks."""
        ...

    def finished(self, request: Request) -> None:
        """Take note that the request's answer is complete."""
        ...

    def answer(self, request: Request, data: bytes) -> None:
        """Send an answer that is complete."""
        ...

    def abort(self) -> None:
        """Cut the connection at once."""
        ...


class Likeness:
    """What many answers have in common: status and headers, put together once.

    Attributes:
        status: As in HTTP.
        headers: Theirs.
        text: The same as it is sent, with the date; the first part of a head.

    Args:
        status: As in HTTP.
        usual: Headers that the next ones may have as well.
        more: Others.
    """

    __slots__ = ("headers", "status", "text")

    def __init__(self, status: int, usual: Headers, more: Headers) -> None:
        self.status = status
        self.headers = (*usual, *more)
        self.text = b"".join((_status_line(status), _written_once(usual), _written(more), date_field()))


class _State(Enum):
    WAITING = "waiting"
    STREAMING = "streaming"
    DONE = "done"


_WAITING, _DONE = _State.WAITING, _State.DONE  # a member of an enum is found slowly


class Request:
    """A whole request, and the way to answer it: `respond`, or `begin`, `write`..., `finish`.

    Every way to answer does nothing once the client is gone.

    Attributes:
        head: What came before the body.
        method: As sent, such as ``POST``.
        path: Percent-decoded, without the query.
        body: All of it, chunks joined.
        fields: Headers of its answer beside those that whoever answers gives.
        on_disconnect: Called once if the client goes before the answer is complete.
    """

    __slots__ = (
        "_is_chunked",
        "_state",
        "_wire",
        "body",
        "fields",
        "head",
        "is_http10",
        "keeps_alive",
        "method",
        "on_disconnect",
        "path",
    )
    ends_with_status = False

    def __init__(
        self,
        wire: Wire,
        head: Head,
        body: bytes | bytearray,
        *,
        keeps_alive: bool = True,
        is_http10: bool = False,
    ) -> None:
        self._wire: Wire | None = wire
        self._state = _WAITING
        self._is_chunked = False
        self.head = head
        self.method = head.method
        self.path = head.path
        self.body = body
        self.fields: Headers = ()
        self.keeps_alive = keeps_alive
        self.is_http10 = is_http10
        self.on_disconnect: Callable[[], None] | None = None

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.path} {self._state.value}>"

    @property
    def query(self) -> str:
        """As sent, without the question mark."""
        return self.head.query

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """In order; names in lower case."""
        return self.head.headers

    @property
    def asked(self) -> Asked | None:
        """What the headers ask of the queue, if that was found out; for all requests with the same."""
        return self.head.asked

    @asked.setter
    def asked(self, asked: Asked | None) -> None:
        self.head.asked = asked

    @property
    def is_gone(self) -> bool:
        """Whether the client went before the answer was complete."""
        return self._wire is None and self._state is not _State.DONE

    @property
    def backlog_bytes(self) -> int:
        """Bytes of answers that the client has not taken yet; a writer of a stream watches it."""
        return 0 if self._wire is None else self._wire.backlog_bytes

    def header(self, name: bytes, default: bytes = b"") -> bytes:
        """Give the first header of that name (in lower case)."""
        for key, value in self.head.headers:
            if key == name:
                return value
        return default

    def respond(self, status: int, headers: Headers = (), body: bytes | memoryview = b"", own: Headers = ()) -> None:
        """Answer at once.

        Args:
            status: As in HTTP.
            headers: The answer's; written once for all answers that have the same.
            body: All of it.
            own: Headers that hardly another answer has.
        """
        self._leave(_State.WAITING, _State.DONE)
        if self._wire is None:
            return
        framing = b"" if status in _BODILESS else b"content-length: %d\r\n" % len(body)
        head = self._head(status, headers, _written(own) + framing if own else framing)
        is_bodiless = self.method == "HEAD" or status in _BODILESS
        if is_bodiless or not body:
            self._wire.write(head)
        elif isinstance(body, bytes) and len(body) < _APART_FROM_BYTES:
            self._wire.write(head + body)
        else:
            self._wire.write(head)
            self._wire.write(body)
        self._done()

    def respond_like(self, likeness: Likeness, own: tuple[bytes, bytes], body: bytes | memoryview) -> None:
        """Answer at once, as many others are answered, save one header."""
        wire = self._wire
        is_usual = self.keeps_alive and not (self.is_http10 or self.fields) and len(body) < _APART_FROM_BYTES
        if wire is None or not is_usual or likeness.status in _BODILESS or self.method == "HEAD":
            self.respond(likeness.status, likeness.headers, body, (own,))
            return
        if self._state is not _WAITING:
            self._leave(_State.WAITING, _State.DONE)
        self._state = _DONE
        self._wire = None
        parts = (likeness.text, own[0], own[1], len(body), body)
        wire.answer(self, b"%b%b: %b\r\ncontent-length: %d\r\n\r\n%b" % parts)

    def begin(self, status: int, headers: Headers = ()) -> None:
        """Start a streamed answer."""
        self._leave(_State.WAITING, _State.STREAMING)
        if self._wire is None:
            return
        self._is_chunked = not self.is_http10
        self.keeps_alive = self.keeps_alive and self._is_chunked
        self._wire.write(self._head(status, headers, _CHUNKED if self._is_chunked else b""))

    def write(self, data: bytes) -> None:
        """Send a piece of a streamed answer."""
        self._leave(_State.STREAMING, _State.STREAMING)
        if self._wire is None or not data or self.method == "HEAD":
            return
        self._wire.write(b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked else data)

    def finish(self, trailers: Headers = ()) -> None:
        """Complete a streamed answer. Trailers are left out: clients of HTTP/1.1 don't look at them."""
        del trailers
        self._leave(_State.STREAMING, _State.DONE)
        if self._wire is None:
            return
        if self._is_chunked and self.method != "HEAD":
            self._wire.write(b"0\r\n\r\n")
        self._done()

    def abort(self, error: bytes = b"") -> None:
        """Cut the connection, so that the client knows that a streamed answer is not whole. It can't be told why."""
        del error
        self._state = _State.DONE
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.abort()

    def probe(self) -> None:
        """Send what changes nothing, where the answer's form has a place for it: a client that is gone resets it.

        Before an answer there may be any number of ``100 Continue``, and before a chunk's size any number of zeros.
        """
        if self._wire is None or self.is_http10:
            return
        if self._state is _State.WAITING:
            self._wire.write(CONTINUE)
        elif self._is_chunked and self.method != "HEAD":
            self._wire.write(b"0")

    def disconnect(self) -> None:
        """Take note that the client is gone (the connection calls this)."""
        self._wire = None
        callback, self.on_disconnect = self.on_disconnect, None
        if callback is not None and self._state is not _State.DONE:
            callback()

    def _leave(self, before: _State, after: _State) -> None:
        if self._state is not before:
            msg = f"an answer can't go on: {self!r}"
            raise RuntimeError(msg)
        self._state = after

    def _done(self) -> None:
        wire, self._wire = self._wire, None
        self.on_disconnect = None
        if wire is not None:
            wire.finished(self)

    def _head(self, status: int, headers: Headers, framing: bytes) -> bytes:
        line = _status_line(status)
        fields = _written_once(tuple(headers)) + (_written_once(tuple(self.fields)) if self.fields else b"")
        return b"".join((line, fields, framing, date_field(), self._connection_field(), b"\r\n"))

    def _connection_field(self) -> bytes:
        if not self.keeps_alive:
            return b"connection: close\r\n"
        return b"connection: keep-alive\r\n" if self.is_http10 else b""


def _status_line(status: int) -> bytes:
    return _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status


def _written(headers: Headers) -> bytes:
    fields = b"".join([b"%b: %b\r\n" % field for field in headers])
    if fields.count(b"\n") != len(headers) or fields.count(b"\r") != len(headers):
        msg = f"a header of the answer holds a line break: {fields!r}"
        raise ValueError(msg)
    return fields


_written_once = lru_cache(maxsize=64)(_written)  # the answers of a batch have the same, and errors have few


class _DateField:
    """The date header, made anew each second."""

    __slots__ = ("_made_at_s", "_text")

    def __init__(self) -> None:
        self._made_at_s = 0
        self._text = b""

    def __call__(self) -> bytes:
        now_s = int(time.time())
        if now_s != self._made_at_s:
            self._made_at_s = now_s
            self._text = f"date: {formatdate(now_s, usegmt=True)}\r\n".encode()
        return self._text


date_field = _DateField()
