"""One endpoint's line and slots: what waits, what it costs, and which of it leaves next."""

from __future__ import annotations

import math
from collections.abc import Mapping

from hotloop.frozen import frozen
from hotloop.gpu_runtime.endpoints import ASKED, BODY_BYTES, BatchSpec, EndpointSpec
from hotloop.gpu_runtime.scheduler import choice
from hotloop.gpu_runtime.scheduler.cost import CostModel
from hotloop.gpu_runtime.scheduler.cut import Budget
from hotloop.gpu_runtime.scheduler.fifo import Fifo
from hotloop.gpu_runtime.scheduler.gather import Gather
from hotloop.gpu_runtime.scheduler.order import AGEING_S, Order
from hotloop.gpu_runtime.scheduler.waiting import ORDINARY, Priority, Waiting, Wants

_UNBATCHED = BatchSpec(max_size=1)
_RATIO_WEIGHT = 0.05
QUICK_S = 0.0002
AHEAD_S = 0.001  # of quick calls that a worker has at a time; so long may one wait behind those that came before it
MAX_AHEAD = 16
NUM_TO_TRUST = 16  # calls
NUM_TO_BELIEVE = 3  # calls, before a request is given up for what they took: the first may be slow for its own reasons
MAX_WINDOW = 256  # requests; choosing among them takes time that grows with it


@frozen
class Batch:
    """Requests that leave in one call.

    Attributes:
        units: Its requests times the largest of their sizes.
        padding: How many of the units are nobody's.
        is_quick: Whether it is so short that others may be sent behind it before it is done.
    """

    endpoint: EndpointSpec
    requests: list[int]
    units: float = 0.0
    padding: float = 0.0
    is_quick: bool = False


