"""Requests from clients to generations and back, over real sockets."""

from __future__ import annotations

import asyncio
import json
import math
from array import array

import pytest

from hotloop.events import Frame, Problem, RequestFinished
from hotloop.gpu_runtime.calls import Answer, Generation, InnerExchange, Pending
from hotloop.gpu_runtime.dispatch import Dispatcher
from hotloop.gpu_runtime.endpoints import BatchSpec, EndpointSpec
from hotloop.gpu_runtime.replies import Replies
from hotloop.gpu_runtime.routes import Routes
from hotloop.gpu_runtime.user_env.wire import Message
from hotloop.gpu_runtime.workers import Worker
from tests.gpu_runtime.front import FakeWorker, fronting, part_of, run, until

ECHO = EndpointSpec("echo", "/echo")
SAFE = EndpointSpec("safe", "/safe", idempotent=True)
MANY = EndpointSpec("many", "/many", batch=BatchSpec(max_size=4))
SLOW = EndpointSpec("slow", "/slow", kind="async", concurrency=2)
STREAM = EndpointSpec("stream", "/stream", is_stream=True)
BROKEN = Problem(
    "NameError", "name 'x' is not defined", (Frame("app.py", 7, "load", "x", is_project=True),), hint="define x"
)


def test_a_call_carries_what_the_app_needs_and_its_answer_says_who_gave_it():
    async def main():
        async with fronting() as front:
            worker = front.worker(3, ECHO)
            client = await front.client()
            client.ask("POST", "/echo?a=1", b"hi", "Content-Type: text/x", "Accept: */*", "Authorization: secret")
            call = await worker.call()
            worker.answer(call, b"> ")
            response = await client.response()

            assert call.payload == b"hi"
            assert {**call.header, "items": [{**call.header["items"][0], "id": 0}]} == {
                "kind": "call",
                "id": 1,
                "endpoint": "echo",
                "items": [
                    {
                        "id": 0,
                        "query": "a=1",
                        "type": "text/x",
                        "accept": "*/*",
                        "size": 2,
                    }
                ],
            }
            assert (response.status, response.body) == (200, b"> hi")
            assert {
                name: response.headers[name] for name in response.headers if name.startswith(("x-", "content-t"))
            } == {
                "content-type": "text/plain",
                "x-hotloop-generation": "3",
                "x-hotloop-revision": "30",
                "x-hotloop-compute-ms": "250.000",
                "x-hotloop-batch-size": "1",
                "x-hotloop-queue-ms": response.headers["x-hotloop-queue-ms"],
            }
            assert 0 <= float(response.headers["x-hotloop-queue-ms"]) < 20_000
            assert front.finished == [("POST", "/echo", 200, 3)]

    run(main())


def test_a_path_with_escapes_is_found_however_a_client_writes_it():
    async def main():
        async with fronting() as front:
            front.worker(1, EndpointSpec("odd", "/caf%C3%A9~%20x")).is_echoing = True
            client = await front.client()
            found = [await client.get("POST", path, b"hi") for path in ("/caf%C3%A9~%20x", "/caf%c3%a9%7E%20x")]

            assert [(response.status, response.body) for response in found] == [(200, b"hi")] * 2

    run(main())


def test_endpoints_may_be_given_as_a_worker_describes_them():
    described = {
        "name": "many",
        "path": "/many",
        "methods": ["POST"],
        "kind": "sync",
        "is_stream": False,
        "idempotent": False,
        "concurrency": 64,
        "batch": {"max_size": 4, "max_wait_ms": 0},
    }

    assert EndpointSpec.from_json(described) == MANY


def test_a_batch_gathers_what_came_while_the_worker_was_busy():
    async def main():
        async with fronting() as front:
            worker = front.worker(1, MANY)
            clients = await front.clients(6)
            clients[0].ask("POST", "/many", b"0")
            first = await worker.call()
            for number, client in enumerate(clients[1:], 1):
                client.ask("POST", "/many", str(number).encode() * number)
                await until(lambda number=number: front.dispatcher.num_waiting == number)
            worker.answer(first)
            second = await worker.call(1)
            worker.answer(second, b"!")
            worker.answer(await worker.call(2), b"?")

            assert worker.bodies(second) == [b"1", b"22", b"333", b"4444"]
            assert [(await client.response()).body for client in clients] == [
                b"0",
                b"!1",
                b"!22",
                b"!333",
                b"!4444",
                b"?55555",
            ]

    run(main())


def test_a_worker_that_joins_when_all_others_of_its_generation_are_gone_serves_what_waits():
    async def main():
        async with fronting() as front:
            front.worker(1, ECHO, SLOW)
            front.dispatcher.leaves(1, 0, [])
            client = await front.client()
            client.ask("POST", "/echo", b"hi")
            await until(lambda: front.dispatcher.num_waiting == 1)
            front.join(1, 1, is_echoing=True)
            response = await client.response()

            assert (response.status, response.body, response.generation) == (200, b"hi", 1)
            front.worker(2, ECHO)
            front.join(1, 2)
            assert [worker.number for worker in front.dispatcher.active.workers] == [0]

    run(main())


