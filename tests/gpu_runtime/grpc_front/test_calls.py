"""Calls from gRPC clients to generations and back, over real sockets."""

from __future__ import annotations

import asyncio
import json

import grpc
import pytest

from hotloop.events import Problem
from hotloop.gpu_runtime.endpoints import EndpointSpec
from hotloop.gpu_runtime.grpc_front.exchange import PIECE_BYTES
from hotloop.gpu_runtime.limits import Limits
from tests.gpu_runtime.front import run, until
from tests.gpu_runtime.grpc_front.calling import calling, failure_of, joined, pieces_of

ECHO = EndpointSpec("echo", "/echo")
FIND = EndpointSpec("find", "/search", methods=("GET",))
EITHER = EndpointSpec("either", "/either", methods=("GET", "POST"))
TOKENS = EndpointSpec("tokens", "/tokens", is_stream=True, kind="async")
Code = grpc.StatusCode


def measured(metadata) -> dict[str, str]:
    return {name: value for name, value in dict(metadata).items() if name.startswith("x-hotloop-")}


# --- one message ------------------------------------------------------------------------------------------------


def test_a_call_carries_what_the_app_needs_and_its_answer_says_how_it_went():
    async def main():
        async with calling() as (front, client, _):
            worker = front.worker(3, ECHO)
            asked = client.ask("/echo?a=1", b"hi", content_type="text/x", accept="text/plain")
            call = await worker.call()
            worker.answer(call, b"> ")
            answer = await asked

            item = {**call.header["items"][0], "id": 0}
            assert item == {"id": 0, "query": "a=1", "type": "text/x", "accept": "text/plain", "size": 2}
            assert (answer.content_type, answer.body) == ("text/plain", b"> hi")
            found = measured(await asked.trailing_metadata())
            assert float(found.pop("x-hotloop-queue-ms")) >= 0
            assert found == {
                "x-hotloop-generation": "3", "x-hotloop-revision": "30", "x-hotloop-compute-ms": "250.000",
                "x-hotloop-batch-size": "1",
            }  # fmt: skip
            assert front.finished == [("POST", "/echo", 200, 3)]

    run(main())


@pytest.mark.parametrize(
    ("endpoint", "method", "asked"),
    [
        ("echo", "", ("POST", "/echo", "")),
        ("/echo", "", ("POST", "/echo", "")),
        ("find", "", ("GET", "/search", "")),
        ("find?text=a%20cat", "", ("GET", "/search", "text=a%20cat")),
        ("/search?text=cat", "get", ("GET", "/search", "text=cat")),
        ("either", "", ("POST", "/either", "")),
        ("either", "GET", ("GET", "/either", "")),
    ],
)
def test_an_endpoint_is_named_or_given_by_its_path(endpoint, method, asked):
    async def main():
        async with calling() as (front, client, _):
            worker = front.worker(1, ECHO, FIND, EITHER, is_echoing=True)
            await client.ask(endpoint, method=method)

            item = worker.calls[0].header["items"][0]
            assert (*front.finished[0][:2], item.get("query", "")) == asked

    run(main())


def test_a_call_that_is_held_finds_its_endpoint_by_name_in_the_generation_that_comes():
    async def main():
        async with calling() as (front, client, _):
            asked = client.ask("find")
            await until(lambda: front.dispatcher.num_waiting == 1)
            front.worker(1, FIND, is_echoing=True)
            await asked

            assert front.finished == [("GET", "/search", 200, 1)]

    run(main())


def test_what_is_served_beside_the_endpoints_is_served_here_too():
    async def main():
        async with calling() as (front, client, _):
            front.worker(4, ECHO)
            answer = await client.ask("/ready")

            assert json.loads(answer.body) == {"status": "ok", "generation": 4, "revision": 40}

    run(main())


def test_hundreds_of_calls_at_once_are_all_answered_with_their_own():
    async def main():
        async with calling(max_queued=5000) as (front, client, _):
            front.worker(1, ECHO, is_echoing=True)
            answers = await asyncio.gather(*[client.ask("echo", b"%d" % number) for number in range(1500)])

            assert [answer.body for answer in answers] == [b"%d" % number for number in range(1500)]

    run(main(), timeout_s=50)


