"""The laws of the queues: nothing lost, nothing doubled, in order, within the limits."""

from __future__ import annotations

import math

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from hotloop.gpu_runtime.batching import Queues
from hotloop.gpu_runtime.endpoints import BatchSpec, EndpointSpec
from hotloop.gpu_runtime.scheduler import lane
from hotloop.gpu_runtime.scheduler.lane import Batch
from hotloop.gpu_runtime.scheduler.waiting import Priority, Wants


def sync(name: str, max_size: int = 1, max_wait_ms: float = 0) -> EndpointSpec:
    return EndpointSpec(name, f"/{name}", batch=BatchSpec(max_size, max_wait_ms) if max_size > 1 else None)


def coroutine(name: str, concurrency: int) -> EndpointSpec:
    return EndpointSpec(name, f"/{name}", kind="async", concurrency=concurrency)


def taken(queues: Queues, now_s: float = 0) -> tuple[str, list[int]] | None:
    batch = queues.take(now_s)
    return None if batch is None else (batch.endpoint.name, batch.requests)


def done(queues: Queues, name: str, took_s: float | None = None) -> None:
    queues.done(Batch(queues.lanes[name].spec, [0], 1), took_s)


def learned(queues: Queues, name: str, took_s: float, gap_s: float, until_s: float) -> None:
    """Have calls of that endpoint take so long, and its requests come so soon after one another, until a time."""
    for number in range(20):
        queues.offer(name, -100 + number, until_s - (20 - number) * gap_s)
    while taken(queues, until_s + 60) is not None:
        done(queues, name, took_s)


def test_a_request_leaves_at_once_when_the_worker_is_free():
    queues = Queues([sync("a", max_size=8)])
    queues.offer("a", 1, 0)

    assert taken(queues) == ("a", [1])
    assert queues.wake_at_s() == math.inf


def test_what_came_meanwhile_leaves_as_one_batch_when_the_call_is_done():
    queues = Queues([sync("a", max_size=3)])
    for number in range(1, 6):
        queues.offer("a", number, 0)
        if number == 1:
            assert taken(queues) == ("a", [1])
    assert taken(queues) is None
    done(queues, "a")
    assert taken(queues) == ("a", [2, 3, 4])
    done(queues, "a")
    assert taken(queues) == ("a", [5])


def test_sync_endpoints_share_one_slot_and_the_oldest_goes_first():
    queues = Queues([sync("a"), sync("b")])
    for number, name in enumerate("abba"):
        queues.offer(name, number, number)
    order = []
    while (batch := taken(queues, 9)) is not None:
        assert taken(queues, 9) is None
        order.append(batch)
        done(queues, batch[0])

    assert order == [("a", [0]), ("b", [1]), ("b", [2]), ("a", [3])]


def test_async_endpoints_have_slots_of_their_own():
    queues = Queues([coroutine("c", 2), sync("a")])
    for number in range(3):
        queues.offer("c", number, 0)
    queues.offer("a", 3, 0)

    assert [taken(queues) for _ in range(4)] == [("c", [0]), ("c", [1]), ("a", [3]), None]
    done(queues, "c")
    assert taken(queues) == ("c", [2])


def gathering(max_wait_ms: float = 10, gap_s: float = 0.001, took_s: float = 1.0) -> Queues:
    """Queues whose endpoint's calls take a second, with a request every millisecond until second 5."""
    queues = Queues([sync("a", max_size=4, max_wait_ms=max_wait_ms), sync("b")])
    learned(queues, "a", took_s, gap_s, until_s=5.0)
    return queues


def test_a_gathering_batch_waits_until_nobody_comes_any_more():
    queues = gathering(max_wait_ms=1000)
    queues.offer("a", 1, 5.0)
    queues.offer("a", 2, 5.001)

    assert taken(queues, 5.0025) is None
    assert queues.wake_at_s() == pytest.approx(5.003)
    assert taken(queues, 5.0031) == ("a", [1, 2])


def test_a_gathering_batch_waits_no_longer_than_it_may():
    queues = gathering(max_wait_ms=2)
    queues.offer("a", 1, 5.0)
    queues.offer("a", 2, 5.001)

    assert taken(queues, 5.0019) is None
    assert queues.wake_at_s() == pytest.approx(5.002)
    assert taken(queues, 5.002) == ("a", [1, 2])


@pytest.mark.parametrize(("took_s", "waits"), [(0.0009, False), (0.0021, True)])
def test_a_batch_gathers_only_if_another_comes_sooner_than_the_call_would_end(took_s, waits):
    queues = gathering(took_s=took_s)
    queues.offer("a", 1, 5.0)

    assert (taken(queues, 5.0) is None) is waits


def test_a_batch_does_not_gather_before_anything_is_known_of_its_calls():
    queues = Queues([sync("a", max_size=4, max_wait_ms=1000)])
    queues.offer("a", 1, 5.0)

    assert taken(queues, 5.0) == ("a", [1])


@pytest.mark.parametrize(("count", "leaves"), [(3, False), (4, True), (5, True)])
def test_a_full_batch_does_not_wait(count, leaves):
    queues = gathering()
    for number in range(count):
        queues.offer("a", number, 5.0)

    assert (taken(queues, 5.0) == ("a", [0, 1, 2, 3])) is leaves


