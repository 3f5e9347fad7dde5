"""What leaves for the worker next: one queue an endpoint, batches, and the worker's slots. No I/O, no clock.

Rules:
1. Sync endpoints share one slot: the worker is one thread. Async endpoints have `concurrency` calls each.
2. Within an endpoint, requests leave in the order of their arrival; across sync endpoints, whose oldest waited longest.
3. A batch leaves as soon as there is a slot, with what is there. If the endpoint asks to gather, it waits for others
   until the oldest has waited ``max_wait_ms``, the batch is full, or other work wants the slot.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

DEFAULT_MAX_QUEUED = 1024


@dataclass(frozen=True, slots=True)
class BatchSpec:
    """How requests are gathered for an endpoint that takes lists.

    Attributes:
        max_size: Most requests in one call.
        max_wait_ms: How long the first of a batch waits for others, though the worker is free.
    """

    max_size: int = 32
    max_wait_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class EndpointSpec:
    """What the front needs to know of an endpoint.

    Attributes:
        name: The function's name, which calls carry.
        path: Exact, such as ``/embed``.
        methods: In upper case.
        kind: ``sync`` ones share the worker's one thread.
        is_stream: Whether it answers in pieces.
        batch: None if it takes one request a call.
        idempotent: Whether a request may run again if a worker dies under it.
        concurrency: Most calls at a time, for an async one.
    """

    name: str
    path: str
    methods: tuple[str, ...] = ("POST",)
    kind: Literal["sync", "async"] = "sync"
    is_stream: bool = False
    batch: BatchSpec | None = None
    idempotent: bool = False
    concurrency: int = 64

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> EndpointSpec:
        """Read what a worker says of an endpoint."""
        batch = data.get("batch")
        return cls(
            name=data["name"],
            path=data["path"],
            methods=tuple(data["methods"]),
            kind=data.get("kind", "sync"),
            is_stream=data.get("is_stream", False),
            batch=BatchSpec(batch["max_size"], batch.get("max_wait_ms", 0.0)) if batch else None,
            idempotent=data.get("idempotent", False),
            concurrency=data.get("concurrency", 64),
        )

    @property
    def max_size(self) -> int:
        """Most requests in one call."""
        return 1 if self.batch is None else self.batch.max_size


class _Queue:
    """One endpoint's requests that wait, oldest first: identifier to arrival. Identifiers count up with arrivals."""

    __slots__ = ("in_flight", "max_in_flight", "max_wait_s", "spec", "waiting")

    def __init__(self, spec: EndpointSpec) -> None:
        self.spec = spec
        self.waiting: OrderedDict[int, float] = OrderedDict()
        self.in_flight = 0
        self.max_in_flight = 1 if spec.kind == "sync" else spec.concurrency
        self.max_wait_s = 0.0 if spec.batch is None else spec.batch.max_wait_ms / 1000

    @property
    def oldest(self) -> tuple[float, int]:
        """When the oldest arrived, then its identifier: the order in which requests have a right to a slot."""
        request_id = next(iter(self.waiting))
        return self.waiting[request_id], request_id

    @property
    def due_at_s(self) -> float:
        """When its next batch may leave though it is not full."""
        if len(self.waiting) >= self.spec.max_size:
            return -math.inf
        return self.oldest[0] + self.max_wait_s

    def cut(self) -> list[int]:
        """Take the next batch."""
        count = min(self.spec.max_size, len(self.waiting))
        return [self.waiting.popitem(last=False)[0] for _ in range(count)]


@dataclass(frozen=True, slots=True)
class Batch:
    """Requests that leave in one call."""

    endpoint: EndpointSpec
    requests: list[int]


class Queues:
    """The queues and slots of one generation.

    Args:
        endpoints: What it serves.
        max_queued: Most requests that wait for one endpoint.
    """

    def __init__(self, endpoints: Iterable[EndpointSpec], max_queued: int = DEFAULT_MAX_QUEUED) -> None:
        self._queues = {spec.name: _Queue(spec) for spec in endpoints}
        self._sync = [queue for queue in self._queues.values() if queue.spec.kind == "sync"]
        self._async = [queue for queue in self._queues.values() if queue.spec.kind != "sync"]
        self._can_gather = any(queue.max_wait_s > 0 for queue in self._queues.values())
        self._max_queued = max_queued
        self._is_sync_busy = False

    def __len__(self) -> int:
        return sum(len(queue.waiting) for queue in self._queues.values())

    def offer(self, endpoint: str, request_id: int, arrived_at_s: float) -> bool:
        """Add a request at the end of its endpoint's queue; False, and nothing is added, if the queue is full."""
        waiting = self._queues[endpoint].waiting
        if len(waiting) >= self._max_queued:
            return False
        waiting[request_id] = arrived_at_s
        return True

    def put_back(self, endpoint: str, request_id: int, arrived_at_s: float) -> None:
        """Add a request that was admitted before, where its age puts it, however long the queue is."""
        queue = self._queues[endpoint]
        is_youngest = not queue.waiting or next(reversed(queue.waiting)) < request_id
        queue.waiting[request_id] = arrived_at_s
        if not is_youngest:
            queue.waiting = OrderedDict(sorted(queue.waiting.items()))

    def cancel(self, endpoint: str, request_id: int) -> bool:
        """Take out a request; False if it does not wait."""
        queue = self._queues.get(endpoint)
        return queue is not None and queue.waiting.pop(request_id, None) is not None

    def take(self, now_s: float) -> Batch | None:
        """Take the next batch that may leave now, and its slot; None if nothing may."""
        for queue in self._async:
            if queue.waiting and queue.in_flight < queue.max_in_flight and queue.due_at_s <= now_s:
                return self._leave(queue)
        queue = self._next_sync()
        if queue is None or not (queue.due_at_s <= now_s or self._is_other_waiting(queue)):
            return None
        self._is_sync_busy = True
        return self._leave(queue)

    def done(self, endpoint: str) -> None:
        """Give back the slot of a call."""
        queue = self._queues[endpoint]
        queue.in_flight -= 1
        if queue.spec.kind == "sync":
            self._is_sync_busy = False

    def wake_at_s(self) -> float | None:
        """When `take` should be asked again though nothing happens: a batch is gathering. None: no need."""
        if not self._can_gather:
            return None
        gathering = [queue for queue in self._async if queue.waiting and queue.in_flight < queue.max_in_flight]
        queue = self._next_sync()
        if queue is not None:
            gathering.append(queue)
        return min((queue.due_at_s for queue in gathering), default=None)

    def drain(self) -> list[int]:
        """Take out all that wait, in no order across endpoints."""
        taken = [request_id for queue in self._queues.values() for request_id in queue.waiting]
        for queue in self._queues.values():
            queue.waiting.clear()
        return taken

    def _next_sync(self) -> _Queue | None:
        if self._is_sync_busy:
            return None
        return min((queue for queue in self._sync if queue.waiting), key=lambda queue: queue.oldest, default=None)

    def _is_other_waiting(self, queue: _Queue) -> bool:
        return any(other is not queue and other.waiting for other in self._sync)

    def _leave(self, queue: _Queue) -> Batch:
        queue.in_flight += 1
        return Batch(queue.spec, queue.cut())
