"""The laws of the queues: nothing lost, nothing doubled, in order, within the limits."""

from __future__ import annotations

import math

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from hotloop.gpu_runtime.batching import BatchSpec, EndpointSpec, Queues


def sync(name: str, max_size: int = 1, max_wait_ms: float = 0) -> EndpointSpec:
    return EndpointSpec(name, f"/{name}", batch=BatchSpec(max_size, max_wait_ms) if max_size > 1 else None)


def coroutine(name: str, concurrency: int) -> EndpointSpec:
    return EndpointSpec(name, f"/{name}", kind="async", concurrency=concurrency)


def taken(queues: Queues, now_s: float = 0) -> tuple[str, list[int]] | None:
    batch = queues.take(now_s)
    return None if batch is None else (batch.endpoint.name, batch.requests)


def test_a_request_leaves_at_once_when_the_worker_is_free():
    queues = Queues([sync("a", max_size=8)])
    queues.offer("a", 1, 0)

    assert taken(queues) == ("a", [1])
    assert queues.wake_at_s() is None


def test_what_came_meanwhile_leaves_as_one_batch_when_the_call_is_done():
    queues = Queues([sync("a", max_size=3)])
    for number in range(1, 6):
        queues.offer("a", number, 0)
        if number == 1:
            assert taken(queues) == ("a", [1])
    assert taken(queues) is None
    queues.done("a")
    assert taken(queues) == ("a", [2, 3, 4])
    queues.done("a")
    assert taken(queues) == ("a", [5])


def test_sync_endpoints_share_one_slot_and_the_oldest_goes_first():
    queues = Queues([sync("a"), sync("b")])
    for number, name in enumerate("abba"):
        queues.offer(name, number, number)
    order = []
    while (batch := taken(queues, 9)) is not None:
        assert taken(queues, 9) is None
        order.append(batch)
        queues.done(batch[0])

    assert order == [("a", [0]), ("b", [1]), ("b", [2]), ("a", [3])]


def test_async_endpoints_have_slots_of_their_own():
    queues = Queues([coroutine("c", 2), sync("a")])
    for number in range(3):
        queues.offer("c", number, 0)
    queues.offer("a", 3, 0)

    assert [taken(queues) for _ in range(4)] == [("c", [0]), ("c", [1]), ("a", [3]), None]
    queues.done("c")
    assert taken(queues) == ("c", [2])


def test_a_gathering_batch_waits_until_its_oldest_is_due():
    queues = Queues([sync("a", max_size=4, max_wait_ms=10)])
    queues.offer("a", 1, 5.0)
    queues.offer("a", 2, 5.004)

    assert taken(queues, 5.009) is None
    assert queues.wake_at_s() == pytest.approx(5.01)
    assert taken(queues, 5.01) == ("a", [1, 2])


@pytest.mark.parametrize(("count", "leaves"), [(3, False), (4, True), (5, True)])
def test_a_full_batch_does_not_wait(count, leaves):
    queues = Queues([sync("a", max_size=4, max_wait_ms=10)])
    for number in range(count):
        queues.offer("a", number, 0)

    assert (taken(queues, 0) == ("a", [0, 1, 2, 3])) is leaves


def test_a_batch_does_not_gather_while_other_work_wants_the_slot():
    queues = Queues([sync("a", max_size=4, max_wait_ms=1000), sync("b")])
    queues.offer("a", 1, 0)
    assert taken(queues, 0.1) is None
    queues.offer("b", 2, 0.1)

    assert taken(queues, 0.1) == ("a", [1])


@pytest.mark.parametrize(("num_waiting", "is_taken"), [(1, True), (2, True), (3, False)])
def test_the_limit_of_a_queue_is_exact_and_each_endpoint_s_own(num_waiting, is_taken):
    queues = Queues([sync("a"), sync("b")], max_queued=3)
    queues.offer("b", 100, 0)
    for number in range(num_waiting):
        queues.offer("a", number, 0)

    assert queues.offer("a", 50, 0) is is_taken
    assert len(queues) == 1 + num_waiting + is_taken


def test_a_cancelled_request_does_not_leave():
    queues = Queues([sync("a", max_size=4)])
    for number in range(3):
        queues.offer("a", number, 0)

    assert queues.cancel("a", 1)
    assert not queues.cancel("a", 1)
    assert not queues.cancel("unknown", 2)
    assert taken(queues) == ("a", [0, 2])


