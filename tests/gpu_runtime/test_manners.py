"""What clients may ask of the queue by headers, and what they are told, over real sockets."""

from __future__ import annotations

import asyncio
import math
import time

import pytest

from hotloop.events import Problem
from hotloop.gpu_runtime.dispatch import Dispatcher
from hotloop.gpu_runtime.endpoints import BatchSpec, EndpointSpec
from hotloop.gpu_runtime.manners import Manners, NotUnderstoodError, tenant_of
from hotloop.gpu_runtime.scheduler.lane import NUM_TO_BELIEVE
from hotloop.gpu_runtime.scheduler.waiting import ORDINARY, Priority, Wants
from hotloop.gpu_runtime.settings import RuntimeConfig
from tests.gpu_runtime.front import Client, Front, fronting, run, until

ECHO = EndpointSpec("echo", "/echo")
PAIRS = EndpointSpec("pairs", "/pairs", batch=BatchSpec(max_size=2))
SIZED = EndpointSpec("sized", "/sized", batch=BatchSpec(max_size=2, key="asked"))


# --- reading ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "wants"),
    [
        ([], ORDINARY),
        ([(b"accept", b"*/*"), (b"x-request-id", b"5")], ORDINARY),
        ([(b"x-hotloop-priority", b"bulk")], Wants(Priority.BULK)),
        ([(b"x-hotloop-priority", b" Interactive ")], Wants(Priority.INTERACTIVE)),
        ([(b"x-hotloop-deadline-ms", b"0.5")], Wants(deadline_at_s=100.0005)),
        ([(b"x-hotloop-deadline-ms", b"1500")], Wants(deadline_at_s=101.5)),
        ([(b"x-api-key", b"k")], Wants(tenant=tenant_of(b"k"))),
        ([(b"authorization", b"Bearer k")], Wants(tenant=tenant_of(b"Bearer k"))),
        ([(b"authorization", b"Bearer k"), (b"x-api-key", b"k")], Wants(tenant=tenant_of(b"k"))),
        ([(b"x-api-key", b"")], ORDINARY),
    ],
)
def test_headers_say_what_a_request_wants(headers, wants):
    assert Manners({}).read(headers, 100.0) == wants


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"x-hotloop-priority", b"high"),
        (b"x-hotloop-priority", b""),
        (b"x-hotloop-deadline-ms", b"0"),
        (b"x-hotloop-deadline-ms", b"-1"),
        (b"x-hotloop-deadline-ms", b"nan"),
        (b"x-hotloop-deadline-ms", b"inf"),
        (b"x-hotloop-deadline-ms", b"soon"),
    ],
)
def test_what_can_not_be_meant_is_refused_with_what_was_expected(name, value):
    with pytest.raises(NotUnderstoodError, match=r"expected (milliseconds|interactive)"):
        Manners({}).read([(name, value)], 0.0)


def test_a_key_is_never_told_and_its_weight_is_known_by_its_tenant():
    manners = Manners({"secret": 3.0})

    assert manners.weights == {tenant_of(b"secret"): 3.0}
    assert "secret" not in tenant_of(b"secret")
    assert "secret" not in repr(RuntimeConfig("/", "app.py", "python", "/state", weights={"secret": 3.0}))


@pytest.mark.parametrize("weight", [0, -1, math.inf, math.nan])
def test_a_weight_is_above_zero(weight):
    with pytest.raises(ValueError, match="expected a number above 0"):
        Dispatcher(time.monotonic, lambda event: None, 1.0, weights={"k": weight})


# --- in the queue -----------------------------------------------------------------------------------------------


async def busy(front: Front, *endpoints: EndpointSpec, count: int):
    """A worker with a call that it does not answer, and clients whose requests will wait."""
    worker = front.worker(1, *endpoints)
    first, *others = await front.clients(count + 1)
    first.ask("POST", endpoints[0].path, b"first")
    return worker, await worker.call(), others