def test_a_streamed_answer_to_call_comes_whole():
    async def main():
        async with calling() as (front, client, _):
            worker = front.worker(1, TOKENS)
            asked = client.ask("tokens")
            call = await worker.call()
            for piece in (b"a", b"b", b"c"):
                worker.chunk(call, piece, "text/plain" if piece == b"a" else "")
            worker.end(call)

            assert (await asked).body == b"abc"
            assert measured(await asked.trailing_metadata())["x-hotloop-compute-ms"] == "500.000"

    run(main())


# --- in pieces --------------------------------------------------------------------------------------------------


def test_pieces_come_as_they_are_made_and_the_measurements_with_the_first_and_the_end():
    async def main():
        async with calling() as (front, client, _):
            worker = front.worker(2, TOKENS)
            asked = client.listen("tokens", b"hi", accept="text/event-stream")
            call = await worker.call()
            worker.chunk(call, b"a", "text/event-stream")
            begun = measured(await asked.initial_metadata())
            first = await asked.read()
            worker.chunk(call, b"b")
            second = await asked.read()
            worker.end(call)
            end = await asked.read()

            assert set(begun) == {"x-hotloop-generation", "x-hotloop-revision", "x-hotloop-queue-ms"}
            assert [(p.content_type, p.data) for p in (first, second)] == [("text/event-stream", b"a"), ("", b"b")]
            assert end is grpc.aio.EOF
            assert measured(await asked.trailing_metadata()) == {**begun, "x-hotloop-compute-ms": "500.000"}

    run(main())


def test_a_stream_without_any_piece_says_its_type():
    async def main():
        async with calling() as (front, client, _):
            worker = front.worker(1, TOKENS)
            asked = client.listen("tokens")
            worker.end(await worker.call())
            pieces, failure = await pieces_of(asked)

            assert ([(p.content_type, p.data) for p in pieces], failure) == ([("application/octet-stream", b"")], None)

    run(main())


@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_a_large_answer_is_cut_into_pieces_that_every_client_takes(extra):
    async def main():
        async with calling() as (front, client, _):
            front.worker(1, ECHO, is_echoing=True)
            body = bytes(range(256)) * (2 * PIECE_BYTES // 256) + b"x" * PIECE_BYTES
            body = body[: 2 * PIECE_BYTES + extra]
            pieces, failure = await pieces_of(client.listen("echo", body))

            assert failure is None
            assert joined(pieces) == body
            assert [len(piece.data) for piece in pieces] == [
                size for size in (PIECE_BYTES, PIECE_BYTES + min(extra, 0), max(extra, 0)) if size
            ]

    run(main())


def test_many_small_pieces_go_together_while_the_client_is_slow():
    async def main():
        async with calling() as (front, client, _):
            worker = front.worker(1, TOKENS)
            asked = client.listen("tokens")
            call = await worker.call()
            worker.chunk(call, b"-", "text/plain")
            await asked.read()
            for number in range(5000):
                worker.chunk(call, b"%4d" % number)
            worker.end(call)
            await until(lambda: front.finished)
            pieces, failure = await pieces_of(asked)

            assert failure is None
            assert joined(pieces) == b"".join(b"%4d" % number for number in range(5000))
            assert len(pieces) < 500

    run(main())


# --- what goes wrong --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (304, Code.UNKNOWN),
        (400, Code.INVALID_ARGUMENT),
        (401, Code.UNAUTHENTICATED),
        (403, Code.PERMISSION_DENIED),
        (404, Code.NOT_FOUND),
        (405, Code.UNIMPLEMENTED),
        (409, Code.ABORTED),
        (418, Code.FAILED_PRECONDITION),
        (422, Code.INVALID_ARGUMENT),
        (429, Code.RESOURCE_EXHAUSTED),
        (500, Code.INTERNAL),
        (501, Code.UNIMPLEMENTED),
        (502, Code.INTERNAL),
        (503, Code.UNAVAILABLE),
        (504, Code.DEADLINE_EXCEEDED),
        (599, Code.INTERNAL),
    ],
)
@pytest.mark.parametrize("is_stream", [False, True])
def test_an_endpoints_error_has_the_usual_code_its_message_and_its_body(status, code, is_stream):
    body = b'{"error": {"type": "ValueError", "message": "no \\u00e4pple", "where": "app.py:7"}}'

    async def main():
        async with calling() as (front, client, _):
            worker = front.worker(1, ECHO)
            asked = client.listen("echo") if is_stream else client.ask("echo")
            call = await worker.call()
            item = {
                "id": call.header["items"][0]["id"],
                "status": status,
                "type": "application/json",
                "size": len(body),
            }
            worker.send_raw({"kind": "result", "id": call.header["id"], "compute_s": 0.25, "items": [item]}, body)
            failure = (await pieces_of(asked))[1] if is_stream else await failure_of(asked)

            assert (failure.code, failure.text) == (code, "no äpple")
            assert failure.metadata["x-hotloop-error-bin"] == body
            assert failure.metadata["x-hotloop-status"] == str(status)
            assert failure.metadata["x-hotloop-generation"] == "1"
            assert front.finished == [("POST", "/echo", status, 1)]

    run(main())