def test_what_is_put_back_stands_where_its_age_puts_it_even_in_a_full_queue():
    queues = Queues([sync("a", max_size=9)], max_queued=2)
    queues.offer("a", 5, 5)
    queues.offer("a", 9, 9)
    for number in (3, 7, 2):
        queues.put_back("a", number, number)

    assert taken(queues, 10) == ("a", [2, 3, 5, 7, 9])


class Laws(RuleBasedStateMachine):
    """Any order of arrivals, completions, cancellations and put-backs, on a clock that only moves on."""

    def __init__(self) -> None:
        super().__init__()
        self.specs = {
            spec.name: spec for spec in (sync("one"), sync("many", 3), sync("gather", 4, 50), coroutine("async", 2))
        }
        self.queues = Queues(self.specs.values(), max_queued=6)
        self.now_s = 0.0
        self.next_id = 1
        self.arrived: dict[int, float] = {}
        self.waiting: dict[str, list[int]] = {name: [] for name in self.specs}
        self.calls: list[tuple[str, list[int]]] = []
        self.gone: set[int] = set()

    names = st.sampled_from(["one", "many", "gather", "async"])

    @rule(name=names)
    def arrive(self, name):
        is_taken = self.queues.offer(name, self.next_id, self.now_s)
        assert is_taken == (len(self.waiting[name]) < 6)
        if is_taken:
            self.waiting[name].append(self.next_id)
            self.arrived[self.next_id] = self.now_s
        self.next_id += 1

    @rule(step_s=st.floats(0, 0.1))
    def pass_time(self, step_s):
        self.now_s += step_s

    @rule()
    def take(self):
        batch = self.queues.take(self.now_s)
        if batch is None:
            self.nothing_may_leave()
            return
        name, requests = batch.endpoint.name, batch.requests
        assert 1 <= len(requests) <= batch.endpoint.max_size
        assert requests == self.waiting[name][: len(requests)], "in order of arrival"
        assert not self.gone & set(requests), "neither lost nor doubled"
        self.waiting[name] = self.waiting[name][len(requests) :]
        self.calls.append((name, requests))
        in_flight = [call for call, _ in self.calls]
        assert sum(call != "async" for call in in_flight) <= 1
        assert in_flight.count("async") <= 2
        if name != "async":
            others = [
                self.waiting[other][0] for other in ("one", "many", "gather") if other != name and self.waiting[other]
            ]
            assert all((self.arrived[requests[0]], requests[0]) < (self.arrived[o], o) for o in others), "oldest first"

    def nothing_may_leave(self):
        in_flight = [call for call, _ in self.calls]
        assert not self.waiting["async"] or in_flight.count("async") == 2
        if any(call != "async" for call in in_flight):
            return
        assert not self.waiting["one"]
        assert not self.waiting["many"]
        if self.waiting["gather"]:
            due_at_s = self.arrived[self.waiting["gather"][0]] + 0.05
            assert self.now_s < due_at_s, "waits no longer than it may"
            assert self.queues.wake_at_s() == pytest.approx(due_at_s)

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), is_crash=st.booleans())
    def finish(self, data, is_crash):
        name, requests = self.calls.pop(data.draw(st.integers(0, len(self.calls) - 1)))
        self.queues.done(name)
        if not is_crash:
            self.gone.update(requests)
            return
        for request_id in reversed(requests):
            self.queues.put_back(name, request_id, self.arrived[request_id])
        self.waiting[name] = sorted(self.waiting[name] + requests)

    @precondition(lambda self: any(self.waiting.values()))
    @rule(data=st.data())
    def cancel(self, data):
        name, request_id = data.draw(st.sampled_from([(n, r) for n, ids in self.waiting.items() for r in ids]))
        assert self.queues.cancel(name, request_id)
        self.waiting[name].remove(request_id)
        self.gone.add(request_id)

    @rule()
    def drain(self):
        drained = self.queues.drain()
        assert sorted(drained) == sorted(request_id for ids in self.waiting.values() for request_id in ids)
        self.gone.update(drained)
        self.waiting = {name: [] for name in self.specs}

    @invariant()
    def counts_what_waits(self):
        assert len(self.queues) == sum(map(len, self.waiting.values()))
        wake_at_s = self.queues.wake_at_s()
        assert wake_at_s is None or wake_at_s < math.inf


TestLaws = Laws.TestCase