async def wait_in_line(front: Front, client: Client, path: str, body: bytes, *headers: str) -> None:
    before = front.dispatcher.num_waiting
    client.ask("POST", path, body, *headers)
    await until(lambda: front.dispatcher.num_waiting == before + 1)


def test_interactive_requests_go_before_others_and_bulk_behind():
    async def main():
        async with fronting() as front:
            worker, call, clients = await busy(front, ECHO, count=3)
            for client, priority in zip(clients, ("bulk", "normal", "interactive"), strict=True):
                await wait_in_line(front, client, "/echo", priority.encode(), f"X-Hotloop-Priority: {priority}")
            worker.answer(call)
            order = []
            for number in (1, 2, 3):
                order.append((await worker.call(number)).payload)
                worker.answer(worker.calls[number])

            assert order == [b"interactive", b"normal", b"bulk"]

    run(main())


def test_a_wrong_header_is_a_bad_request_that_no_worker_sees():
    async def main():
        async with fronting() as front:
            worker = front.worker(1, ECHO, is_echoing=True)
            client = await front.client()
            response = await client.get("POST", "/echo", b"", "x-hotloop-priority: urgent")

            assert (response.status, response.json["error"]["type"]) == (400, "BadRequest")
            assert "expected interactive, normal or bulk" in response.json["error"]["message"]
            assert worker.calls == []
            assert (await client.get("POST", "/echo", b"x")).status == 200

    run(main())


def test_a_deadline_that_passes_in_the_queue_is_told_at_once_and_the_request_never_sent():
    async def main():
        async with fronting() as front:
            worker, call, (late, patient) = await busy(front, ECHO, count=2)
            await wait_in_line(front, patient, "/echo", b"patient")
            late.ask("POST", "/echo", b"late", "x-hotloop-deadline-ms: 20")
            response = await late.response()
            worker.answer(call)

            assert response.status == 504
            assert (response.json["error"]["type"], response.json["error"]["stage"]) == ("DeadlineExceeded", "queue")
            assert (await worker.call(1)).payload == b"patient"
            assert front.dispatcher.num_waiting == 0

    run(main())


@pytest.mark.parametrize("is_paused", [False, True])
def test_a_deadline_holds_also_while_nothing_serves(is_paused):
    async def main():
        async with fronting() as front:
            if is_paused:
                front.worker(1, ECHO)
                front.dispatcher.pause()
            client = await front.client()
            response = await client.get("POST", "/echo", b"", "x-hotloop-deadline-ms: 20")

            assert (response.status, response.json["error"]["stage"]) == (504, "queue")
            assert front.dispatcher.num_waiting == 0

    run(main())


def test_a_deadline_that_can_not_be_met_any_more_is_not_begun():
    async def main():
        async with fronting() as front:
            worker, call, (client,) = await busy(front, ECHO, count=1)
            worker.answer(call)  # says that it took 0.25 s
            for number in range(1, NUM_TO_BELIEVE):
                client.ask("POST", "/echo", b"")
                worker.answer(await worker.call(number))
                await client.response()
            response = await client.get("POST", "/echo", b"", "x-hotloop-deadline-ms: 200")

            assert response.status == 504
            assert "could not be met" in response.json["error"]["message"]
            assert len(worker.calls) == NUM_TO_BELIEVE

    run(main())


def test_tenants_take_turns_however_many_requests_one_of_them_has():
    async def main():
        async with fronting(weights={"b": 2.0}) as front:
            worker, call, clients = await busy(front, ECHO, count=9)
            for number, client in enumerate(clients):
                key = "a" if number < 6 else "b"
                await wait_in_line(front, client, "/echo", key.encode(), f"x-api-key: {key}")
            worker.is_echoing = True
            worker.answer(call)
            await until(lambda: len(worker.calls) == 10)
            order = [call.payload for call in worker.calls[1:]]

            assert order[:6].count(b"b") == 3
            assert order[-3:] == [b"a"] * 3

    run(main())


