"""Bytes in, requests out, for one connection. Parsing is llhttp's (through httptools); it knows no socket and no clock."""

from __future__ import annotations

from collections import deque

import httptools

from hotloop.gpu_runtime import head
from hotloop.gpu_runtime.exchange import Request, Wire
from hotloop.gpu_runtime.heads import Head, known_under
from hotloop.gpu_runtime.limits import Limits, RefusedError
from hotloop.gpu_runtime.pace import Pace

ONE_PIECE_FROM_BYTES = 256 * 1024  # larger bodies grow where they will stay: joining costs as much again
SMALL_BYTES = 4096  # pieces of a body below that are put together: each alone would cost memory many times its size
MAX_OVERHEAD_RATIO = 16  # bytes around a byte of body: the smallest chunk has 5, and some clients pad


class RequestReader:
    """Makes requests of what a client sends.

    Args:
        wire: Where the requests are answered.
        limits: What the client may send.

    Attributes:
        backlog: What came and was not taken yet: whole requests, and last what had to be refused.
        backlog_bytes: The bodies in it.
        owes_continue: Whether the client waits for ``100 Continue``.
    """

    def __init__(self, wire: Wire, limits: Limits) -> None:
        self.backlog: deque[Request | RefusedError] = deque()
        self.backlog_bytes = 0
        self.owes_continue = False
        self._wire = wire
        self._limits = limits
        self._heads = known_under(limits)
        self._parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)
        self._pace = Pace(limits.body_timeout_s, limits.min_body_bytes_by_s)
        self._now_s = 0.0
        self._method = b""
        self._version = ""
        self._reset()

    @property
    def is_within_message(self) -> bool:
        """Whether part of a request came, and not all of it."""
        return self._is_within_head or self._is_within_body

    @property
    def began_at_s(self) -> float:
        """When the request that is not whole yet began."""
        return self._began_at_s

    def feed(self, data: bytes, now_s: float) -> None:
        """Take bytes; what is whole then is in the backlog."""
        parser = self._parser
        if parser is None:
            return  # what comes behind the last request is thrown away
        is_fresh = not (self._is_within_head or self._is_within_body)
        if is_fresh and (found := self._heads.find(data)) is not None:
            self.backlog.append(Request(self._wire, *found))
            self.backlog_bytes += len(found[1])
            return
        self._now_s = now_s
        num_known, headers, was_within_body = len(self.backlog), self._headers, self._is_within_body
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._parser = None  # an upgrade is declined by answering plainly; what follows can't be told apart
        except httptools.HttpParserError as error:
            self._fail(error)
        if self._is_within_head or self._is_within_body:
            self._measure(len(data), is_new=headers is not self._headers, is_body=was_within_body)
        elif is_fresh and len(self.backlog) == num_known + 1:
            self._remember(data, self.backlog[-1])

    def take(self, data: bytes) -> Request | None:
        """Give the request that bytes are, if nothing else waits and a request with the same head was read before."""
        if self.backlog or self._is_within_head or self._is_within_body or self._parser is None:
            return None
        found = self._heads.find(data)
        return None if found is None else Request(self._wire, *found)

    def refuse(self, refused: RefusedError) -> None:
        """Read nothing more; the refusal comes behind the requests that were whole."""
        self._reset()
        self.stop()
        self.backlog.append(refused)

    def stop(self) -> None:
        """Read nothing more."""
        self._parser = None
        self.owes_continue = False

    def end(self) -> None:
        """Take note that the client sends nothing more."""
        if self.is_within_message:
            self.refuse(RefusedError(400, "The request ends before it is whole."))
        self.stop()

    def excuse(self, now_s: float) -> None:
        """Take note that the socket was not read until now."""
        self._began_at_s = now_s
        self._pace.excuse(now_s)

    def check_pace(self, now_s: float) -> None:
        """Refuse a request that takes too long to come."""
        limits = self._limits
        if self._is_within_head and now_s - self._began_at_s > limits.head_timeout_s:
            self.refuse(RefusedError(408, f"No whole headers in {limits.head_timeout_s:g} s."))
        elif self._is_within_body and self._pace.is_too_slow(now_s):
            least = f"{limits.min_body_bytes_by_s} bytes a second"
            self.refuse(
                RefusedError(408, f"The body pauses for {limits.body_timeout_s:g} s, or has less than {least}.")
            )

    # --- the parser's side ------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Start a request."""
        self._is_within_head = True
        self._began_at_s = self._now_s

    def on_url(self, url: bytes) -> None:
        """Take the target, which may come in pieces."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; trailers behind a chunked body are dropped."""
        if self._is_within_head:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Check what can be checked before the body comes."""
        parser = self._parser
        if parser is None:
            return
        self._is_within_head = False
        self._is_within_body = True
        self._method, self._version = parser.get_method(), parser.get_http_version()
        self.owes_continue = head.check_head(self._method, self._target, self._version, self._headers, self._limits)

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body."""
        self.owes_continue = False
        self._body_bytes += len(data)
        head.check_body_size(self._body_bytes, self._limits)
        pieces = self._pieces
        if pieces and isinstance(pieces[-1], bytearray):
            pieces[-1] += data
        elif self._body_bytes >= ONE_PIECE_FROM_BYTES:
            self._pieces = [bytearray(b"".join((*pieces, data)))]
        elif not pieces or len(data) >= SMALL_BYTES:
            pieces.append(data)
        else:
            pieces.append(bytearray(data))

    def on_message_complete(self) -> None:
        """Queue the whole request."""
        parser = self._parser
        if parser is None:
            return
        pieces = self._pieces
        path, query = head.split_target(self._target)
        request = Request(
            self._wire,
            Head(self._method.decode("latin-1"), path, query, self._headers),
            pieces[0] if len(pieces) == 1 else b"".join(pieces),
            keeps_alive=parser.should_keep_alive() and not parser.should_upgrade(),
            is_http10=self._version == "1.0",
        )
        self.backlog_bytes += self._body_bytes
        self.owes_continue = False  # who expects it for no body gets the answer
        self._reset()
        self.backlog.append(request)
        if not request.keeps_alive:
            self._parser = None

    # --- inside -----------------------------------------------------------------------------------------------

    def _reset(self) -> None:
        self._is_within_head = False
        self._is_within_body = False
        self._began_at_s = 0.0
        self._raw_bytes = 0
        self._body_bytes = 0
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._pieces: list[bytes | bytearray] = []

    def _remember(self, data: bytes, item: Request | RefusedError) -> None:
        """Keep the head of a request that came whole and alone, if more may follow it."""
        if isinstance(item, Request) and item.keeps_alive and not item.is_http10:
            self._heads.keep(data, item.head, len(item.body))

    def _fail(self, error: httptools.HttpParserError) -> None:
        if self._parser is None:
            return
        cause = error.__context__
        self.refuse(cause if isinstance(cause, RefusedError) else RefusedError(400, f"Not HTTP/1.1: {error}."))

    def _measure(self, num_bytes: int, *, is_new: bool, is_body: bool) -> None:
        """Look at a request that is not whole yet, after so many bytes more of it."""
        limits = self._limits
        if is_new or (self._is_within_body and not is_body):
            self._raw_bytes = 0
            self._pace.begin(self._now_s)
            return
        self._raw_bytes += num_bytes
        if self._is_within_head:
            if self._raw_bytes > limits.max_head_bytes:
                self.refuse(head.head_too_large(limits))
            return
        self._pace.reach(self._now_s, self._body_bytes)
        if self._raw_bytes > limits.max_head_bytes + self._body_bytes * (1 + MAX_OVERHEAD_RATIO):
            self.refuse(RefusedError(400, "There is far more around the body's chunks than in them."))