@pytest.mark.parametrize(
    ("endpoint", "metadata", "code", "said"),
    [
        ("ecco", (), Code.NOT_FOUND, "No endpoint at /ecco."),
        ("/", (), Code.NOT_FOUND, "No endpoint at /."),
        ("", (), Code.NOT_FOUND, "No endpoint at /."),
        ("find", (), Code.UNIMPLEMENTED, "/search does not take POST."),
        ("echo", (("x-hotloop-deadline-ms", "soon"),), Code.INVALID_ARGUMENT, "x-hotloop-deadline-ms is 'soon'"),
        ("echo", (("x-hotloop-deadline-ms", "-1"),), Code.INVALID_ARGUMENT, "x-hotloop-deadline-ms is '-1'"),
        ("echo", (("x-hotloop-deadline-ms", "nan"),), Code.INVALID_ARGUMENT, "x-hotloop-deadline-ms is 'nan'"),
        ("echo", (("x-hotloop-priority", "now"),), Code.INVALID_ARGUMENT, "x-hotloop-priority is 'now'"),
    ],
)
@pytest.mark.parametrize("timeout", [None, 10])
def test_what_is_no_request_is_said(endpoint, metadata, code, said, timeout):
    async def main():
        async with calling() as (front, client, _):
            front.worker(1, ECHO, FIND)
            failure = await failure_of(client.ask(endpoint, metadata=metadata, method="POST", timeout=timeout))

            assert failure.code is code
            assert failure.text.startswith(said)
            assert failure.error["message"].startswith(said)

    run(main())


def test_a_failed_start_is_told_with_its_place():
    async def main():
        async with calling() as (front, client, _):
            front.dispatcher.fail_all(Problem("NameError", "name 'x' is not defined", hint="define x"))
            failure = await failure_of(client.ask("echo"))

            assert failure.code is Code.UNAVAILABLE
            assert failure.text == "name 'x' is not defined\nHint: define x"
            assert failure.metadata["retry-after"] == "1"

    run(main())


def test_a_full_queue_says_when_to_try_again():
    async def main():
        async with calling(max_queued=1) as (front, client, _):
            worker = front.worker(1, ECHO)
            first = client.ask("echo", b"1")
            await worker.call()
            second = client.ask("echo", b"2")
            await until(lambda: front.dispatcher.num_waiting == 1)
            failure = await failure_of(client.ask("echo", b"3"))
            worker.answer(worker.calls[0])
            worker.answer(await worker.call(1))

            assert failure.code is Code.RESOURCE_EXHAUSTED
            assert int(failure.metadata["retry-after"]) >= 1
            assert failure.error["type"] == "TooManyRequests"
            assert [(await first).body, (await second).body] == [b"1", b"2"]

    run(main())


@pytest.mark.parametrize(
    ("content_type", "sent"),
    [
        ("text/event-stream", [b"data: 1\n\n"]),
        ("application/x-ndjson", [b"1\n"]),
        ("text/plain", [b"1"]),
        ("application/octet-stream", [b"1"]),
        ("", []),
    ],
)
def test_a_stream_that_breaks_gives_what_there_was_then_an_error(content_type, sent):
    error = json.dumps({"error": {"type": "ValueError", "message": "no more", "hint": ""}})

    async def main():
        async with calling() as (front, client, _):
            worker = front.worker(1, TOKENS)
            asked = client.listen("tokens")
            call = await worker.call()
            for piece in sent:
                worker.chunk(call, piece, content_type)
            worker.end(call, error)
            pieces, failure = await pieces_of(asked)

            assert joined(pieces) == b"".join(sent)
            assert (failure.code, failure.text) == (Code.INTERNAL, "no more")
            assert failure.error["type"] == "ValueError"

    run(main())