@pytest.mark.parametrize(("num_waiting", "status"), [(1, 200), (2, 429)])
def test_a_full_line_says_when_to_come_back(num_waiting, status):
    async def main():
        async with fronting(max_queued=2) as front:
            worker, call, clients = await busy(front, ECHO, count=num_waiting + 3)
            worker.answer(call)  # 0.25 s a call
            clients[0].ask("POST", "/echo")
            call = await worker.call(1)
            for client in clients[1 : num_waiting + 1]:
                await wait_in_line(front, client, "/echo", b"")
            clients[-1].ask("POST", "/echo")
            if status == 200:
                await until(lambda: front.dispatcher.num_waiting == 2)
                worker.is_echoing = True
                worker.answer(call)
            response = await clients[-1].response()

            assert response.status == status
            assert status == 200 or int(response.headers["retry-after"]) >= 1

    run(main())


def test_a_client_that_leaves_is_taken_out_of_its_batch():
    async def main():
        async with fronting() as front:
            worker, call, clients = await busy(front, PAIRS, count=3)
            for number, client in enumerate(clients):
                await wait_in_line(front, client, "/pairs", b"%d" % number)
            clients[0].abort()
            await until(lambda: front.dispatcher.num_waiting == 2)
            worker.answer(call)
            second = await worker.call(1)
            worker.answer(second)
            response = await clients[1].response()

            assert worker.bodies(second) == [b"1", b"2"]
            assert response.headers["x-hotloop-batch-size"] == "2"
            assert float(response.headers["x-hotloop-queue-ms"]) > 0

    run(main())


# --- what is sent ahead -----------------------------------------------------------------------------------------


def test_what_waits_for_a_worker_that_must_measure_it_is_sent_ahead_and_named_later():
    async def main():
        async with fronting() as front:
            worker, call, clients = await busy(front, SIZED, count=3)
            for number, client in enumerate(clients):
                await wait_in_line(front, client, "/sized", b"body %d" % number)
            await until(lambda: sum(len(message.header["items"]) for message in worker.ahead) == 3)
            ids = [item["id"] for message in worker.ahead for item in message.header["items"]]
            sizes = dict(zip(ids, (100, 1, 100), strict=True))
            worker.send_raw({"kind": "staged", "sizes": list(sizes.items()), "items": []})
            worker.answer(call)
            second = await worker.call(1)

            assert b"".join(message.payload for message in worker.ahead) == b"body 0body 1body 2"
            assert second.payload == b""
            assert [item["id"] for item in second.header["items"]] == [ids[0], ids[2]]
            assert all(item["is_staged"] for item in second.header["items"])

    run(main())


def test_a_free_worker_gets_a_request_with_its_body_and_nothing_ahead():
    async def main():
        async with fronting() as front:
            worker = front.worker(1, SIZED, is_echoing=True)
            client = await front.client()

            assert (await client.get("POST", "/sized", b"whole")).body == b"whole"
            assert worker.ahead == []

    run(main())


def test_what_the_worker_can_not_measure_is_answered_before_its_turn_and_forgotten():
    async def main():
        async with fronting() as front:
            worker, _, clients = await busy(front, SIZED, count=2)
            for client in clients:
                await wait_in_line(front, client, "/sized", b"x")
            await until(lambda: sum(len(message.header["items"]) for message in worker.ahead) == 2)
            bad, good = [item["id"] for message in worker.ahead for item in message.header["items"]]
            items = [{"id": bad, "status": 500, "type": "text/plain", "size": 4}]
            worker.send_raw({"kind": "staged", "sizes": [[good, 3]], "items": items}, b"oops")
            response = await clients[0].response()
            await until(lambda: worker.dropped)

            assert (response.status, response.body, response.generation) == (500, b"oops", 1)
            assert worker.dropped == [bad]
            assert front.dispatcher.num_waiting == 1

    run(main())