def test_what_a_worker_that_left_still_answers_counts_when_another_one_joins():
    async def main():
        async with fronting() as front:
            left = front.worker(1, ECHO, SLOW)
            clients = await front.clients(2)
            clients[0].ask("POST", "/slow", b"old")
            call = await left.call()
            front.dispatcher.leaves(1, 0, [call.header["id"]])
            front.join(1, 1, is_echoing=True)
            during = {load.name: load.num_calls for load in front.dispatcher.load()}
            new = await clients[1].get("POST", "/slow", b"new")
            left.answer(call)
            old = await clients[0].response()
            after = {load.name: load.num_calls for load in front.dispatcher.load()}

            assert [(each.status, each.body) for each in (old, new)] == [(200, b"old"), (200, b"new")]
            assert (during, after) == ({"echo": 0, "slow": 1}, {"echo": 0, "slow": 0})

    run(main())


def test_a_gathering_batch_leaves_by_itself_though_nobody_comes_and_nothing_is_answered():
    async def main():
        async with fronting() as front:
            worker = front.worker(1, EndpointSpec("many", "/many", batch=BatchSpec(8, 60_000)))
            clients = await front.clients(4)
            for client in clients:
                client.ask("POST", "/many", b"x")
            first = await worker.call()
            await until(lambda: front.dispatcher.num_waiting == 4 - len(first.header["items"]))
            worker.answer(first)
            rest = await worker.call(1)

            assert len(first.header["items"]) + len(rest.header["items"]) == 4

    run(main())


def test_who_comes_in_one_turn_of_the_loop_leaves_together_once_others_did():
    async def main():
        async with fronting() as front:
            worker = front.worker(1, EndpointSpec("many", "/many", batch=BatchSpec(8)), is_echoing=True)

            async def ask() -> None:
                answers = [front.dispatcher.submit("POST", "/many", {}, b"%d" % number) for number in range(4)]
                assert [answer.body for answer in await asyncio.gather(*answers)] == [b"0", b"1", b"2", b"3"]

            await ask()
            await ask()
            await front.dispatcher.submit("POST", "/many", {}, b"alone")
            await front.dispatcher.submit("POST", "/many", {}, b"alone")

            # The first has nobody to wait for, as far as anyone knows.
            assert [len(call.header["items"]) for call in worker.calls] == [1, 3, 4, 1, 1]

    run(main())


def test_requests_that_are_told_apart_by_their_types_go_together():
    async def main():
        async with fronting() as front:
            worker = front.worker(1, EndpointSpec("many", "/many", batch=BatchSpec(8)))
            front.dispatcher.pause()
            clients = await front.clients(3)
            for client, kind in zip(clients, ("text/plain", "application/json", "text/plain"), strict=True):
                client.ask("POST", "/many", b"x", f"Content-Type: {kind}", "Accept: */*")
            await until(lambda: front.dispatcher.num_waiting == 3)
            front.dispatcher.resume()
            call = await worker.call()
            worker.answer(call)

            assert [item["type"] for item in call.header["items"]] == ["text/plain", "application/json", "text/plain"]
            assert [(await client.response()).body for client in clients] == [b"x", b"x", b"x"]

    run(main())


def test_clients_that_are_answered_together_are_answered_as_each_asked():
    async def main():
        async with fronting() as front:
            many = EndpointSpec("many", "/many", ("GET", "POST"), batch=BatchSpec(8))
            worker = front.worker(1, many)
            front.dispatcher.pause()
            plain, head, closing, old, large = await front.clients(5)
            plain.ask("POST", "/many", b"plain")
            head.ask("HEAD", "/many", b"head")
            closing.ask("POST", "/many", b"closing", "Connection: close")
            old.send(b"POST /many HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nold")
            large.ask("POST", "/many", b"x" * 100_000)
            await until(lambda: front.dispatcher.num_waiting == 5)
            front.dispatcher.resume()
            worker.answer(await worker.call())
            answers = [await client.response(is_head=client is head) for client in (plain, head, closing, old, large)]

            assert [answer.headers.get("connection") for answer in answers] == [None, None, "close", "keep-alive", None]
            assert [len(answer.body) for answer in answers] == [5, 0, 7, 3, 100_000]
            assert [answer.headers["content-length"] for answer in answers] == ["5", "4", "7", "3", "100000"]
            assert {answer.headers["x-hotloop-batch-size"] for answer in answers} == {"5"}
            assert all(float(answer.headers["x-hotloop-queue-ms"]) >= 0 for answer in answers)
            assert all(answer.headers["content-type"] == "text/plain" and answer.headers["date"] for answer in answers)
            assert await closing.is_closed()

    run(main())


def test_the_worker_has_its_next_call_before_the_answers_of_the_last_are_written():
    async def main():
        happened: list[str] = []

        class Noted(InnerExchange):
            def respond(self, status, headers=(), body=b"", own=()):
                happened.append(f"answer {body.decode()}")
                super().respond(status, headers, body)

        dispatcher = Dispatcher(lambda: 1.0, lambda event: None, 30)
        dispatcher.activate(1, 1, [ECHO], lambda header, payload: happened.append("call " + b"".join(payload).decode()))
        for body in (b"a", b"b"):
            dispatcher.handle(Noted("POST", "/echo", "", [], body))
        items = [{"id": 1, "status": 200, "type": "text/plain", "size": 1}]
        dispatcher.deliver(1, Message({"kind": "result", "id": 1, "compute_s": 0, "items": items}, b"a"))

        assert happened == ["call a", "call b", "answer a"]

    run(main())