@pytest.mark.parametrize("content_type", ["text/event-stream", "application/octet-stream"])
def test_a_worker_that_dies_under_a_stream_ends_it_with_an_error_in_its_status(content_type):
    async def main():
        async with calling() as (front, client, _):
            worker = front.worker(1, TOKENS)
            asked = client.listen("tokens")
            call = await worker.call()
            worker.chunk(call, b"data: 1\n\n", content_type)
            first = await asked.read()
            worker.die()
            rest, failure = await pieces_of(asked)

            assert first.data == b"data: 1\n\n"
            assert (b"event: error" in joined(rest)) is (content_type == "text/event-stream")
            assert failure.code is Code.INTERNAL
            assert failure.error["type"] == "WorkerLost"

    run(main())


def test_a_call_under_which_its_worker_dies_fails_and_those_that_may_run_again_do():
    async def main():
        async with calling() as (front, client, _):
            worker = front.worker(1, ECHO, EndpointSpec("safe", "/safe", idempotent=True, kind="async"))
            unsafe, safe = client.ask("echo"), client.ask("safe", b"again")
            await until(lambda: len(worker.calls) == 2)
            worker.die()
            failure = await failure_of(unsafe)
            front.worker(2, EndpointSpec("safe", "/safe", idempotent=True), is_echoing=True)

            assert (failure.code, failure.error["type"]) == (Code.INTERNAL, "WorkerLost")
            assert (await safe).body == b"again"

    run(main())


# --- deadlines --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_held", [True, False])
def test_a_calls_own_deadline_takes_it_out_of_the_line_before_it_costs_anything(is_held):
    async def main():
        async with calling() as (front, client, _):
            worker = None if is_held else front.worker(1, ECHO)
            first = None if worker is None else client.ask("echo", b"1")
            if worker is not None:
                await worker.call()
            failure = await failure_of(client.ask("echo", b"2", timeout=0.2))
            await until(lambda: front.dispatcher.num_waiting == 0)
            if worker is not None and first is not None:
                worker.answer(worker.calls[0])
                await first
                assert len(worker.calls) == 1

            assert failure.code is Code.DEADLINE_EXCEEDED

    run(main())


def test_a_deadline_in_the_metadata_is_the_dispatchers_to_keep():
    async def main():
        async with calling() as (front, client, _):
            failure = await failure_of(client.ask("echo", metadata=(("x-hotloop-deadline-ms", "50"),)))

            assert failure.code is Code.DEADLINE_EXCEEDED
            assert failure.error["stage"] == "queue"
            assert [status for _, _, status, _ in front.finished] == [504]

    run(main())


def test_a_call_whose_deadline_passes_while_it_runs_is_cancelled_in_the_worker():
    async def main():
        async with calling() as (front, client, _):
            worker = front.worker(1, ECHO)
            asked = client.ask("echo", timeout=0.3)
            call = await worker.call()
            failure = await failure_of(asked)
            await until(lambda: worker.cancelled)

            assert failure.code is Code.DEADLINE_EXCEEDED
            assert worker.cancelled == [call.header["id"]]
            assert [status for _, _, status, _ in front.finished] == [499]

    run(main())


# --- clients that go --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_client_that_cancels_while_it_waits_is_never_sent(is_stream):
    async def main():
        async with calling() as (front, client, _):
            worker = front.worker(1, ECHO)
            first = client.ask("echo", b"1")
            await worker.call()
            second = client.listen("echo", b"2") if is_stream else client.ask("echo", b"2")
            await until(lambda: front.dispatcher.num_waiting == 1)
            second.cancel()
            await until(lambda: front.dispatcher.num_waiting == 0)
            worker.answer(worker.calls[0])
            await first

            assert len(worker.calls) == 1
            assert worker.cancelled == []

    run(main())


