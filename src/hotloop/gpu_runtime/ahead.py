"""Sends what waits ahead to a busy worker, if only the worker can say how large it is.

The worker measures it between calls and keeps it, so that the next call names it and its body goes once. Of several
workers each measures a part; a request whose call another one gets is sent to that one whole, and forgotten by the first.
The front keeps every body as well: a worker that dies takes nothing along.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from hotloop.gpu_runtime.calls import Pending
from hotloop.gpu_runtime.endpoints import ASKED, EndpointSpec
from hotloop.gpu_runtime.scheduler.choice import WINDOW
from hotloop.gpu_runtime.workers import Worker, was_sent

MAX_AHEAD_BYTES = 32 * 1024 * 1024  # of one endpoint's bodies that workers hold beside those of their calls


class _Line:
    """One endpoint's requests on their way ahead.

    Attributes:
        max_size: Most requests in one call.
        new: Those that were not sent yet; some may be gone.
        sent: Those that a worker has: their bodies' bytes by identifier.
        holders: Which worker has them.
    """

    __slots__ = ("holders", "max_size", "new", "sent", "sent_bytes")

    def __init__(self, max_size: int) -> None:
        self.max_size = max_size
        self.new: deque[Pending] = deque()
        self.sent: dict[int, int] = {}
        self.holders: dict[int, Worker] = {}
        self.sent_bytes = 0

    def next(self) -> list[Pending]:
        """Take those that may be sent now."""
        taken: list[Pending] = []
        while self.new and len(self.sent) < WINDOW * self.max_size:
            pending = self.new[0]
            size = len(pending.exchange.body)
            if pending.is_waiting and pending.id not in self.sent:
                if self.sent_bytes + size > MAX_AHEAD_BYTES:
                    break
                self.sent[pending.id] = size
                self.sent_bytes += size
                taken.append(pending)
            self.new.popleft()
        return taken

    def forget(self, request_id: int) -> Worker | None:
        """Take note that nobody is to have a request any more; returns who had it."""
        self.sent_bytes -= self.sent.pop(request_id, 0)
        holder = self.holders.pop(request_id, None)
        if holder is not None:
            holder.num_ahead -= 1
        return holder


class Ahead:
    """What one generation's workers were sent ahead. What one has that died goes whole with its call, to another one.

    Args:
        endpoints: What they serve.
        workers: Those that there are, now and whenever it is looked at.

    Attributes:
        is_used: Whether anything is ever sent ahead.
    """

    def __init__(self, endpoints: Iterable[EndpointSpec], workers: Sequence[Worker]) -> None:
        self._lines = {spec.name: _Line(spec.max_size) for spec in endpoints if spec.batch and spec.batch.key == ASKED}
        self.is_used = bool(self._lines)
        self._workers = workers
        self._unwanted: dict[Worker, list[int]] = {}
        self._is_scheduled = False

    def came(self, endpoint: str, pending: Pending) -> None:
        """Take note of a request that waits. It is sent when the loop comes round, unless it has left by then."""
        line = self._lines.get(endpoint)
        if line is not None:
            line.new.append(pending)
            self._schedule()

    def left(self, endpoint: str, pending: Pending, worker: Worker) -> bool:
        """Whether a worker has a request that now leaves with a call of its."""
        line = self._lines.get(endpoint)
        if line is None:
            return False
        self._schedule()
        holder = line.forget(pending.id)
        if holder is not None and holder is not worker:
            self._unwanted.setdefault(holder, []).append(pending.id)
        return holder is worker

    def drop(self, endpoint: str, pending: Pending) -> None:
        """Have a request forgotten that waits no longer."""
        line = self._lines.get(endpoint)
        holder = None if line is None else line.forget(pending.id)
        if holder is not None:
            self._unwanted.setdefault(holder, []).append(pending.id)
            self._schedule()

    def close(self) -> None:
        """Send nothing any more."""
        self._lines = {}
        self._unwanted = {}

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._is_scheduled = False
        unwanted, self._unwanted = self._unwanted, {}
        for worker, ids in unwanted.items():  # first: one of them may be on its way to the same worker again
            was_sent(worker.send, {"kind": "drop", "ids": ids}, b"")
        for name, line in self._lines.items():
            for part in self._parts(line.next(), line.max_size):
                worker = min(self._workers, key=lambda worker: worker.num_ahead)
                worker.num_ahead += len(part)
                line.holders.update((pending.id, worker) for pending in part)
                header = {"kind": "stage", "endpoint": name, "items": [pending.item() for pending in part]}
                was_sent(worker.send, header, [pending.exchange.body for pending in part])

    def _parts(self, taken: list[Pending], max_size: int) -> Iterator[list[Pending]]:
        size = len(taken) if len(self._workers) == 1 else max_size
        return (taken[start : start + size] for start in range(0, len(taken), size or 1))