def test_async_endpoints_run_beside_a_sync_one_up_to_their_limit():
    async def main():
        async with fronting() as front:
            worker = front.worker(1, SLOW, ECHO)
            clients = await front.clients(5)
            for client in clients[:3]:
                client.ask("POST", "/slow")
            await until(lambda: front.dispatcher.num_waiting == 1)
            for client in clients[3:]:
                client.ask("POST", "/echo")
            await until(lambda: front.dispatcher.num_waiting == 2)

            assert sorted(call.header["endpoint"] for call in worker.calls) == ["echo", "slow", "slow"]

    run(main())


# --- routing ----------------------------------------------------------------------------------------------------


def test_an_unknown_path_is_answered_with_what_there_is():
    async def main():
        async with fronting() as front:
            front.worker(1, EndpointSpec("embed", "/embed", ("GET", "POST")), SLOW)
            client = await front.client()
            close, far = await client.get("POST", "/embd"), await client.get("GET", "/qqqqqqqq")

            assert (close.status, far.status) == (404, 404)
            assert close.json["error"] == {
                "type": "NotFound",
                "message": "No endpoint at /embd.",
                "hint": "Did you mean /embed? The app has GET|POST /embed, POST /slow.",
                "endpoints": ["GET|POST /embed", "POST /slow"],
            }
            assert far.json["error"]["hint"] == "The app has GET|POST /embed, POST /slow."
            assert front.finished == [("POST", "/embd", 404, 0), ("GET", "/qqqqqqqq", 404, 0)]

    run(main())


def test_a_wrong_method_is_told_the_right_ones():
    async def main():
        async with fronting() as front:
            front.worker(1, EndpointSpec("a", "/a", ("GET",)), EndpointSpec("b", "/a", ("PUT",)))
            response = await (await front.client()).get("DELETE", "/a")

            assert (response.status, response.headers["allow"]) == (405, "GET, HEAD, PUT")
            assert response.json["error"]["type"] == "MethodNotAllowed"

    run(main())


def test_head_goes_where_get_goes():
    async def main():
        async with fronting() as front:
            front.worker(1, EndpointSpec("a", "/a", ("GET",)), is_echoing=True)
            response = await (await front.client()).get("HEAD", "/a", b"abc")

            assert (response.status, response.headers["content-length"]) == (200, "3")

    run(main())


def test_the_root_lists_the_app_unless_the_app_has_a_root():
    async def main():
        async with fronting() as front:
            front.worker(1, ECHO)
            client = await front.client()
            assert (await client.get("GET", "/")).json == {"endpoints": ["POST /echo"], "generation": 1, "revision": 10}

            front.worker(2, EndpointSpec("root", "/", ("GET",)), is_echoing=True)
            assert (await client.get("GET", "/", b"mine")).body == b"mine"

    run(main())


def test_health_and_readiness():
    async def main():
        async with fronting() as front:
            client = await front.client()
            assert (await client.get("GET", "/health")).status == 200
            starting = await client.get("GET", "/ready")
            front.dispatcher.fail_all(BROKEN)
            broken = await client.get("GET", "/ready")
            front.worker(1, ECHO)
            ready = await client.get("GET", "/ready")
            wrong = await client.get("POST", "/ready")

            assert (starting.status, starting.json["error"]["type"]) == (503, "NotReady")
            assert (broken.status, broken.json["error"]["type"]) == (503, "NameError")
            assert (ready.status, ready.json) == (200, {"status": "ok", "generation": 1, "revision": 10})
            assert (wrong.status, wrong.headers["allow"]) == (405, "GET, HEAD")
            assert front.finished == []

    run(main())


def test_an_app_may_have_a_health_check_of_its_own():
    async def main():
        async with fronting() as front:
            front.worker(1, EndpointSpec("health", "/health", ("GET",)), is_echoing=True)
            assert (await (await front.client()).get("GET", "/health", b"mine")).body == b"mine"

    run(main())


# --- switching --------------------------------------------------------------------------------------------------


def test_requests_are_held_until_a_generation_is_active():
    async def main():
        async with fronting() as front:
            clients = await front.clients(3)
            for number, client in enumerate(clients):
                client.ask("POST", "/echo" if number else "/unknown", b"%d" % number)
            await until(lambda: front.dispatcher.num_waiting == 3)
            front.worker(1, ECHO, is_echoing=True)

            assert [(await client.response()).status for client in clients] == [404, 200, 200]

    run(main())


def test_what_waits_goes_to_the_new_generation_and_what_was_sent_stays():
    async def main():
        async with fronting() as front:
            old = front.worker(1, ECHO)
            first, second = await front.clients(2)
            first.ask("POST", "/echo", b"sent")
            call = await old.call()
            second.ask("POST", "/echo", b"waiting")
            await until(lambda: front.dispatcher.num_waiting == 1)
            front.worker(2, ECHO, is_echoing=True)
            assert (await second.response()).generation == 2

            assert not front.dispatcher.is_idle(1)
            assert front.idle == []
            old.answer(call)
            assert (await first.response()).generation == 1
            assert front.dispatcher.is_idle(1)
            assert front.idle == [1]
            assert len(old.calls) == 1

    run(main())