@pytest.mark.parametrize("way", ["cancel", "close"])
def test_a_client_that_goes_within_a_stream_has_its_worker_stopped(way):
    async def main():
        async with calling() as (front, client, _):
            worker = front.worker(1, TOKENS)
            asked = client.listen("tokens")
            call = await worker.call()
            worker.chunk(call, b"a", "text/plain")
            await asked.read()
            if way == "cancel":
                asked.cancel()
            else:
                await client.channel.close()
            await until(lambda: worker.cancelled)

            assert worker.cancelled == [call.header["id"]]
            assert [status for _, _, status, _ in front.finished] == [499]

    run(main())


def test_a_client_that_takes_nothing_is_given_up():
    async def main():
        async with calling(Limits(write_timeout_s=0.2)) as (front, client, _):
            worker = front.worker(1, TOKENS)
            asked = client.listen("tokens")
            call = await worker.call()
            worker.chunk(call, b"x" * PIECE_BYTES, "text/plain")
            await asked.read()
            for _ in range(30):  # more than the sockets and windows between them take
                worker.chunk(call, b"x" * PIECE_BYTES)
            await until(lambda: worker.cancelled)
            _, failure = await pieces_of(asked)

            assert worker.cancelled == [call.header["id"]]
            assert failure.code is Code.DEADLINE_EXCEEDED
            assert failure.text == "The client took nothing for 0.2 s."

    run(main())


# --- what a client may send -------------------------------------------------------------------------------------


OURS = "The request's body is larger than 1000 bytes.\nHint: Send it in parts."


@pytest.mark.parametrize(
    ("size", "refusal"),
    [(999, ""), (1000, ""), (1001, OURS), (60_000, OURS), (200_000, "SERVER: Received message larger than max")],
)
@pytest.mark.parametrize("is_stream", [False, True])
def test_a_body_above_the_limit_is_refused(size, refusal, is_stream):
    async def main():
        async with calling(Limits(max_body_bytes=1000)) as (front, client, _):
            worker = front.worker(1, ECHO, is_echoing=True)
            if is_stream:
                pieces, failure = await pieces_of(client.listen("echo", b"x" * size))
                body = joined(pieces)
            else:
                asked = client.ask("echo", b"x" * size)
                failure = await failure_of(asked) if refusal else None
                body = b"" if refusal else (await asked).body

            if refusal:
                assert failure.code is Code.RESOURCE_EXHAUSTED
                assert failure.text.startswith(refusal)
                assert worker.calls == []
            else:
                assert (body, failure) == (b"x" * size, None)

    run(main())


def test_a_body_is_taken_that_is_larger_than_grpcs_own_limit():
    async def main():
        async with calling() as (front, client, _):
            front.worker(1, ECHO, is_echoing=True)
            body = bytes(5 << 20)

            assert (await client.ask("echo", body)).body == body

    run(main())


@pytest.mark.parametrize(("size", "is_taken"), [(3000, True), (9000, False)])
def test_metadata_above_the_limit_is_refused(size, is_taken):
    async def main():
        async with calling(Limits(max_head_bytes=4096)) as (front, client, _):
            front.worker(1, ECHO, is_echoing=True)
            asked = client.ask("echo", b"hi", metadata=(("x-long", "y" * size),))

            if is_taken:
                assert (await asked).body == b"hi"
            else:
                assert (await failure_of(asked)).code is Code.RESOURCE_EXHAUSTED

    run(main())


def test_a_compressed_message_is_refused():
    async def main():
        async with calling() as (front, client, _):
            worker = front.worker(1, ECHO)
            packed = client.channel.unary_unary("/hotloop.serving.v1.Endpoints/Call")
            failure = await failure_of(packed(b"\0" * 100_000, compression=grpc.Compression.Gzip))

            assert failure.code is Code.UNIMPLEMENTED
            assert "gzip" in failure.text
            assert worker.calls == []

    run(main())


def test_what_is_no_message_of_the_service_fails_alone():
    async def main():
        async with calling() as (front, client, _):
            front.worker(1, ECHO, is_echoing=True)
            failure = await failure_of(client.channel.unary_unary("/hotloop.serving.v1.Endpoints/Call")(b"\xff\xff"))

            assert failure.code in {Code.INTERNAL, Code.UNKNOWN}
            assert (await client.ask("echo", b"hi")).body == b"hi"

    run(main())