class Lane:
    """One endpoint's requests. They stand in a plain line until one of them wants more than its turn.

    Args:
        spec: The endpoint.
        weights: The tenants' weights.

    Attributes:
        in_flight: Calls under way.
        num_workers: How many workers there are to make them.
        cost: What its calls cost.
        gave_up: Requests taken out because their deadlines passed or can't be met; whoever answers them empties it.
        wake_at_s: When to ask again though nothing happens: a batch waits for others. Infinite: no need.
        is_trying: Whether the next time that is seen shows if calls take what they took.
    """

    def __init__(self, spec: EndpointSpec, weights: Mapping[str, float]) -> None:
        self.spec = spec
        self.in_flight = 0
        self.num_workers = 1
        self.cost = CostModel()
        self.gave_up: list[int] = []
        self.wake_at_s = math.inf
        self.is_trying = False
        self._batch = spec.batch or _UNBATCHED
        self._is_sync = spec.kind == "sync"
        self._is_single = self._is_sync and spec.batch is None and not spec.is_stream
        self._weights = weights
        self._size = self._batch.key if isinstance(self._batch.key, int | float) else 1.0
        self._units = 0.0
        self._num_known = 0
        self._known_at_s = -math.inf
        self._ratio: float | None = None
        self._gather = Gather(self._batch.max_wait_ms / 1000, self._batch.target_ms / 1000)
        self._fifo = Fifo()
        self._order: Order | None = Order(weights) if self._batch.needs_sizes else None

    def __len__(self) -> int:
        return len(self._fifo.arrivals) if self._order is None else len(self._order)

    @property
    def has_slot(self) -> bool:
        """Whether another call may begin, as far as this endpoint alone is concerned."""
        return self.in_flight < self.num_workers * (1 if self._is_sync else self.spec.concurrency)

    @property
    def num_ahead(self) -> int:
        """How many of its calls one worker may have at a time, which runs them one after another: 1 unless they are quick."""
        if not self._is_single or self._order is not None or self.cost.num_seen < NUM_TO_TRUST:
            return 1
        call_s = self.cost.predict_s(self._size)
        return 1 if call_s > QUICK_S else min(MAX_AHEAD, int(AHEAD_S / max(call_s, 1e-6)))

    @property
    def is_plain(self) -> bool:
        """Whether a request that finds nothing waiting and a slot leaves as it is: there is nothing to weigh."""
        return self._order is None and not self._gather.may_wait

    def alone(self, request_id: int) -> Batch:
        """Make the call of a request that was never in line."""
        return Batch(self.spec, [request_id], self._size, is_quick=self._is_single and self.num_ahead > 1)

    @property
    def may_gather(self) -> bool:
        """Whether its batches ever wait for others."""
        return self._gather.may_wait

    @property
    def backlog_s(self) -> float:
        """How long all that waits will take the workers together; 0 before a call was seen."""
        units = len(self) * self._size if self._order is None else self._units
        num_calls = math.ceil(len(self) / self._batch.max_size)
        return (num_calls * self.cost.per_call_s + units * self.cost.per_unit_s) / self.num_workers

    @property
    def next_deadline_s(self) -> float:
        """When the next deadline passes; infinite if there is none."""
        return math.inf if self._order is None else self._order.next_deadline_s()

    # --- in and out ---------------------------------------------------------------------------------------------

    def add(self, request_id: int, arrived_at_s: float, wants: Wants = ORDINARY, body_bytes: int = 0) -> None:
        """Put a request in line, new or not: its age and its wants decide where."""
        if self._gather.may_wait:
            self._gather.arrived(arrived_at_s)
        is_usual = wants is ORDINARY and not self._fifo.tenant
        if self._order is None and not (is_usual or self._stands_in_line(wants)):
            self._begin_order()
        if self._order is None:
            self._fifo.put_back(request_id, arrived_at_s)
        else:
            entry = Waiting(request_id, arrived_at_s, wants, self._size_of(body_bytes))
            self._order.add(entry)
            self._units += entry.size

    def remove(self, request_id: int) -> bool:
        """Take a request out; False if it does not wait."""
        if self._order is None:
            return self._fifo.arrivals.pop(request_id, None) is not None
        entry = self._order.remove(request_id)
        if entry is not None:
            self._units -= entry.size
            self._end_order_if_done()
        return entry is not None

    def measure(self, request_id: int, size: float) -> None:
        """Take note of what a waiting request's size is."""
        entry = None if self._order is None else self._order.entries.get(request_id)
        if entry is not None:
            self._units += size - entry.size
            entry.size = size

    def compare(self, body_bytes: int, size: float) -> None:
        """Learn from a request how sizes go with the lengths of bodies, for those whose size is not known yet."""
        ratio = size / max(1, body_bytes)
        self._ratio = ratio if self._ratio is None else self._ratio + _RATIO_WEIGHT * (ratio - self._ratio)

    def drain(self) -> list[int]:
        """Take out all that waits."""
        taken = list(self._fifo.arrivals) if self._order is None else list(self._order.entries)
        self._fifo = Fifo()
        self._order = Order(self._weights) if self._batch.needs_sizes else None
        self._units = 0.0
        return taken

    def rank(self, now_s: float) -> tuple[int, float, int]:
        """Say which class its first request is in, when it came, and its identifier: the order between endpoints."""
        if self._order is None:
            arrived_at_s, request_id = self._fifo.oldest()
            is_old = now_s - arrived_at_s >= AGEING_S
            return (Priority.INTERACTIVE if is_old else Priority.NORMAL), arrived_at_s, request_id
        self._order.grow_older(now_s)
        head = self._order.head()
        assert head is not None  # noqa: S101  asked only while something waits
        return head.level, head.arrived_at_s, head.id

    # --- what leaves --------------------------------------------------------------------------------------------

    def take(self, now_s: float, *, may_wait: bool) -> Batch | None:
        """Take out the next call's requests; None if none may go now.

        Args:
            now_s: The time.
            may_wait: Whether nothing else wants the slot.
        """
        self.wake_at_s = math.inf
        self.give_up(now_s)
        if not len(self):
            return None
        if may_wait and self._gather.may_wait and self._waits(now_s):
            return None
        batch = self._take_plainly() if self._order is None else self._take_ordered(self._order, now_s)
        if batch is not None:
            self._gather.left(len(batch.requests))
        return batch

    def give_up(self, now_s: float) -> None:
        """Take out those whose deadline has passed."""
        while self._order is not None and self._order.next_deadline_s() <= now_s:
            self._give_up(self._order.next_with_deadline())

    def saw(self, batch: Batch, took_s: float, units: float) -> None:
        """Learn what a call took. Of many calls that are all alike only some are worth the time."""
        if self.is_trying:
            self.is_trying = False
            if 2 * took_s < self.cost.predict_s(units):
                self.cost = CostModel()
            self.cost.saw(units, took_s)
            return
        is_alone = self._order is None and self._batch.max_size == 1
        if not is_alone or self.cost.num_seen < 8 or not batch.requests[0] & 15:
            self.cost.saw(units, took_s)

    def _waits(self, now_s: float) -> bool:
        count = len(self)
        if count >= self._batch.max_size:
            return False
        oldest_at_s = self._fifo.oldest()[0] if self._order is None else self._order.oldest_at_s()
        mean = self._size if self._order is None else self._units / count
        due_at_s = self._gather.due_at_s(count, oldest_at_s, (count + 1) * mean, self.cost)
        if due_at_s <= now_s:
            return False
        self.wake_at_s = due_at_s
        return True

    def _budget(self, most_units: float = math.inf) -> Budget:
        limit = min(most_units, self._gather.most_units(self.cost, self.backlog_s))
        return Budget(self._batch.max_size, min(self._batch.max_cost, limit))

    def _take_plainly(self) -> Batch:
        count = min(self._batch.max_size, len(self._fifo.arrivals))
        if count > 1 and count * self._size > (max_cost := self._budget().max_cost):
            count = max(1, int(max_cost / self._size))
        requests = self._fifo.take(count)
        return Batch(self.spec, requests, len(requests) * self._size, is_quick=self._is_single and self.num_ahead > 1)

    def _take_ordered(self, order: Order, now_s: float) -> Batch | None:
        order.grow_older(now_s)
        window = self._hopeful(order, now_s)
        if not window:
            return None
        budget = self._budget(self._units_before(window[0].wants.deadline_at_s - now_s))
        if self._batch.needs_sizes:
            chosen = choice.choose(window, self.cost, budget, self.backlog_s)
        else:
            chosen = choice.first_within(window, budget)
        return self._leave(order, window, chosen)

    def _units_before(self, left_s: float) -> float:
        return math.inf if left_s == math.inf or self.spec.is_stream else self.cost.units_within(left_s)

    def _answer_s(self, size: float) -> float:
        """How long a request's answer will take; a stream's begins at once, and its end is under no deadline."""
        return 0.0 if self.spec.is_stream else self.cost.predict_s(size)

    def _hopeful(self, order: Order, now_s: float) -> list[Waiting]:
        """Give those with the best right, without any whose deadline can't be met any more, which are given up.

        Where that is all of them, one may be tried all the same: see `_is_to_be_tried`.
        """
        num_most = min(choice.WINDOW * self._batch.max_size, MAX_WINDOW) if self._batch.max_size > 1 else 1
        while window := order.window(num_most, self.cost.per_call_s / self._batch.max_size, self.cost.per_unit_s):
            late = [e for e in window if now_s + self._answer_s(e.size) > e.wants.deadline_at_s]
            if not late:
                break
            if len(late) == len(window) and self._is_to_be_tried(late[0], now_s):
                return late[:1]
            for entry in late:
                self._give_up(entry)
        return window

    def _is_to_be_tried(self, entry: Waiting, now_s: float) -> bool:
        """Whether a request goes though it would be late by what calls took: where that is hardly known, or not news any more.

        Only a call can tell that others are quicker. Else a slow one, such as the first on a GPU, would have every request
        given up, for ever, that has a shorter deadline. At most half of the time goes into it.
        """
        if self._num_known != self.cost.num_seen:
            self._num_known, self._known_at_s = self.cost.num_seen, now_s
        is_news = now_s - self._known_at_s < self.cost.predict_s(entry.size)
        if is_news and self.cost.num_seen >= NUM_TO_BELIEVE:
            return False
        self._known_at_s = now_s
        self.is_trying = True
        return True

    def _give_up(self, entry: Waiting) -> None:
        self.remove(entry.id)
        self.gave_up.append(entry.id)

    def _leave(self, order: Order, window: list[Waiting], chosen: list[Waiting]) -> Batch:
        units = len(chosen) * max(entry.size for entry in chosen)
        took_s = self.cost.predict_s(units)
        choice.pass_over(window, chosen, took_s)
        costs_s: dict[str, float] = {}
        for entry in chosen:
            tenant = entry.wants.tenant
            costs_s[tenant] = costs_s.get(tenant, 0.0) + took_s / len(chosen)
        order.charge(chosen[0].level, costs_s)
        requests = [entry.id for entry in chosen]
        for request_id in requests:
            self.remove(request_id)
        return Batch(self.spec, requests, units, units - sum(entry.size for entry in chosen))

    # --- plain or not -------------------------------------------------------------------------------------------

    def _stands_in_line(self, wants: Wants) -> bool:
        """Whether the plain line is enough for a request too: nothing but its arrival decides about it."""
        if not self._fifo.arrivals:
            self._fifo.tenant = wants.tenant
        return wants.is_ordinary and wants.tenant == self._fifo.tenant

    def _begin_order(self) -> None:
        waiting, tenant = self._fifo.arrivals, self._fifo.tenant
        self._fifo, self._order, self._units = Fifo(), Order(self._weights), len(waiting) * self._size
        for request_id, arrived_at_s in waiting.items():
            self._order.add(Waiting(request_id, arrived_at_s, Wants(tenant=tenant), self._size))

    def _end_order_if_done(self) -> None:
        if self._order is not None and not self._order and not self._batch.needs_sizes:
            self._order = None

    def _size_of(self, body_bytes: int) -> float:
        if self._batch.key == BODY_BYTES:
            return float(max(1, body_bytes))
        return max(1, body_bytes) * (self._ratio or 1.0) if self._batch.key == ASKED else self._size