def test_a_generation_without_work_is_idle_as_soon_as_it_is_replaced():
    async def main():
        async with fronting() as front:
            front.worker(1, ECHO, is_echoing=True)
            await (await front.client()).get("POST", "/echo")
            front.worker(2, ECHO)

            assert front.dispatcher.is_idle(1)
            assert front.idle == []

    run(main())


def test_what_waits_is_routed_anew_by_the_new_generation():
    async def main():
        async with fronting() as front:
            old = front.worker(1, ECHO, SAFE)
            clients = await front.clients(3)
            clients[0].ask("POST", "/echo")
            await old.call()
            clients[1].ask("POST", "/safe")
            clients[2].ask("POST", "/echo")
            await until(lambda: front.dispatcher.num_waiting == 2)
            front.worker(2, EndpointSpec("renamed", "/echo"), is_echoing=True)

            assert (await clients[1].response()).status == 404
            assert (await clients[2].response()).status == 200

    run(main())


def test_switching_under_load_loses_and_doubles_nothing_and_never_goes_back():
    async def main():
        async with fronting() as front:
            newest = 1
            front.worker(1, ECHO, MANY, is_echoing=True)
            answered: list[bytes] = []

            async def ask(name: int) -> None:
                client = await front.client()
                for number in range(60):
                    at_least, body = newest, b"%d.%d" % (name, number)
                    response = await client.get("POST", "/echo" if number % 2 else "/many", body)
                    assert (response.status, response.body) == (200, body)
                    assert response.generation >= at_least
                    answered.append(body)

            tasks = [asyncio.create_task(ask(name)) for name in range(8)]
            while not all(task.done() for task in tasks):
                newest += 1
                front.worker(newest, ECHO, MANY, is_echoing=True)
                await asyncio.sleep(0.002)
            await asyncio.gather(*tasks)

            assert newest > 5
            assert len(set(answered)) == len(answered) == 480
            assert all(front.dispatcher.is_idle(number) for number in range(1, newest))

    run(main())


def test_a_pause_holds_requests_until_every_pause_is_over():
    async def main():
        async with fronting() as front:
            worker = front.worker(1, ECHO, is_echoing=True)
            client = await front.client()
            front.dispatcher.pause()
            front.dispatcher.pause()
            client.ask("POST", "/echo")
            await until(lambda: front.dispatcher.num_waiting == 1)
            front.dispatcher.resume()
            assert worker.calls == []
            front.dispatcher.resume()

            assert (await client.response()).status == 200

    run(main())


# --- holding, refusing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_paused", [False, True])
def test_a_held_request_is_answered_503_after_the_time_out(is_paused):
    async def main():
        async with fronting(hold_timeout_s=0.05) as front:
            worker = front.worker(1, ECHO) if is_paused else None
            if is_paused:
                front.dispatcher.pause()
            response = await (await front.client()).get("POST", "/echo")
            assert (response.status, response.headers["retry-after"]) == (503, "1")
            assert response.json["error"]["type"] == "NotReady"
            assert front.dispatcher.num_waiting == 0
            if worker is not None:
                front.dispatcher.resume()
                worker.is_echoing = True
                assert (await (await front.client()).get("POST", "/echo")).status == 200
                assert len(worker.calls) == 1

    run(main())


def test_a_request_behind_a_busy_worker_is_not_timed_out_as_held():
    async def main():
        async with fronting(hold_timeout_s=0.03) as front:
            first, second = await front.clients(2)
            first.ask("POST", "/echo")
            await until(lambda: front.dispatcher.num_waiting == 1)
            worker = front.worker(1, ECHO)
            second.ask("POST", "/echo")
            await until(lambda: front.dispatcher.num_waiting == 1)
            await asyncio.sleep(0.06)
            worker.answer(await worker.call(0))
            worker.answer(await worker.call(1))

            assert [(await client.response()).status for client in (first, second)] == [200, 200]

    run(main())


@pytest.mark.parametrize("is_held", [False, True])
def test_more_than_may_wait_is_answered_429(is_held):
    async def main():
        async with fronting(max_queued=2) as front:
            worker = None if is_held else front.worker(1, ECHO)
            clients = await front.clients(3 if is_held else 4)
            for number, client in enumerate(clients[:-1]):
                client.ask("POST", "/echo")
                if worker is not None:
                    await worker.call()
                waiting = number + 1 if is_held else number
                await until(lambda waiting=waiting: front.dispatcher.num_waiting == waiting)
            refused = await clients[-1].get("POST", "/echo")
            assert (refused.status, refused.headers["retry-after"]) == (429, "1")
            assert refused.json["error"]["type"] == "TooManyRequests"
            if worker is None:
                worker = front.worker(1, ECHO)
            for number in range(len(clients) - 1):
                worker.answer(await worker.call(number))

            assert [(await client.response()).status for client in clients[:-1]] == [200] * (len(clients) - 1)

    run(main())


