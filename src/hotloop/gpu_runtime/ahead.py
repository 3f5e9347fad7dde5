"""Sends what waits ahead to a busy worker, if only the worker can say how large it is.

The worker measures it between calls and keeps it, so that the next call names it and its body goes once. The front keeps
every body as well: a worker that dies takes nothing along.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable

from hotloop.gpu_runtime.calls import Pending, Send, was_sent
from hotloop.gpu_runtime.endpoints import ASKED, EndpointSpec
from hotloop.gpu_runtime.scheduler.choice import WINDOW

MAX_AHEAD_BYTES = 32 * 1024 * 1024  # of one endpoint's bodies that a worker holds beside those of its call


class _Line:
    """One endpoint's requests on their way ahead.

    Attributes:
        new: Those that were not sent yet; some may be gone.
        sent: Those that the worker has: their bodies' bytes by identifier.
    """

    __slots__ = ("max_sent", "new", "sent", "sent_bytes")

    def __init__(self, max_sent: int) -> None:
        self.max_sent = max_sent
        self.new: deque[Pending] = deque()
        self.sent: dict[int, int] = {}
        self.sent_bytes = 0

    def next(self) -> list[Pending]:
        """Take those that may be sent now."""
        taken: list[Pending] = []
        while self.new and len(self.sent) < self.max_sent:
            pending = self.new[0]
            size = len(pending.exchange.body)
            if pending.is_waiting:
                if self.sent_bytes + size > MAX_AHEAD_BYTES:
                    break
                self.sent[pending.id] = size
                self.sent_bytes += size
                taken.append(pending)
            self.new.popleft()
        return taken

    def forget(self, request_id: int) -> bool:
        """Whether the worker had a request, which it has no more."""
        size = self.sent.pop(request_id, None)
        self.sent_bytes -= size or 0
        return size is not None


class Ahead:
    """What one generation's worker was sent ahead.

    Args:
        endpoints: What it serves.
        send: Sends it a frame.
    """

    def __init__(self, endpoints: Iterable[EndpointSpec], send: Send) -> None:
        self._lines = {
            spec.name: _Line(WINDOW * spec.max_size) for spec in endpoints if spec.batch and spec.batch.key == ASKED
        }
        self._send = send
        self._is_scheduled = False

    def came(self, endpoint: str, pending: Pending) -> None:
        """Take note of a request that waits. It is sent when the loop comes round, unless it has left by then."""
        line = self._lines.get(endpoint)
        if line is not None:
            line.new.append(pending)
            self._schedule()

    def left(self, endpoint: str, pending: Pending) -> bool:
        """Whether the worker has a request that now leaves with its call."""
        line = self._lines.get(endpoint)
        if line is None:
            return False
        self._schedule()
        return line.forget(pending.id)

    def drop(self, endpoint: str, pending: Pending) -> None:
        """Have the worker forget a request that waits no longer."""
        line = self._lines.get(endpoint)
        if line is not None and line.forget(pending.id):
            was_sent(self._send, {"kind": "drop", "ids": [pending.id]}, b"")

    def close(self) -> None:
        """Send nothing any more."""
        self._lines = {}

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._is_scheduled = False
        for name, line in self._lines.items():
            taken = line.next()
            if taken:
                header = {"kind": "stage", "endpoint": name, "items": [pending.item() for pending in taken]}
                was_sent(self._send, header, [pending.exchange.body for pending in taken])
