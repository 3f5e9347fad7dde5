"""What leaves for the workers next: one line an endpoint, batches, and the workers' slots. No I/O, no clock.

Rules:
1. Sync endpoints share one slot a worker: it is one thread. Only quick calls without a batch are sent a few at a time, to a
   worker that is the only one, so that it need not wait for the front between them. Async endpoints have `concurrency`
   calls each, a worker.
2. A batch leaves as soon as there is a slot, with what is there. If its endpoint may gather, it waits for others, unless
   other work wants the slot or another worker has one too, as long as `scheduler.gather` says that it pays.
3. Which requests go together, and in which order, is `scheduler.lane`'s to say; across sync endpoints the one with
   the request of the first class goes, and of those the one whose request came first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from hotloop.gpu_runtime.endpoints import EndpointSpec
from hotloop.gpu_runtime.scheduler.lane import Batch, Lane
from hotloop.gpu_runtime.scheduler.waiting import ORDINARY, Wants

DEFAULT_MAX_QUEUED = 1024
QUICK_S = 0.0005
QUICK_PER_EXAMPLE = 8
NUM_TO_KNOW = 64  # calls, before some are passed over
_EQUAL: Mapping[str, float] = {}


class Queues:
    """The queues and slots of one generation.

    Args:
        endpoints: What it serves.
        max_queued: Most requests that wait for one endpoint.
        weights: By tenant, how much of the machine it is due beside others; 1 for whoever is not named.
    """

    def __init__(
        self,
        endpoints: Iterable[EndpointSpec],
        max_queued: int = DEFAULT_MAX_QUEUED,
        weights: Mapping[str, float] = _EQUAL,
    ) -> None:
        self._lanes = {spec.name: Lane(spec, weights) for spec in endpoints}
        self._sync = [lane for lane in self._lanes.values() if lane.spec.kind == "sync"]
        self._async = [lane for lane in self._lanes.values() if lane.spec.kind != "sync"]
        self._max_queued = max_queued
        self._num_workers = 1
        self._num_sync = 0
        self._num_quick_sync = 0
        self._num_quick = 0
        self._has_deadlines = False
        self._can_gather = any(lane.may_gather for lane in self._lanes.values())

    def __len__(self) -> int:
        return sum(map(len, self._lanes.values()))

    @property
    def lanes(self) -> Mapping[str, Lane]:
        """Each endpoint's line, to look at."""
        return self._lanes

    def staff(self, num_workers: int) -> None:
        """Take note of how many workers there are. Calls of one that is gone are given back with `done`."""
        self._num_workers = num_workers
        for lane in self._lanes.values():
            lane.num_workers = num_workers

    @property
    def is_stuck(self) -> bool:
        """Whether nothing of what waits leaves, or is given up, before a call is done."""
        is_full = self._num_sync >= self._num_workers and not self._has_deadlines
        if is_full and self._may_send_behind:
            is_full = not any([len(lane) and self._has_room(lane) for lane in self._sync])  # noqa: C419  a list is quicker
        return is_full and not any([len(lane) for lane in self._async])  # noqa: C419  a list is quicker

    def holds_up(self, spec: EndpointSpec) -> bool:
        """Whether a request of an endpoint that comes now changes nothing before a call is done."""
        if self._num_sync < self._num_workers or spec.kind != "sync" or self._has_deadlines:
            return False
        return not (self._may_send_behind and self._has_room(self._lanes[spec.name]))

    # --- in -----------------------------------------------------------------------------------------------------

    def offer(
        self, endpoint: str, request_id: int, arrived_at_s: float, wants: Wants = ORDINARY, body_bytes: int = 0
    ) -> bool:
        """Add a request to its endpoint's line; False, and nothing is added, if the line is full."""
        lane = self._lanes[endpoint]
        if len(lane) >= self._max_queued:
            return False
        lane.add(request_id, arrived_at_s, wants, body_bytes)
        if wants.deadline_at_s < math.inf:
            self._has_deadlines = True
        return True

    def put_back(
        self, endpoint: str, request_id: int, arrived_at_s: float, wants: Wants = ORDINARY, body_bytes: int = 0
    ) -> None:
        """Add a request that was admitted before, where its age puts it, however long the line is."""
        self._lanes[endpoint].add(request_id, arrived_at_s, wants, body_bytes)
        if wants.deadline_at_s < math.inf:
            self._has_deadlines = True

    def cancel(self, endpoint: str, request_id: int) -> bool:
        """Take out a request; False if it does not wait."""
        lane = self._lanes.get(endpoint)
        return lane is not None and lane.remove(request_id)

    def measure(self, endpoint: str, request_id: int, size: float) -> None:
        """Take note of a request's size, once it is known."""
        lane = self._lanes.get(endpoint)
        if lane is not None:
            lane.measure(request_id, size)

    def compare(self, endpoint: str, body_bytes: int, size: float) -> None:
        """Learn from a request how sizes go with the lengths of bodies."""
        self._lanes[endpoint].compare(body_bytes, size)

    # --- out ----------------------------------------------------------------------------------------------------

    def take(self, now_s: float) -> Batch | None:
        """Take the next batch that may leave now, and its slot; None if nothing may."""
        for lane in self._async:
            if len(lane) and lane.has_slot and (batch := self._leave(lane, now_s, may_wait=True)):
                return batch
        while (lane := self._next_sync(now_s)) is not None and self._has_room(lane):
            may_wait = lane.may_gather and self._is_last_for(lane)
            if batch := self._leave(lane, now_s, may_wait=may_wait):
                self._num_sync += 1
                self._num_quick_sync += batch.is_quick
                return batch
            if len(lane):
                return None  # it gathers
        return None

    def take_alone(self, spec: EndpointSpec, request_id: int) -> Batch | None:
        """Have a request leave that was not offered, for nothing waits; None if it has to be.

        So most of the work that a request is at low load, standing in line for nobody, is left out.
        """
        lane = self._lanes[spec.name]
        is_sync = spec.kind == "sync"
        if not (lane.is_plain and (self._has_room(lane) if is_sync else lane.has_slot)):
            return None
        batch = lane.alone(request_id)
        lane.in_flight += 1
        if is_sync:
            self._num_sync += 1
            self._num_quick_sync += batch.is_quick
        return batch

    def go_on(self, batch: Batch) -> None:
        """Take note of a call that is under way and did not leave from here."""
        self._lanes[batch.endpoint.name].in_flight += 1
        if batch.endpoint.kind == "sync":
            self._num_sync += 1
            self._num_quick_sync += batch.is_quick

    def done(self, batch: Batch, took_s: float | None = None, units: float | None = None) -> None:
        """Give back the slot of a call.

        Args:
            batch: What was in it.
            took_s: How long it took, to learn from; None if it failed or was cancelled.
            units: What it came to, if that is better known by now.
        """
        lane = self._lanes[batch.endpoint.name]
        lane.in_flight -= 1
        if batch.endpoint.kind == "sync":
            self._num_sync -= 1
            self._num_quick_sync -= batch.is_quick
        if took_s is None:
            return
        is_plain = took_s <= QUICK_S and lane.cost.num_seen >= NUM_TO_KNOW and not lane.is_trying
        if not is_plain or self._is_next_example():
            lane.saw(batch, took_s, batch.units if units is None else units)

    def _is_next_example(self) -> bool:
        """Whether to learn from a quick call, which takes half as long as its other work: of many that are alike, some."""
        self._num_quick = (self._num_quick + 1) % QUICK_PER_EXAMPLE
        return not self._num_quick

    def give_up(self, now_s: float) -> list[int]:
        """Take out those whose deadline passed, and give them with those that `take` found too late to begin."""
        if not self._has_deadlines:
            return []
        given_up: list[int] = []
        for lane in self._lanes.values():
            lane.give_up(now_s)
            given_up += lane.gave_up
            lane.gave_up.clear()
        return given_up

    def drain(self) -> list[int]:
        """Take out all that wait, in no order across endpoints."""
        return [request_id for lane in self._lanes.values() for request_id in lane.drain()]

    # --- time ---------------------------------------------------------------------------------------------------

    def wake_at_s(self) -> float:
        """When `take` and `give_up` should be asked again though nothing happens. Infinite: no need."""
        if not self._can_gather and not self._has_deadlines:
            return math.inf
        wake_at_s = min((lane.wake_at_s for lane in self._lanes.values() if self._has_slot(lane)), default=math.inf)
        if self._has_deadlines:
            wake_at_s = min(wake_at_s, *(lane.next_deadline_s for lane in self._lanes.values()))
        return wake_at_s

    def wait_s(self, endpoint: str) -> float:
        """Say how long a request that came now would wait; 0 where nothing was learned yet."""
        lane = self._lanes[endpoint]
        lanes = self._sync if lane.spec.kind == "sync" else [lane]
        return sum(lane.backlog_s for lane in lanes) / (1 if lane.spec.kind == "sync" else lane.spec.concurrency)

    @property
    def _may_send_behind(self) -> bool:
        """Whether a quick call may be sent though none is done: the one worker there is has nothing but quick ones."""
        return self._num_workers == 1 and self._num_quick_sync == self._num_sync

    def _has_room(self, lane: Lane) -> bool:
        """Whether there is a slot for a sync endpoint."""
        return self._num_sync < self._num_workers or (self._may_send_behind and self._num_sync < lane.num_ahead)

    def _is_last_for(self, lane: Lane) -> bool:
        """Whether one worker is free and nothing else wants it."""
        is_last = self._num_sync + 1 == self._num_workers
        return is_last and not any(other is not lane and len(other) for other in self._sync)

    def _has_slot(self, lane: Lane) -> bool:
        return (
            len(lane) > 0 and lane.has_slot and not (lane.spec.kind == "sync" and self._num_sync >= self._num_workers)
        )

    def _next_sync(self, now_s: float) -> Lane | None:
        waiting = [lane for lane in self._sync if len(lane)]
        if len(waiting) < 2:
            return waiting[0] if waiting else None
        return min(waiting, key=lambda lane: lane.rank(now_s))

    def _leave(self, lane: Lane, now_s: float, *, may_wait: bool) -> Batch | None:
        batch = lane.take(now_s, may_wait=may_wait)
        if batch is not None:
            lane.in_flight += 1
        return batch