def test_a_first_version_that_is_broken_answers_with_its_problem_until_one_is_active():
    async def main():
        async with fronting() as front:
            client = await front.client()
            client.ask("POST", "/echo")
            await until(lambda: front.dispatcher.num_waiting == 1)
            front.dispatcher.fail_all(BROKEN)
            waited, came = await client.response(), await client.get("POST", "/echo")
            front.worker(1, ECHO, is_echoing=True)
            after = await client.get("POST", "/echo")

            assert (waited.status, came.status, after.status) == (503, 503, 200)
            assert waited.headers["retry-after"] == "1"
            assert waited.json["error"] == {
                "type": "NameError",
                "message": "name 'x' is not defined",
                "hint": "define x",
                "where": "app.py:7",
            }

    run(main())


def test_a_stop_answers_all_that_is_open():
    async def main():
        async with fronting() as front:
            worker = front.worker(1, ECHO, SLOW, STREAM)
            sent, waiting, streaming = await front.clients(3)
            streaming.ask("POST", "/stream")
            call = await worker.call()
            worker.chunk(call, b"one", "application/x-ndjson")
            await streaming.head()
            assert await streaming.chunk() == b"one"
            sent.ask("POST", "/slow")
            await worker.call(1)
            waiting.ask("POST", "/echo")
            await until(lambda: front.dispatcher.num_waiting == 1)
            front.dispatcher.stop()

            assert [(await client.response()).status for client in (sent, waiting)] == [502, 503]
            assert json.loads(await streaming.chunk())["error"]["type"] == "WorkerLost"
            assert await streaming.chunk() == b""
            assert (await sent.get("POST", "/echo")).json["error"]["type"] == "Stopped"

    run(main())


# --- death ------------------------------------------------------------------------------------------------------


def test_a_dead_worker_s_request_fails_clearly_and_what_waited_goes_on():
    async def main():
        async with fronting() as front:
            worker = front.worker(1, ECHO)
            first, second = await front.clients(2)
            first.ask("POST", "/echo")
            await worker.call()
            second.ask("POST", "/echo")
            await until(lambda: front.dispatcher.num_waiting == 1)
            worker.die()
            lost = await first.response()
            front.worker(2, ECHO, is_echoing=True)

            assert (lost.status, lost.json["error"]["type"]) == (502, "WorkerLost")
            assert "SIGKILL" in lost.json["error"]["message"]
            assert "may have run" in lost.json["error"]["message"]
            assert worker.num_lost == 1
            assert (await second.response()).generation == 2
            assert front.finished == [("POST", "/echo", 502, 1), ("POST", "/echo", 200, 2)]

    run(main())


def test_an_idempotent_request_is_tried_again_first_and_only_once():
    async def main():
        async with fronting() as front:
            first_worker = front.worker(1, SAFE)
            clients = await front.clients(2)
            clients[0].ask("POST", "/safe", b"killer")
            await first_worker.call()
            clients[1].ask("POST", "/safe", b"waits")
            await until(lambda: front.dispatcher.num_waiting == 1)
            first_worker.die()
            await until(lambda: front.dispatcher.num_waiting == 2)
            assert first_worker.num_lost == 0
            second_worker = front.worker(2, SAFE)
            assert (await second_worker.call()).payload == b"killer"
            second_worker.die()
            failed = await clients[0].response()
            front.worker(3, SAFE, is_echoing=True)

            assert failed.status == 502
            assert "tried on again" in failed.json["error"]["message"]
            assert second_worker.num_lost == 1
            assert (await clients[1].response()).body == b"waits"

    run(main())


def test_of_quick_calls_that_a_dead_worker_had_only_the_first_may_have_run():
    async def main():
        async with fronting() as front:
            worker = front.worker(1, ECHO, is_echoing=True)
            worker.compute_s = 1e-5
            clients = await front.clients(4)
            for number in range(400):  # of many that are alike some are learned from
                clients[0].ask("POST", "/echo", b"%d" % number)
                await clients[0].response()
            worker.is_echoing, worker.calls = False, []
            for number, client in enumerate(clients):
                client.ask("POST", "/echo", b"%d" % number)
                await worker.call(number)
            worker.answer(worker.calls[0])
            assert (await clients[0].response()).body == b"0"
            worker.die()
            lost = await clients[1].response()
            assert (lost.status, lost.json["error"]["type"]) == (502, "WorkerLost")
            await until(lambda: worker.num_lost == 1)
            front.worker(2, ECHO, is_echoing=True)

            again = [await client.response() for client in clients[2:]]
            assert [(response.generation, response.body) for response in again] == [(2, b"2"), (2, b"3")]

    run(main())


def test_a_draining_worker_that_dies_hands_idempotent_requests_to_the_active_one():
    async def main():
        async with fronting() as front:
            old = front.worker(1, SAFE)
            client = await front.client()
            client.ask("POST", "/safe", b"again")
            await old.call()
            front.worker(2, SAFE, is_echoing=True)
            old.die()
            response = await client.response()

            assert (response.body, response.generation) == (b"again", 2)
            assert front.dispatcher.is_idle(1)

    run(main())


def test_a_request_that_could_not_be_sent_is_held_and_not_failed():
    async def main():
        async with fronting() as front:
            worker = front.worker(1, ECHO)
            worker.link.close()
            client = await front.client()
            client.ask("POST", "/echo", b"kept")
            await until(lambda: front.dispatcher.num_waiting == 1)
            assert front.dispatcher.lost(1, "exit 1") == 0
            front.worker(2, ECHO, is_echoing=True)

            assert (await client.response()).body == b"kept"

    run(main())


