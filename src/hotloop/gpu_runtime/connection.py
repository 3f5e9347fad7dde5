"""One client's connection: its requests are handed on one at a time, in order, and who takes too long is cut off.

Requests of one connection are handled one after another, as HTTP/1.1 asks for those that are not safe to repeat; what
a client pipelines waits in a short backlog.

A client that stops sending may still want its answers (a half-closed connection), or be gone: both look the same until
something is sent, which whoever is gone answers with a reset. So a client that stopped sending, and waits, is sent a
little that means nothing, see `Request.probe`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol, cast

from hotloop.gpu_runtime.exchange import CONTINUE, Request
from hotloop.gpu_runtime.heads import Head
from hotloop.gpu_runtime.limits import Limits, RefusedError
from hotloop.gpu_runtime.pace import Pace
from hotloop.gpu_runtime.reader import RequestReader

OnRequest = Callable[[Request], None]
Refuse = Callable[[Request, RefusedError], None]

PROBE_AFTER_S = 0.05  # most answers are there by then
RESET_WITHIN_S = 0.02  # on one machine; elsewhere a later probe finds out
MAX_PROBES = 8  # also the most zeros that stand before a chunk's size


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
        self._reader = RequestReader(self, limits)
        self._active: Request | None = None
        self._is_advancing = False
        self._is_reading_paused = False
        self._is_writing_paused = False
        self._is_closing = False
        self._is_half_closed = False
        self._is_refusing = False
        self._num_probes = 0
        self._refused_at_s = 0.0
        self._loop = asyncio.get_running_loop()
        self._clock = self._loop.time
        self._quiet_since_s = self._clock()
        self._taking = Pace(limits.write_timeout_s, limits.min_taken_bytes_by_s)
        self._written_bytes = 0

    # --- the transport's side ---------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start."""
        self._transport = cast("asyncio.Transport", transport)
        self._registry.opened(self)

    def data_received(self, data: bytes) -> None:
        """Parse what came, then hand on what is whole."""
        self._quiet_since_s = now_s = self._clock()
        reader = self._reader
        if self._active is None and not (self._is_closing or self._is_writing_paused):
            request = reader.take(data)
            if request is not None:
                self._active = request
                self._on_request(request)
                return
        reader.feed(data, now_s)
        self._advance()
        if not reader.backlog or self._is_reading_paused:
            return
        if self._is_too_far_ahead and not self._transport.is_closing():
            self._is_reading_paused = True
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """Answer what was asked, though the client sends nothing more; give whether anything is left to answer."""
        self._is_half_closed = True
        self._reader.end()
        self._advance()
        if self._active is None and not self._reader.backlog:
            return False
        self._loop.call_later(PROBE_AFTER_S, self._probe)
        self._loop.call_later(PROBE_AFTER_S + RESET_WITHIN_S, self._probe)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever works on an answer."""
        self._registry.closed(self)
        self._is_closing = True
        self._reader.stop()
        self._reader.backlog.clear()
        request, self._active = self._active, None
        if request is not None:
            request.disconnect()

    def pause_writing(self) -> None:
        """Start nothing new while the client takes nothing."""
        self._is_writing_paused = True
        self._written_bytes = self.backlog_bytes
        self._taking.begin(self._clock())

    def resume_writing(self) -> None:
        """Go on."""
        self._is_writing_paused = False
        self._quiet_since_s = self._clock()
        self._advance()

    # --- the exchange's side ----------------------------------------------------------------------------------

    @property
    def backlog_bytes(self) -> int:
        """Bytes that were written and that the client has not taken."""
        return self._transport.get_write_buffer_size()

    def write(self, data: bytes | memoryview) -> None:
        """Send bytes; never blocks."""
        if self._is_writing_paused:
            self._written_bytes += len(data)
        self._transport.write(data)

    def answer(self, request: Request, data: bytes) -> None:
        """Send an answer that is complete, and go on."""
        if self._is_writing_paused:
            self._written_bytes += len(data)
        self._transport.write(data)
        reader = self._reader
        if reader.backlog or reader.owes_continue or self._is_half_closed or self._is_closing or self._is_refusing:
            self.finished(request)
            return
        self._active = None
        self._quiet_since_s = self._clock()

    def abort(self) -> None:
        """Cut the connection at once."""
        self._is_closing = True
        self._transport.abort()

    def finished(self, request: Request) -> None:
        """Go on with the next request, or close."""
        self._active = None
        self._quiet_since_s = self._clock()
        if self._is_refusing and not self._is_half_closed:
            self._linger()
        elif not request.keeps_alive or self._is_closing:
            self.close()
        else:
            self._advance()

    # --- the server's side ------------------------------------------------------------------------------------

    @property
    def is_dispensable(self) -> bool:
        """Whether nothing is being answered, so that it may be cut off for another client."""
        return self._active is None and not self._reader.backlog

    @property
    def waiting_since_s(self) -> float:
        """Since when the client has had time to send a whole request."""
        return self._reader.began_at_s if self._reader.is_within_message else self._quiet_since_s

    def turn_away(self, refused: RefusedError) -> None:
        """Refuse the client before it says anything."""
        self._reader.refuse(refused)
        self._advance()

    def close(self) -> None:
        """Close once the answer under way, if any, is complete and sent."""
        self._is_closing = True
        if self._active is not None:
            self._active.keeps_alive = False
        elif not self._transport.is_closing() and (self._is_half_closed or not self._is_refusing):
            self._transport.close()

    def sweep(self, now_s: float) -> None:
        """Enforce the time limits; called now and then."""
        if self._is_writing_paused:
            self._sweep_writing(now_s)
        else:
            self._sweep_reading(now_s)
        if self._is_half_closed:
            self._probe()
        self._advance()

    def _sweep_writing(self, now_s: float) -> None:
        self._taking.reach(now_s, self._written_bytes - self.backlog_bytes)
        if self._taking.is_too_slow(now_s):
            self._transport.abort()

    def _sweep_reading(self, now_s: float) -> None:
        if self._is_reading_paused:  # it is we who wait
            self._quiet_since_s = now_s
            self._reader.excuse(now_s)
        if self._transport.is_closing():  # what is left of an answer keeps it open
            if now_s - self._quiet_since_s > self._limits.write_timeout_s:
                self._transport.abort()
        elif self._active is None and self._is_refusing:
            if now_s - self._refused_at_s > self._limits.linger_s:
                self._transport.abort()
        elif self._reader.is_within_message:
            self._reader.check_pace(now_s)
        elif self._active is None and now_s - self._quiet_since_s > self._limits.idle_timeout_s:
            self.close()

    # --- inside -----------------------------------------------------------------------------------------------

    @property
    def _is_too_far_ahead(self) -> bool:
        reader, limits = self._reader, self._limits
        return len(reader.backlog) > limits.max_pipelined or reader.backlog_bytes > limits.max_pipelined_bytes

    def _advance(self) -> None:
        if self._is_advancing:
            return  # an answer given at once calls back in here; the loop below goes on
        self._is_advancing = True
        reader = self._reader
        try:
            while reader.backlog and self._active is None and not self._is_closing and not self._is_writing_paused:
                self._start(reader.backlog.popleft())
        finally:
            self._is_advancing = False
        if self._is_reading_paused and not self._is_too_far_ahead:
            self._is_reading_paused = False
            self._transport.resume_reading()
        if self._active is not None or self._is_closing:
            return
        if reader.owes_continue:
            reader.owes_continue = False
            self._transport.write(CONTINUE)
        elif self._is_half_closed and not reader.backlog:
            self.close()

    def _start(self, item: Request | RefusedError) -> None:
        if isinstance(item, Request):
            self._active = item
            self._reader.backlog_bytes -= len(item.body)
            self._on_request(item)
            return
        self._is_refusing = True
        self._active = Request(self, Head("", "", "", []), b"", keeps_alive=False)
        self._refuse(self._active, item)

    def _linger(self) -> None:
        """Say that this was all, but throw away what still comes: closing now would reset the answer unread."""
        self._is_closing = True
        self._refused_at_s = self._clock()
        if self._transport.can_write_eof() and not self._transport.is_closing():
            self._transport.write_eof()

    def _probe(self) -> None:
        """Find out whether a client that stopped sending is gone."""
        if self._active is not None and self._num_probes < MAX_PROBES and not self._transport.is_closing():
            self._num_probes += 1
            self._active.probe()