def test_what_was_sent_ahead_and_waits_no_longer_is_dropped():
    async def main():
        async with fronting() as front:
            worker, _, (gone, late) = await busy(front, SIZED, count=2)
            await wait_in_line(front, gone, "/sized", b"x")
            late.ask("POST", "/sized", b"y", "x-hotloop-deadline-ms: 60")
            await until(lambda: worker.ahead)
            gone.abort()
            assert (await late.response()).status == 504
            await until(lambda: front.dispatcher.num_waiting == 0)
            sent = [item["id"] for message in worker.ahead for item in message.header["items"]]
            await until(lambda: sorted(worker.dropped) == sorted(sent))

    run(main())


def test_a_worker_that_dies_takes_nothing_along_that_was_only_sent_ahead():
    async def main():
        async with fronting() as front:
            worker, _, clients = await busy(front, SIZED, count=3)
            for number, client in enumerate(clients):
                await wait_in_line(front, client, "/sized", b"%d" % number)
            await until(lambda: worker.ahead)
            worker.die()
            await until(lambda: worker.num_lost == 1)
            front.worker(2, SIZED, is_echoing=True)

            assert [(await client.response()).body for client in clients] == [b"0", b"1", b"2"]

    run(main())


# --- who measures -----------------------------------------------------------------------------------------------


class Notes:
    def __init__(self) -> None:
        self.sent: list[tuple[int, int]] = []
        self.done: list[tuple[int, float]] = []
        self.answers: list[tuple[str, int]] = []
        self.rejections: list[tuple[str, str]] = []

    def call_began(self, call, now_s):
        waited_s = [now_s - pending.arrived_at_s for pending in call.items.values()]
        assert all(each >= 0 for each in waited_s)
        self.sent.append((len(call.batch.requests), len(waited_s)))

    def call_ended(self, call, compute_s):
        self.done.append((len(call.batch.requests), compute_s))

    def answered(self, pendings, status, took_s):
        assert len(took_s) == len(pendings)
        assert min(took_s) >= 0
        self.answers += [(pending.endpoint_name, status) for pending in pendings]

    def rejected(self, pending, reason):
        self.rejections.append((pending.endpoint_name, reason))


def test_an_observer_hears_of_calls_answers_and_rejections_by_cause():
    async def main():
        async with fronting(max_queued=1) as front:
            notes = Notes()
            front.dispatcher.observe(notes)
            worker, call, clients = await busy(front, ECHO, count=4)
            await wait_in_line(front, clients[0], "/echo", b"")
            await clients[1].get("POST", "/echo")
            await clients[1].get("POST", "/nowhere")
            await clients[1].get("POST", "/echo", b"", "x-hotloop-deadline-ms: x")
            clients[0].abort()
            await until(lambda: front.dispatcher.num_waiting == 0)
            await clients[2].get("POST", "/echo", b"", "x-hotloop-deadline-ms: 5")
            worker.answer(call)
            await until(lambda: notes.done)
            front.dispatcher.fail_all(Problem("NameError", "x"))
            await clients[2].get("POST", "/echo")

            assert notes.sent == [(1, 1)]
            assert notes.done == [(1, 0.25)]
            assert notes.answers == [
                ("echo", 429), ("", 404), ("", 400), ("echo", 499), ("echo", 504), ("echo", 200), ("", 503),
            ]  # fmt: skip
            assert notes.rejections == [
                ("echo", "full"), ("", "bad_header"), ("echo", "disconnected"), ("echo", "deadline"), ("", "not_ready"),
            ]  # fmt: skip

    run(main())


def test_the_load_is_read_from_the_lines_themselves():
    async def main():
        async with fronting() as front:
            worker, call, clients = await busy(front, PAIRS, ECHO, count=4)
            for client in clients:
                await wait_in_line(front, client, "/pairs", b"")
            load = {each.name: each for each in front.dispatcher.load()}
            assert (load["pairs"].num_waiting, load["pairs"].num_calls, load["pairs"].wait_s) == (4, 1, 0)
            for client in clients:
                client.abort()
            await until(lambda: front.dispatcher.load()[0].num_waiting == 0)
            worker.answer(call)
            await until(lambda: front.dispatcher.load()[0].num_calls == 0)
            await asyncio.sleep(0)

            assert front.dispatcher.load()[0].per_call_s > 0

    run(main())