def test_crashes_under_load_leave_every_request_answered_once():
    async def main():
        async with fronting() as front:
            statuses: list[int] = []

            async def ask(path: str) -> None:
                client = await front.client()
                for number in range(40):
                    response = await client.get("POST", path, b"%d" % number)
                    assert response.status in {200, 502}
                    assert response.status == 502 or response.body == b"%d" % number
                    statuses.append(response.status)

            front.worker(1, ECHO, SAFE, is_echoing=True)
            tasks = [asyncio.create_task(ask(path)) for path in ("/echo", "/safe", "/echo", "/safe")]
            generation = 1
            while not all(task.done() for task in tasks):
                worker = front._workers[-1]
                worker.is_echoing = generation % 3 != 0
                await asyncio.sleep(0.003)
                worker.die()
                await until(lambda worker=worker: worker.num_lost is not None)
                generation += 1
                front.worker(generation, ECHO, SAFE, is_echoing=True)
            await asyncio.gather(*tasks)

            assert len(statuses) == 160
            assert front.dispatcher.num_waiting == 0

    run(main(), timeout_s=40)


def test_losing_an_unknown_generation_changes_nothing():
    async def main():
        async with fronting() as front:
            front.worker(1, ECHO, is_echoing=True)
            assert front.dispatcher.lost(9, "exit 1") == 0
            assert (await (await front.client()).get("POST", "/echo")).status == 200

    run(main())


def test_a_result_that_leaves_a_request_out_fails_that_one_alone():
    async def main():
        async with fronting() as front:
            worker = front.worker(1, MANY)
            clients = await front.clients(3)
            clients[0].ask("POST", "/many")
            await worker.call()
            for number in (1, 2):
                clients[number].ask("POST", "/many")
                await until(lambda number=number: front.dispatcher.num_waiting == number)
            worker.answer(await worker.call(0))
            call = await worker.call(1)
            only = call.header["items"][1]["id"]
            items = [{"id": only, "status": 200, "type": "text/plain", "size": 2}]
            worker.send_raw({"kind": "result", "id": call.header["id"], "compute_s": 0, "items": items}, b"ok")

            assert [(await client.response()).status for client in clients] == [200, 502, 200]

    run(main())


def test_floats_that_a_worker_hands_over_reach_the_client_as_json():
    async def main():
        async with fronting() as front:
            worker = front.worker(1, MANY)
            (client,) = await front.clients(1)
            client.ask("POST", "/many")
            call = await worker.call()
            raw = array("d", [0.1, -2.5e-300]).tobytes()
            item = {"id": call.header["items"][0]["id"], "status": 200, "type": "application/json", "is_doubles": True}
            header = {"kind": "result", "id": call.header["id"], "compute_s": 0, "items": [{**item, "size": len(raw)}]}
            worker.send_raw(header, raw)
            answer = await client.response()

            assert (answer.status, answer.body) == (200, b"[0.1,-2.5e-300]")

    run(main())


# --- streams ----------------------------------------------------------------------------------------------------


def test_a_stream_is_passed_on_as_it_comes_and_frees_the_slot_at_its_end():
    async def main():
        async with fronting() as front:
            worker = front.worker(1, STREAM, ECHO)
            client, other = await front.clients(2)
            client.ask("GET" if "GET" in STREAM.methods else "POST", "/stream")
            call = await worker.call()
            other.ask("POST", "/echo")
            worker.chunk(call, b"one", "text/event-stream")
            head = await client.head()
            assert await client.chunk() == b"one"
            assert len(worker.calls) == 1
            worker.chunk(call, b"two")
            assert await client.chunk() == b"two"
            worker.end(call)
            assert await client.chunk() == b""
            worker.answer(await worker.call(1))

            assert (head.status, head.headers["content-type"], head.generation) == (200, "text/event-stream", 1)
            assert (await other.response()).status == 200
            assert front.finished == [("POST", "/stream", 200, 1), ("POST", "/echo", 200, 1)]

    run(main())


def test_a_client_that_leaves_a_stream_has_it_cancelled_once():
    async def main():
        async with fronting() as front:
            worker = front.worker(1, STREAM, ECHO)
            client, other = await front.clients(2)
            client.ask("POST", "/stream")
            call = await worker.call()
            worker.chunk(call, b"one", "text/plain")
            await client.head()
            client.abort()
            await until(lambda: worker.cancelled)
            worker.chunk(call, b"two")
            other.ask("POST", "/echo")
            worker.end(call, "cancelled")
            worker.answer(await worker.call(1))

            assert (await other.response()).status == 200
            assert worker.cancelled == [call.header["id"]]
            assert front.finished == [("POST", "/stream", 499, 1), ("POST", "/echo", 200, 1)]

    run(main())


