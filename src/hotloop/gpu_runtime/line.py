"""The requests that wait: in line for the workers of a generation, or held while there is none. Answers nobody."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hotloop.gpu_runtime.ahead import Ahead
from hotloop.gpu_runtime.batching import Queues
from hotloop.gpu_runtime.calls import Call, Pending
from hotloop.gpu_runtime.endpoints import EndpointSpec
from hotloop.gpu_runtime.observing import EndpointLoad
from hotloop.gpu_runtime.scheduler.lane import Batch
from hotloop.gpu_runtime.user_env.items import columns
from hotloop.gpu_runtime.workers import Worker


class Line:
    """All that was not sent to a worker with a call.

    Args:
        max_queued: Most requests that wait for one endpoint.
        weights: By tenant, how much of the machine it is due beside others.

    Attributes:
        waiting: The requests, by identifier.
        queues: Says which of them leave next; of the generation that is active.
    """

    def __init__(self, max_queued: int, weights: Mapping[str, float]) -> None:
        self.waiting: dict[int, Pending] = {}
        self._max_queued = max_queued
        self._weights = weights
        self.queues = Queues((), max_queued, weights)
        self._ahead = Ahead((), ())

    def __len__(self) -> int:
        return len(self.waiting)

    # --- generations --------------------------------------------------------------------------------------------

    def open(self, specs: Iterable[EndpointSpec], workers: Sequence[Worker], calls: Iterable[Call] = ()) -> None:
        """Begin the lines of a generation, some of whose calls may be under way. Who waits is in none before `put_back`."""
        specs = tuple(specs)
        self.queues = Queues(specs, self._max_queued, self._weights)
        for call in calls:
            self.queues.go_on(call.batch)
        self._ahead.close()
        self._ahead = Ahead(specs, workers)

    def shut(self) -> None:
        """End them, for the generation has no worker: whoever waits is held."""
        self.open((), ())

    def clear(self) -> list[Pending]:
        """Take out all that wait, those that came first before the others."""
        waiting, self.waiting = self.waiting, {}
        self.queues.drain()
        return [waiting[request_id] for request_id in sorted(waiting)]

    # --- in and out ---------------------------------------------------------------------------------------------

    def hold(self, pending: Pending) -> None:
        """Have a request wait for a generation."""
        self.waiting[pending.id] = pending

    def admit(self, pending: Pending, endpoint: EndpointSpec) -> bool:
        """Put a new request in line; False if the line is full."""
        pending.endpoint = endpoint
        size = len(pending.exchange.body)
        if not self.queues.offer(endpoint.name, pending.id, pending.arrived_at_s, pending.wants, size):
            return False
        self.waiting[pending.id] = pending
        if self._ahead.is_used:
            self._ahead.came(endpoint.name, pending)
        return True

    def put_back(self, pending: Pending, endpoint: EndpointSpec) -> None:
        """Put a request in line that was admitted before: by its age, and whether or not its line is full."""
        pending.endpoint = endpoint
        self.waiting[pending.id] = pending
        self._ahead.came(endpoint.name, pending)
        size = len(pending.exchange.body)
        self.queues.put_back(endpoint.name, pending.id, pending.arrived_at_s, pending.wants, size)

    def leave(self, pending: Pending) -> None:
        """Have a request wait no longer, whatever becomes of it."""
        self.waiting.pop(pending.id, None)
        if pending.endpoint is not None:
            self.queues.cancel(pending.endpoint.name, pending.id)
            self._ahead.drop(pending.endpoint.name, pending)

    def give_up(self, now_s: float) -> list[Pending]:
        """Give those whose deadline passed, or can't be met any more; they are out of the queues, and to `leave`."""
        found = [self.waiting.get(request_id) for request_id in self.queues.give_up(now_s)]
        return [pending for pending in found if pending is not None]

    def measure(self, request_id: int, size: float) -> None:
        """Take note of a request's size, if it waits."""
        pending = self.waiting.get(request_id)
        if pending is not None and pending.endpoint is not None:
            self.queues.measure(pending.endpoint.name, request_id, size)

    # --- with a call --------------------------------------------------------------------------------------------

    def take(self, batch: Batch) -> dict[int, Pending]:
        """Take out the requests of a batch that leaves."""
        pop = self.waiting.pop
        return {request_id: pop(request_id) for request_id in batch.requests}

    def described(self, call: Call, bodies: list[bytes | bytearray]) -> dict[str, Any]:
        """Describe a call's requests in its frame, and add their bodies."""
        pendings = call.items.values()
        if self._ahead.is_used:
            return {"items": [self._item(pending, call, bodies) for pending in pendings]}
        if len(pendings) == 1:
            (pending,) = pendings
            body = pending.exchange.body
            bodies.append(body)
            return columns(call.batch.requests, (len(body),), pending.like)
        bodies += [pending.exchange.body for pending in pendings]
        like = next(iter(pendings)).like
        if all([pending.like is like for pending in pendings]):  # noqa: C419  a list is quicker
            return columns(call.batch.requests, list(map(len, bodies)), like)
        return {"items": [pending.item() for pending in pendings]}

    def _item(self, pending: Pending, call: Call, bodies: list[bytes | bytearray]) -> dict[str, Any]:
        """Describe a request, and add its body, unless the worker has both already."""
        if self._ahead.left(call.endpoint.name, pending, call.worker):
            return {"id": pending.id, "accept": pending.like.get("accept", ""), "size": 0, "is_staged": True}
        bodies.append(pending.exchange.body)
        return pending.item()

    # --- for who measures ---------------------------------------------------------------------------------------

    def load(self, calls: Iterable[Call]) -> list[EndpointLoad]:
        """Say how each endpoint is doing: read from its line, so that nothing can leak.

        Args:
            calls: All that are under way.
        """
        running: Counter[str] = Counter()
        for call in calls:
            running[call.endpoint.name] += len(call.items)
        return [
            EndpointLoad(
                name,
                len(lane),
                lane.in_flight,
                self.queues.wait_s(name),
                lane.cost.per_call_s,
                lane.cost.per_unit_s,
                lane.spec.path,
                running[name],
                is_batched=lane.spec.batch is not None,
                is_stream=lane.spec.is_stream,
            )
            for name, lane in self.queues.lanes.items()
        ]
