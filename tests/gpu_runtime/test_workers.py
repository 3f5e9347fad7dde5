"""Several workers of one generation: who gets the next call, and what becomes of it when one of them dies."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from hotloop.gpu_runtime.batching import Queues
from hotloop.gpu_runtime.calls import InnerExchange
from hotloop.gpu_runtime.dispatch import Dispatcher
from hotloop.gpu_runtime.endpoints import BatchSpec, EndpointSpec
from hotloop.gpu_runtime.exchange import Headers
from hotloop.gpu_runtime.scheduler.lane import Batch
from hotloop.gpu_runtime.user_env.items import items as items_of
from hotloop.gpu_runtime.user_env.wire import Message
from hotloop.gpu_runtime.workers import Send, Worker, least_loaded
from tests.gpu_runtime.front import Front, fronting, run, until

ECHO = EndpointSpec("echo", "/echo")
SAFE = EndpointSpec("safe", "/safe", idempotent=True)
SLOW = EndpointSpec("slow", "/slow", kind="async", concurrency=2)
SIZED = EndpointSpec("sized", "/sized", batch=BatchSpec(max_size=2, key="asked"))
ENDPOINTS = (ECHO, SAFE, SLOW, EndpointSpec("other", "/other", kind="async", concurrency=3))


def worker(number: int = 0, *calls: EndpointSpec) -> Worker:
    made = Worker(number, lambda header, payload: True)
    for endpoint in calls:
        made.begin(endpoint)
    return made


# --- who gets a call --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "endpoint", "chosen"),
    [
        ((), (), ECHO, 1),
        ((ECHO,), (), ECHO, 2),
        ((SLOW,), (), ECHO, 2),
        ((SLOW, SLOW), (SAFE,), ECHO, 1),
        ((SLOW,), (), SLOW, 2),
        ((ECHO,), (SLOW,), SLOW, 2),
        ((SLOW, SLOW), (ECHO,), SLOW, 2),
        ((SLOW, SLOW), (ECHO, SLOW), SLOW, 2),
    ],
)
def test_the_least_loaded_worker_that_has_room_gets_a_call(first, second, endpoint, chosen):
    workers = [worker(1, *first), worker(2, *second)]

    assert least_loaded(workers, endpoint).number == chosen


@pytest.mark.parametrize(("num_calls", "has_room"), [(1, True), (2, False), (3, False)])
def test_an_async_endpoint_has_its_concurrency_in_each_worker(num_calls, has_room):
    assert worker(1, *[SLOW] * num_calls).has_room(SLOW) is has_room


@given(st.lists(st.tuples(st.sampled_from(ENDPOINTS), st.integers(0, 9)), max_size=80), st.integers(1, 5))
def test_who_gets_a_call_has_room_for_it_and_no_more_to_do_than_its_like(calls, num_workers):
    workers = [worker(number) for number in range(num_workers)]
    for endpoint, which in calls:
        busy = [each for each in workers if each.num_calls]
        if which < 4 and busy:
            done = busy[which % len(busy)]
            done.end(next(e for e in ENDPOINTS if done._calls.get("" if e.kind == "sync" else e.name)))
        elif any(each.has_room(endpoint) for each in workers):
            chosen = least_loaded(workers, endpoint)
            had = chosen.num_calls
            assert chosen.has_room(endpoint)
            assert had <= min(
                w.num_calls for w in workers if w.has_room(endpoint) and w.is_blocked == chosen.is_blocked
            )
            chosen.begin(endpoint)


class Slots(RuleBasedStateMachine):
    """Queues that count slots, and workers that have them, as workers come, answer and die."""

    def __init__(self) -> None:
        super().__init__()
        self.queues = Queues(ENDPOINTS)
        self.workers = [worker(0)]
        self.calls: list[tuple[Worker, Batch]] = []
        self.made = 1
        self.requests = 0

    @rule(endpoint=st.sampled_from(ENDPOINTS), count=st.integers(1, 8))
    def come(self, endpoint: EndpointSpec, count: int) -> None:
        for _ in range(count):
            self.requests += 1
            self.queues.offer(endpoint.name, self.requests, float(self.requests))

    @rule()
    def send(self) -> None:
        while (batch := self.queues.take(float(self.requests))) is not None:
            chosen = least_loaded(self.workers, batch.endpoint)
            assert chosen.has_room(batch.endpoint)
            chosen.begin(batch.endpoint)
            self.calls.append((chosen, batch))
        for lane in self.queues.lanes.values():
            assert not len(lane) or not any(each.has_room(lane.spec) for each in self.workers)

    @precondition(lambda self: self.calls)
    @rule(which=st.integers(0, 99))
    def answer(self, which: int) -> None:
        chosen, batch = self.calls.pop(which % len(self.calls))
        chosen.end(batch.endpoint)
        self.queues.done(batch)

    @precondition(lambda self: len(self.workers) < 4)
    @rule()
    def join(self) -> None:
        self.workers.append(worker(self.made))
        self.made += 1
        self.queues.staff(len(self.workers))

    @precondition(lambda self: len(self.workers) > 1)
    @rule(which=st.integers(0, 3))
    def die(self, which: int) -> None:
        dead = self.workers.pop(which % len(self.workers))
        self.queues.staff(len(self.workers))
        for call in [call for call in self.calls if call[0] is dead]:
            self.calls.remove(call)
            self.queues.done(call[1])

    @invariant()
    def every_slot_is_held_by_a_call(self) -> None:
        for endpoint in ENDPOINTS:
            under_way = sum(batch.endpoint is endpoint for _, batch in self.calls)
            assert self.queues.lanes[endpoint.name].in_flight == under_way


TestSlots = Slots.TestCase


def test_more_workers_divide_what_a_request_is_told_to_wait():
    queues = Queues([ECHO])
    for number in range(16):
        queues.offer("echo", number, 0)
        queues.done(queues.take(0), 1.0)
    for number in range(100, 108):
        queues.offer("echo", number, 0)
    alone_s = queues.wait_s("echo")
    queues.staff(4)

    assert queues.wait_s("echo") == pytest.approx(alone_s / 4)
    assert alone_s > 1


@pytest.mark.parametrize(("num_workers", "waits"), [(1, True), (2, False)])
def test_a_batch_gathers_for_the_last_free_worker_only(num_workers, waits):
    queues = Queues([EndpointSpec("many", "/many", batch=BatchSpec(8, max_wait_ms=1000))])
    for number in range(64):  # eight go together, 10 ms after one another, and take a second
        queues.offer("many", number, number * 0.01)
    while (batch := queues.take(60)) is not None:
        queues.done(batch, 1.0)
    queues.staff(num_workers)
    queues.offer("many", 100, 0.64)

    assert (queues.take(0.64) is None) is waits


# --- requests ---------------------------------------------------------------------------------------------------


async def ask(front: Front, path: str, count: int) -> list:
    """Send requests one after the other, each seen before the next."""
    clients = await front.clients(count)
    for number, client in enumerate(clients):
        before = front.dispatcher._next_request
        client.ask("POST", path, b"%d" % number)
        await until(lambda before=before: front.dispatcher._next_request > before)
    return clients


def test_each_worker_has_a_slot_and_the_next_free_one_gets_what_waits():
    async def main():
        async with fronting() as front:
            first = front.worker(1, ECHO)
            second = front.join(1, 7)
            await ask(front, "/echo", 4)
            calls = [await first.call(), await second.call()]
            assert front.dispatcher.num_waiting == 2
            second.answer(calls[1])

            assert [(await second.call(1)).payload, len(first.calls)] == [b"2", 1]

    run(main())


def test_a_worker_that_joins_takes_what_waits_at_once():
    async def main():
        async with fronting() as front:
            first = front.worker(1, ECHO)
            await ask(front, "/echo", 2)
            await first.call()
            second = front.join(1, 7)

            assert (await second.call()).payload == b"1"

    run(main())


def test_a_worker_of_a_replaced_generation_does_not_join():
    async def main():
        async with fronting() as front:
            front.worker(1, ECHO)
            new = front.worker(2, ECHO)
            late = front.join(1, 7)
            await ask(front, "/echo", 2)

            assert ((await new.call()).payload, late.calls) == (b"0", [])
            assert len(front.dispatcher.active.workers) == 1

    run(main())


def test_a_new_generation_s_first_worker_gets_all_calls_and_the_old_ones_finish_theirs():
    async def main():
        async with fronting() as front:
            old = [front.worker(1, ECHO), front.join(1, 7)]
            clients = await ask(front, "/echo", 2)
            calls = [await each.call() for each in old]
            new = front.worker(2, ECHO, is_echoing=True)
            later = await ask(front, "/echo", 3)
            assert [(await client.response()).generation for client in later] == [2, 2, 2]
            old[0].answer(calls[0])
            await clients[0].response()
            assert front.idle == []
            old[1].answer(calls[1])
            await until(lambda: front.idle)

            assert (front.idle, [len(each.calls) for each in old], len(new.calls)) == ([1], [1, 1], 3)

    run(main())


def test_a_dead_worker_s_calls_are_settled_and_the_others_go_on():
    async def main():
        async with fronting() as front:
            first = front.worker(1, ECHO, SAFE)
            second = front.join(1, 7)
            clients = [*await ask(front, "/echo", 1), *await ask(front, "/safe", 1), *await ask(front, "/echo", 1)]
            await first.call()
            tried = await second.call()
            second.die()  # had the idempotent one, which goes again before the one that waited
            await until(lambda: second.num_lost is not None)
            first.answer(first.calls[0])
            again = await first.call(1)
            first.answer(again)
            first.answer(await first.call(2))

            assert second.num_lost == 0
            assert again.payload == tried.payload
            assert [(await client.response()).status for client in clients] == [200, 200, 200]
            assert front.dispatcher.active.number == 1

    run(main())


def test_what_may_have_run_in_a_dead_worker_fails_alone():
    async def main():
        async with fronting() as front:
            first = front.worker(1, ECHO)
            second = front.join(1, 7)
            clients = await ask(front, "/echo", 2)
            await second.call()
            second.die()
            assert (await clients[1].response()).status == 502
            first.answer(await first.call())

            assert (await clients[0].response()).status == 200
            assert second.num_lost == 1

    run(main())


def test_requests_wait_when_all_workers_died():
    async def main():
        async with fronting() as front:
            workers = [front.worker(1, ECHO), front.join(1, 7)]
            for each in workers:
                each.die()
                await until(lambda each=each: each.num_lost is not None)
            clients = await ask(front, "/echo", 1)
            assert (front.dispatcher.active, front.dispatcher._generations) == (None, {})
            front.worker(2, ECHO, is_echoing=True)

            assert (await clients[0].response()).generation == 2

    run(main())


def test_what_can_t_be_sent_to_a_closed_link_goes_to_another_worker():
    async def main():
        async with fronting() as front:
            first = front.worker(1, ECHO)
            second = front.join(1, 7, is_echoing=True)
            first.link.close()  # its end was not told yet
            clients = await ask(front, "/echo", 3)

            assert [(await client.response()).status for client in clients] == [200, 200, 200]
            assert [each.number for each in front.dispatcher.active.workers] == [second.number]

    run(main())


def test_an_idle_worker_of_a_replaced_generation_that_dies_does_not_hide_the_others_end():
    async def main():
        async with fronting() as front:
            old = [front.worker(1, ECHO), front.join(1, 7)]
            clients = await ask(front, "/echo", 1)
            call = await old[0].call()
            front.worker(2, ECHO)
            old[1].die()
            await until(lambda: old[1].num_lost is not None)
            assert front.idle == []
            old[0].answer(call)
            await clients[0].response()

            assert front.idle == [1]

    run(main())


def test_the_death_of_the_busy_worker_of_a_replaced_generation_leaves_the_others_idle():
    async def main():
        async with fronting() as front:
            old = [front.worker(1, ECHO), front.join(1, 7)]
            await ask(front, "/echo", 1)
            await old[0].call()
            front.worker(2, ECHO)
            old[0].die()
            await until(lambda: old[0].num_lost is not None)

            assert front.idle == [1]

    run(main())


def test_a_stopped_front_answers_what_every_worker_has():
    async def main():
        async with fronting() as front:
            workers = [front.worker(1, ECHO), front.join(1, 7)]
            clients = await ask(front, "/echo", 3)
            for each in workers:
                await each.call()
            front.dispatcher.stop()

            assert sorted([(await client.response()).status for client in clients]) == [502, 502, 503]

    run(main())


def test_a_cancellation_reaches_the_worker_that_has_the_call():
    async def main():
        async with fronting() as front:
            first = front.worker(1, ECHO)
            second = front.join(1, 7)
            clients = await ask(front, "/echo", 2)
            call = await second.call()
            clients[1].abort()
            await until(lambda: second.cancelled)

            assert (second.cancelled, first.cancelled) == ([call.header["id"]], [])

    run(main())


# --- any history ------------------------------------------------------------------------------------------------


class Asked(InnerExchange):
    """A request: what was answered, and which generation was the newest when it came."""

    def __init__(self, path: str, newest: int) -> None:
        super().__init__("POST", path, "", [], b"")
        self.newest = newest
        self.num_answers = 0

    def respond(self, status: int, headers: Headers = (), body: bytes = b"", own: Headers = ()) -> None:
        self.num_answers += 1
        super().respond(status, headers, body)

    @property
    def generation(self) -> int:
        return int(dict(self.answer_headers).get(b"x-hotloop-generation", b"0"))


class Machine:
    """A dispatcher with workers on paper: they keep their calls until they answer them or die."""

    def __init__(self) -> None:
        self.dispatcher = Dispatcher(lambda: 0.0, lambda event: None, hold_timeout_s=60)
        self.asked: list[Asked] = []
        self.calls: dict[int, tuple[int, int, dict]] = {}  # by id: generation, worker, frame
        self.alive: list[tuple[int, int]] = []
        self.newest = 0
        self.made = 0

    def send(self, generation: int, worker: int, header: dict) -> bool:
        if header["kind"] == "call":
            assert generation == self.newest
            others = [frame for g, w, frame in self.calls.values() if (g, w) == (generation, worker)]
            is_sync = header["endpoint"] != "slow"
            num_alike = sum((frame["endpoint"] != "slow") == is_sync for frame in others)
            assert num_alike < (1 if is_sync else SLOW.concurrency)
            self.calls[header["id"]] = (generation, worker, header)
        return True

    def worker(self) -> tuple[int, Send]:
        self.made += 1
        generation, number = self.newest, self.made
        self.alive.append((generation, number))
        return number, lambda header, payload: self.send(generation, number, header)

    def do(self, what: str, which: int) -> None:
        if what in {"echo", "safe", "slow"}:
            exchange = Asked(f"/{what}", self.newest)
            self.asked.append(exchange)
            self.dispatcher.handle(exchange)
        elif what == "activate":
            self.newest += 1
            number, send = self.worker()
            self.dispatcher.activate(self.newest, self.newest, ENDPOINTS, send, number)
        elif what == "join" and any(g == self.newest for g, _ in self.alive):
            number, send = self.worker()
            self.dispatcher.join(self.newest, number, send)
        elif what == "die" and self.alive:
            generation, number = self.alive.pop(which % len(self.alive))
            self.calls = {n: call for n, call in self.calls.items() if call[:2] != (generation, number)}
            self.dispatcher.lost(generation, "SIGKILL", number)
        elif what == "answer" and self.calls:
            self.answer(sorted(self.calls)[which % len(self.calls)])
        elif what == "leave" and (waiting := [each for each in self.asked if not each.done.done()]):
            leaving = waiting[which % len(waiting)]
            if leaving.on_disconnect is not None:
                leaving.on_disconnect()
                self.asked.remove(leaving)

    def answer(self, call_id: int) -> None:
        generation, _, header = self.calls.pop(call_id)
        items = [{"id": item["id"], "status": 200, "type": "text/plain", "size": 0} for item in items_of(header)]
        result = {"kind": "result", "id": call_id, "compute_s": 0.1, "items": items}
        self.dispatcher.deliver(generation, Message(result, b""))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["echo", "echo", "safe", "slow", "answer", "answer", "join", "activate", "die", "leave"]),
            st.integers(0, 9),
        ),
        max_size=60,
    )
)
def test_after_any_history_each_request_has_one_answer_and_none_of_a_replaced_generation(history):
    async def main():
        machine = Machine()
        for what, which in history:
            machine.do(what, which)
        machine.do("activate", 0)
        while machine.calls:
            machine.do("answer", 0)

        for exchange in machine.asked:
            assert exchange.num_answers == 1
            assert exchange.status in {200, 502}
            assert exchange.status == 502 or exchange.generation >= max(1, exchange.newest)
        assert machine.dispatcher.num_waiting == 0
        assert all(machine.dispatcher.is_idle(number) for number in range(machine.newest + 1))
        assert [load.num_calls for load in machine.dispatcher.load()] == [0] * len(ENDPOINTS)

    run(main())


# --- ahead ------------------------------------------------------------------------------------------------------


def test_what_one_worker_measured_and_another_gets_goes_whole_and_is_forgotten():
    async def main():
        async with fronting() as front:
            first = front.worker(1, SIZED)
            second = front.join(1, 7)
            clients = await ask(front, "/sized", 8)
            calls = {each: await each.call() for each in (first, second)}
            await until(lambda: sum(len(m.header["items"]) for each in calls for m in each.ahead) == 6)
            assert first.ahead
            assert second.ahead
            for number in range(1, 20):
                if front.dispatcher.num_waiting == 0:
                    break
                first.answer(first.calls[-1])
                await first.call(number)
            first.answer(first.calls[-1])
            second.answer(calls[second])
            bodies = sorted([(await client.response()).body for client in clients])
            held = {item["id"] for message in second.ahead for item in message.header["items"]}
            await until(lambda: held == set(second.dropped))

            assert bodies == [b"%d" % number for number in range(8)]
            assert [each.num_ahead for each in front.dispatcher.active.workers] == [0, 0]

    run(main())


def test_what_a_dead_worker_had_ahead_is_sent_whole():
    async def main():
        async with fronting() as front:
            first = front.worker(1, SIZED)
            second = front.join(1, 7)
            clients = await ask(front, "/sized", 6)
            await until(lambda: second.ahead)
            second.die()
            assert (await clients[1].response()).status == 502
            done = 0
            while done < 5:
                call = await first.call(done)
                first.answer(call)
                done += 1
                if front.dispatcher.num_waiting == 0:
                    break
                await asyncio.sleep(0)

            bodies = [(await client.response()).body for number, client in enumerate(clients) if number != 1]
            assert bodies == [b"0", b"2", b"3", b"4", b"5"]

    run(main())