@pytest.mark.parametrize(
    ("kind", "last", "is_well_formed"),
    [
        ("text/event-stream; charset=utf-8", b"event: error\ndata: {", True),
        ("application/x-ndjson", b'{"error": {', True),
        ("text/plain; charset=utf-8", b'\n{"error": {', False),
        ("application/octet-stream", b"", False),
    ],
)
def test_a_stream_whose_worker_dies_shows_that_it_is_not_whole(kind, last, is_well_formed):
    async def main():
        async with fronting() as front:
            worker = front.worker(1, EndpointSpec("stream", "/stream", is_stream=True, idempotent=True))
            client = await front.client()
            client.ask("POST", "/stream")
            call = await worker.call()
            worker.chunk(call, b"one", kind)
            await client.head()
            assert await client.chunk() == b"one"
            worker.die()
            if last:
                assert (await client.chunk()).startswith(last)
            if is_well_formed:
                assert await client.chunk() == b""
            else:
                with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                    await client.chunk()

            assert worker.num_lost == 1
            assert front.finished == [("POST", "/stream", 502, 1)]

    run(main())


@pytest.mark.parametrize(("kind", "is_well_formed"), [("application/x-ndjson", True), ("text/plain", False)])
def test_a_stream_that_ends_with_an_error_says_so_as_its_format_can(kind, is_well_formed):
    async def main():
        async with fronting() as front:
            worker = front.worker(1, STREAM)
            client = await front.client()
            client.ask("POST", "/stream")
            call = await worker.call()
            worker.chunk(call, b"one", kind)
            worker.end(call, "ValueError: no")
            await client.head()
            assert await client.chunk() == b"one"
            if is_well_formed:
                assert await client.chunk() == b""
            else:
                with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                    await client.chunk()

    run(main())


@pytest.mark.parametrize(("error", "status", "body"), [("", 200, b""), ("ValueError: no", 500, b"ValueError: no")])
def test_a_stream_that_ends_before_it_begins_is_an_ordinary_answer(error, status, body):
    async def main():
        async with fronting() as front:
            worker = front.worker(1, STREAM)
            client = await front.client()
            client.ask("POST", "/stream")
            worker.end(await worker.call(), error)
            response = await client.response()

            assert response.status == status
            assert body in response.body

    run(main())


@pytest.mark.parametrize(("behind", "is_cut"), [(99, False), (100, False), (101, True)])
def test_a_client_too_far_behind_its_stream_is_cut_off(behind, is_cut):
    async def main():
        finished: list[RequestFinished] = []
        replies = Replies(lambda: 1.0, finished.append, max_backlog_bytes=100)
        exchange = InnerExchange("POST", "/stream", "", [], b"")
        exchange.backlog_bytes = behind
        pending = Pending(5, exchange, 0.0, is_probe=False)
        generation = Generation(1, 10, Routes([STREAM]), [Worker(1, lambda header, payload: True)])
        part = {"id": 1, "item": 5, "size": 1, "type": "text/plain", "status": 200}

        assert replies.chunk(generation, pending, part, b"x") is not is_cut
        assert [event.status for event in finished] == ([499] if is_cut else [])

    run(main())


@pytest.mark.parametrize(
    ("sizes", "chunks"), [(None, [b"onetwo"]), ([3, 3], [b"one", b"two"]), ([3, 0, 3], [b"one", b"two"])]
)
def test_pieces_that_came_together_are_told_apart_if_their_worker_says_how(sizes, chunks):
    async def main():
        async with fronting() as front:
            worker = front.worker(1, STREAM)
            client = await front.client()
            client.ask("POST", "/stream")
            call = await worker.call()
            worker.chunk(call, b"onetwo", "text/plain", **({} if sizes is None else {"piece_sizes": sizes}))
            await client.head()

            assert [await client.chunk() for _ in chunks] == chunks

    run(main())


STREAMS = EndpointSpec("streams", "/streams", is_stream=True, batch=BatchSpec(max_size=8))


def test_one_frame_carries_parts_of_several_streams_and_each_ends_alone():
    async def main():
        async with fronting() as front:
            worker = front.worker(1, STREAMS, STREAM)
            clients = await front.clients(3)
            clients[2].ask("POST", "/stream")
            first = await worker.call()
            for number in (0, 1):
                clients[number].ask("POST", "/streams")
                await until(lambda number=number: front.dispatcher.num_waiting == number + 1)
            worker.end(first)
            call = await worker.call(1)
            head = {"type": "text/event-stream", "status": 200}
            parts = [part_of(call, number) for number in (0, 1)]
            worker.stream(({**parts[0], **head, "is_end": True, "compute_s": 0.5}, b"a"), ({**parts[1], **head}, b"b"))
            for number, body in ((0, b"a"), (1, b"b")):
                await clients[number].head()
                assert await clients[number].chunk() == body
            assert await clients[0].chunk() == b""
            worker.end(call, number=1)
            assert await clients[1].chunk() == b""

            assert [path for _, path, _, _ in front.finished] == ["/stream", "/streams", "/streams"]

    run(main())