def test_a_batch_does_not_gather_while_other_work_wants_the_slot():
    queues = gathering(max_wait_ms=1000)
    queues.offer("a", 1, 5.0)
    assert taken(queues, 5.0005) is None
    queues.offer("b", 2, 5.0006)

    assert taken(queues, 5.0006) == ("a", [1])


def test_a_batch_that_gathered_when_the_slot_was_taken_asks_for_no_alarm():
    queues = gathering(max_wait_ms=1000)
    queues.offer("a", 3, 5.0)
    assert taken(queues, 5.0) is None
    queues.offer("b", 2, 4.0)

    assert taken(queues, 5.0) == ("b", [2])
    assert queues.wake_at_s() == math.inf


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


# --- quick calls ------------------------------------------------------------------------------------------------


def quick(took_s: float = 1e-5, *more: EndpointSpec, num_waiting: int = 30) -> Queues:
    """Queues whose endpoint ``one`` is known to take so long, with requests 1, 2, ... in its line."""
    queues = Queues([sync("one"), *more])
    for _ in range(lane.NUM_TO_TRUST):
        queues.lanes["one"].cost.saw(1, took_s)
    for number in range(1, num_waiting + 1):
        queues.offer("one", number, number)
    return queues


def leave(queues: Queues) -> list[Batch]:
    """Take all that may leave."""
    left: list[Batch] = []
    while not queues.is_stuck and (batch := queues.take(60)) is not None:
        left.append(batch)
    return left


@pytest.mark.parametrize(("took_s", "count"), [(1e-7, 16), (0.0001, 10), (0.00019, 5), (0.00021, 1), (0.1, 1)])
def test_quick_calls_are_sent_behind_one_another_each_for_itself(took_s, count):
    queues = quick(took_s)

    left = leave(queues)

    assert [batch.requests for batch in left] == [[number] for number in range(1, count + 1)]
    queues.done(left[0])
    assert [batch.requests for batch in leave(queues)] == [[count + 1]]


def test_calls_are_sent_one_by_one_until_their_times_are_known():
    queues = Queues([sync("one")])
    for number in range(5):
        queues.offer("one", number, 0)

    assert len(leave(queues)) == 1


def test_nothing_is_sent_behind_a_call_that_is_not_quick():
    queues = quick(1e-5, sync("slow"))
    queues.offer("slow", 0, 0)
    slow = queues.take(60)

    assert slow is not None
    assert leave(queues) == []
    assert queues.holds_up(queues.lanes["one"].spec)
    queues.done(slow, 1.0)
    assert len(leave(queues)) == 16


def test_a_call_that_is_not_quick_has_its_turn_by_its_age():
    queues = quick(1e-5, sync("slow"))
    queues.offer("slow", 100, 3.5)

    left = leave(queues)

    assert [batch.requests for batch in left] == [[1], [2], [3]]
    for batch in left:
        queues.done(batch)
    assert [batch.requests for batch in leave(queues)] == [[100]]


def test_of_several_workers_each_has_one_call_for_any_of_them_may_be_free_first():
    queues = quick()
    queues.staff(2)

    assert len(leave(queues)) == 2


def test_requests_that_want_more_than_their_turn_are_sent_one_by_one():
    queues = quick()
    queues.offer("one", 100, 60, Wants(Priority.INTERACTIVE))

    assert len(leave(queues)) == 1


def test_a_request_for_which_nobody_need_wait_leaves_without_having_been_in_line():
    queues = Queues([sync("one"), sync("gather", 4, 10), coroutine("async", 1)])
    one, gather, each = (queues.lanes[name].spec for name in ("one", "gather", "async"))

    assert queues.take_alone(gather, 1) is None
    batch = queues.take_alone(one, 2)
    assert batch == Batch(one, [2], 1.0)
    assert queues.take_alone(one, 3) is None
    assert queues.take_alone(each, 4) == Batch(each, [4], 1.0)
    assert queues.take_alone(each, 5) is None
    queues.done(batch)
    assert queues.take_alone(one, 6) == Batch(one, [6], 1.0)


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
        self.calls: list[tuple[str, list[int], Batch]] = []
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
        self.calls.append((name, requests, batch))
        in_flight = [call for call, *_ in self.calls]
        assert sum(call != "async" for call in in_flight) <= 1 or all(
            b.is_quick for n, _, b in self.calls if n != "async"
        )
        assert in_flight.count("async") <= 2
        if name != "async":
            others = [
                self.waiting[other][0] for other in ("one", "many", "gather") if other != name and self.waiting[other]
            ]
            assert all((self.arrived[requests[0]], requests[0]) < (self.arrived[o], o) for o in others), "oldest first"

    def nothing_may_leave(self):
        in_flight = [call for call, *_ in self.calls]
        assert not self.waiting["async"] or in_flight.count("async") == 2
        if any(call != "async" for call in in_flight):
            return
        assert not self.waiting["one"]
        assert not self.waiting["many"]
        if self.waiting["gather"]:
            due_at_s = self.arrived[self.waiting["gather"][0]] + 0.05
            assert self.now_s < due_at_s, "waits no longer than it may"
            assert self.now_s < self.queues.wake_at_s() <= due_at_s

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), is_crash=st.booleans())
    def finish(self, data, is_crash):
        name, requests, batch = self.calls.pop(data.draw(st.integers(0, len(self.calls) - 1)))
        self.queues.done(batch, data.draw(st.one_of(st.none(), st.floats(0, 10))))
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
        assert self.queues.wake_at_s() > -math.inf


TestLaws = Laws.TestCase