def test_a_client_that_leaves_a_batch_of_streams_is_told_of_and_the_last_one_cancels_it():
    async def main():
        async with fronting() as front:
            worker = front.worker(1, STREAMS, STREAM)
            clients = await front.clients(4)
            clients[3].ask("POST", "/stream")
            first = await worker.call()
            for number in range(3):
                clients[number].ask("POST", "/streams")
                await until(lambda number=number: front.dispatcher.num_waiting == number + 1)
            worker.end(first)
            call = await worker.call(1)
            ids = [item["id"] for item in call.header["items"]]
            clients[0].abort()
            await until(lambda: worker.left)
            worker.end(call, "cancelled", number=0)
            worker.end(call, number=1)
            assert (await clients[1].response()).status == 200
            assert worker.cancelled == []
            clients[2].abort()
            await until(lambda: worker.cancelled)

            assert worker.left == [(call.header["id"], ids[0])]
            assert worker.cancelled == [call.header["id"]]

    run(main())


# --- disconnects ------------------------------------------------------------------------------------------------


def test_a_client_that_leaves_while_waiting_is_never_sent():
    async def main():
        async with fronting() as front:
            worker = front.worker(1, ECHO)
            clients = await front.clients(3)
            clients[0].ask("POST", "/echo", b"0")
            call = await worker.call()
            for number in (1, 2):
                clients[number].ask("POST", "/echo", b"%d" % number)
                await until(lambda number=number: front.dispatcher.num_waiting == number)
            clients[1].abort()
            await until(lambda: front.dispatcher.num_waiting == 1)
            worker.answer(call)

            assert (await worker.call(1)).payload == b"2"
            assert worker.cancelled == []

    run(main())


def test_a_call_is_cancelled_when_the_last_of_its_clients_left():
    async def main():
        async with fronting() as front:
            worker = front.worker(1, MANY)
            clients = await front.clients(3)
            clients[0].ask("POST", "/many")
            first = await worker.call()
            for number in (1, 2):
                clients[number].ask("POST", "/many")
                await until(lambda number=number: front.dispatcher.num_waiting == number)
            worker.answer(first)
            call = await worker.call(1)
            clients[1].abort()
            await until(lambda: len(front.finished) == 2)
            assert worker.cancelled == []
            clients[2].abort()
            await until(lambda: worker.cancelled)
            worker.answer(call)
            worker.is_echoing = True

            assert worker.cancelled == [call.header["id"]]
            assert (await clients[0].response()).status == 200
            assert (await (await front.client()).get("POST", "/many")).status == 200

    run(main())


# --- from inside ------------------------------------------------------------------------------------------------


def test_a_request_from_inside_leaves_no_trace():
    async def main():
        async with fronting() as front:
            front.worker(4, ECHO, is_echoing=True)
            answer = await front.dispatcher.submit("POST", "/echo?a=b", {"Content-Type": "text/x"}, b"hi")

            assert isinstance(answer, Answer)
            assert (answer.status, answer.body, answer.generation, answer.compute_s) == (200, b"hi", 4, 0.25)
            assert answer.headers["content-type"] == "text/plain"
            assert 0 < answer.took_s < math.inf
            assert front.finished == []
            assert front.dispatcher.last_request is None

    run(main())


def test_the_last_request_is_kept_to_be_sent_again_without_credentials_and_without_probes():
    async def main():
        async with fronting() as front:
            front.worker(1, ECHO, is_echoing=True)
            client = await front.client()
            await client.get("POST", "/echo?a=b", b"hi", "Content-Type: text/x", "Authorization: secret", "Cookie: c")
            await client.get("POST", "/echo", b"probe", "x-hotloop-probe: similar")
            await client.get("POST", "/unknown", b"no")
            last = front.dispatcher.last_request
            assert last is not None
            assert (last.method, last.path, last.headers, last.body) == (
                "POST",
                "/echo?a=b",
                {"content-type": "text/x"},
                b"hi",
            )
            assert json.dumps(last.headers)
            again = await front.dispatcher.submit(last.method, last.path, last.headers, last.body)

            assert again.body == b"hi"
            assert [path for _, path, _, _ in front.finished] == ["/echo", "/unknown"]

    run(main())


def test_a_stream_from_inside_is_collected_and_one_that_broke_is_not_fine():
    async def main():
        async with fronting() as front:
            worker = front.worker(1, STREAM)
            whole = asyncio.create_task(front.dispatcher.submit("POST", "/stream", {}, b""))
            call = await worker.call()
            worker.chunk(call, b"one", "text/event-stream")
            worker.chunk(call, b"two")
            worker.end(call)
            broken = asyncio.create_task(front.dispatcher.submit("POST", "/stream", {}, b""))
            call = await worker.call(1)
            worker.chunk(call, b"one", "text/event-stream")
            worker.end(call, "ValueError: no")

            assert ((await whole).status, (await whole).body, (await whole).compute_s) == (200, b"onetwo", 0.5)
            assert ((await broken).status, (await broken).body) == (502, b"one")

    run(main())


def test_a_cancelled_request_from_inside_is_taken_back():
    async def main():
        async with fronting() as front:
            worker: FakeWorker = front.worker(1, STREAM)
            sent = asyncio.create_task(front.dispatcher.submit("POST", "/stream", {}, b""))
            call = await worker.call()
            waiting = asyncio.create_task(front.dispatcher.submit("POST", "/stream", {}, b""))
            await until(lambda: front.dispatcher.num_waiting == 1)
            waiting.cancel()
            sent.cancel()
            await until(lambda: worker.cancelled)

            assert worker.cancelled == [call.header["id"]]
            assert front.dispatcher.num_waiting == 0

    run(main())
