"""Calls through a real socket: every call is answered once, whatever the user's function does."""

from __future__ import annotations

import itertools
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from hotloop.gpu_runtime.user_env import resolve, wire
from hotloop.gpu_runtime.user_env.call import Caller, serve
from hotloop.gpu_runtime.user_env.items import columns
from hotloop.gpu_runtime.user_env.items import items as items_of

HEAD = "from __future__ import annotations\nimport hotloop\napp = hotloop.App('shop')\n"
JSON = "application/json"
WAIT_S = 20.0


@dataclass
class Runtime:
    """The runtime's end of a worker's link."""

    link: wire.Link
    thread: threading.Thread
    controls: list[str] = field(default_factory=list)

    def call(self, endpoint: str, *items: Any, call_id: int = 1, accept: str = "", query: str = "") -> None:
        """Send a call: an item is a JSON object, or bytes to send raw."""
        bodies = [item if isinstance(item, bytes) else json.dumps(item).encode() for item in items]
        headers = [
            {
                "id": 10 * call_id + index, "query": query,
                "type": "application/octet-stream" if isinstance(item, bytes) else JSON,
                "accept": accept, "size": len(body),
            }
            for index, (item, body) in enumerate(zip(items, bodies, strict=True))
        ]  # fmt: skip
        described: dict[str, Any] = {"items": headers}
        like = {name: headers[0][name] for name in ("query", "type", "accept")}
        if all(header == {**header, **like} for header in headers):  # as the front does it
            described = columns([header["id"] for header in headers], list(map(len, bodies)), like)
        self.link.send({"kind": "call", "id": call_id, "endpoint": endpoint, **described}, b"".join(bodies))

    def cancel(self, call_id: int = 1, item_id: int | None = None) -> None:
        self.link.send({"kind": "cancel", "id": call_id} | ({} if item_id is None else {"item": item_id}))

    def result(self) -> list[tuple[int, Any]]:
        """Receive a result; give each item's status and body, JSON decoded."""
        message = self.link.receive()
        assert message.kind == "result", message
        assert message.header["compute_s"] >= 0
        found: list[tuple[int, Any]] = []
        offset = 0
        for item in items_of(message.header):
            body = message.payload[offset : offset + item["size"]]
            offset += item["size"]
            found.append((item["status"], json.loads(body) if item["type"] == JSON else body))
        assert offset == len(message.payload)
        return found

    def ask(self, endpoint: str, *items: Any, **options: Any) -> list[tuple[int, Any]]:
        self.call(endpoint, *items, **options)
        return self.result()

    def parts(self) -> list[tuple[dict[str, Any], bytes]]:
        """Receive one frame of streams: the parts with their bytes."""
        message = self.link.receive()
        assert message.kind == "stream", message
        ends = list(itertools.accumulate([part["size"] for part in message.header["parts"]], initial=0))
        assert ends[-1] == len(message.payload)
        return [
            (part, message.payload[start:end])
            for part, start, end in zip(message.header["parts"], ends, ends[1:], strict=False)
        ]

    def streams(self, *ids: int) -> dict[int, Stream]:
        """Receive streams to their ends."""
        found = {item_id: Stream() for item_id in ids}
        while not all(stream.end for stream in found.values()):
            self.hear(found)
        return found

    def hear(self, streams: dict[int, Stream]) -> None:
        """Receive one frame of streams, and add it to what was heard of them."""
        for part, data in self.parts():
            streams[part["item"]].add(part, data)

    def stream(self, call_id: int = 1) -> Stream:
        """Receive the stream that is a call's only one."""
        return self.streams(10 * call_id)[10 * call_id]


@dataclass
class Stream:
    """What was said of one stream: how it began, its pieces, how it ended."""

    head: dict[str, Any] = field(default_factory=dict)
    pieces: list[bytes] = field(default_factory=list)
    end: dict[str, Any] = field(default_factory=dict)

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def error(self) -> str:
        return self.end.get("error", "")

    def add(self, part: dict[str, Any], data: bytes) -> None:
        assert not self.end, part
        assert not ("type" in part and self.head), part
        assert "type" in part or self.head or not data, part
        if "type" in part:
            self.head = {"type": part["type"], "status": part["status"]}
        start = 0
        for size in part.get("piece_sizes", [part["size"]] if data else []):
            self.pieces.append(data[start : start + size])
            start += size
        assert start == len(data)
        if part.get("is_end"):
            self.end = part


@contextmanager
def worker(user, source: str, models: dict[str, Any] | None = None) -> Iterator[Runtime]:
    """Serve an app from a thread; at the end it must stop by itself."""
    plan = resolve.check(user.load(HEAD + source).app)
    ours, theirs = socket.socketpair()
    ours.settimeout(WAIT_S)
    link = wire.Link(theirs)
    controls: list[str] = []

    def on_control(message: wire.Message) -> bool:
        controls.append(message.kind)
        return message.kind != "exit"

    caller = Caller(plan, models or {}, link.send, user.project)
    thread = threading.Thread(target=serve, args=(link, caller, on_control), daemon=True)
    thread.start()
    runtime = Runtime(wire.Link(ours), thread, controls)
    try:
        yield runtime
        runtime.link.send({"kind": "exit"})
        thread.join(WAIT_S)
        assert not thread.is_alive()
    finally:
        ours.close()
        theirs.close()


PLAIN = """
@app.model
def encoder(): return 1

@app.endpoint
def embed(text: str, encoder, n: int = 2):
    return [encoder(text)] * n
"""


def test_a_call_gets_the_requests_values_and_the_models(user):
    with worker(user, PLAIN, {"encoder": len}) as runtime:
        assert runtime.ask("embed", {"text": "abc"}) == [(200, [3, 3])]
        assert runtime.ask("embed", {"text": "abc", "n": 1}, call_id=2) == [(200, [3])]


def test_a_bad_request_is_answered_with_its_place(user):
    with worker(user, PLAIN, {"encoder": len}) as runtime:
        assert runtime.ask("embed", {"text": 3}) == [
            (422, {"error": {"type": "BadRequest", "message": "text: expected a string, got 3", "where": "text"}})
        ]


def test_an_exception_is_answered_with_the_users_line_and_logged(user, capfd):
    with worker(user, "@app.endpoint\ndef f(x: int):\n    return 1 / x\n") as runtime:
        ((status, body),) = runtime.ask("f", {"x": 0})

    assert status == 500
    assert body["error"] == {"type": "ZeroDivisionError", "message": "division by zero", "where": "shop.py:6"}
    assert body["problem"]["frames"][-1]["source"] == "    return 1 / x"
    assert capfd.readouterr().err == (
        "Traceback (most recent call last):\n"
        '  File "shop.py", line 6, in f\n'
        "    return 1 / x\n"
        "           ^^^^^\n"
        "ZeroDivisionError: division by zero\n"
    )


@pytest.mark.parametrize("statement", ["sys.exit(3)", "raise BaseException('odd')", "raise StopIteration"])
def test_whatever_is_raised_the_worker_serves_on(user, statement):
    with worker(
        user, f"import sys\n@app.endpoint\ndef f(x: int = 0):\n    if x: return x\n    {statement}\n"
    ) as runtime:
        assert runtime.ask("f", {})[0][0] == 500
        assert runtime.ask("f", {"x": 1}, call_id=2) == [(200, 1)]


def test_a_result_that_can_not_be_written_names_the_endpoint_and_the_part(user):
    with worker(user, "@app.endpoint\ndef f():\n    return {'a': [object()]}\n") as runtime:
        ((status, body),) = runtime.ask("f", {})

    assert status == 500
    assert body["error"]["message"] == (
        "endpoint 'f' at shop.py:5: result.a[0] is an object, which can't be written as JSON"
    )
    assert body["error"]["where"] == "shop.py:5"


BATCHED = """
@app.endpoint(batch=hotloop.Batch(max_size=8))
def f(x: list[int], k: list[int | None]):
    print(x, k)
    return [(n, j) for n, j in zip(x, k)] if 7 not in x else [1]
"""


def test_a_batch_is_one_call_and_each_request_gets_its_entry(user, capfd):
    with worker(user, BATCHED) as runtime:
        assert runtime.ask("f", {"x": 1}, {"x": 2, "k": 5}) == [(200, [1, None]), (200, [2, 5])]

    assert capfd.readouterr().out == "[1, 2] [None, 5]\n"


def test_a_bad_request_in_a_batch_fails_alone(user):
    with worker(user, BATCHED) as runtime:
        found = runtime.ask("f", {"x": 1}, {"x": "a"}, {"x": 3})

    assert [status for status, _ in found] == [200, 422, 200]
    assert found[2] == (200, [3, None])


def test_a_batch_of_bad_requests_alone_does_not_call_the_function(user, capfd):
    with worker(user, BATCHED) as runtime:
        assert [status for status, _ in runtime.ask("f", {"x": "a"}, {})] == [422, 422]

    assert capfd.readouterr().out == ""


def test_one_unwritable_entry_of_a_batch_fails_alone(user):
    source = "@app.endpoint(batch=hotloop.Batch())\ndef f(x: list[int]):\n    return [n or object() for n in x]\n"
    with worker(user, source) as runtime:
        assert [status for status, _ in runtime.ask("f", {"x": 1}, {"x": 0}, {"x": 2})] == [200, 500, 200]


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ("[1]", "returned 1 results for 2 requests"),
        ("[1, 2, 3]", "returned 3 results for 2 requests"),
        ("None", "returned a NoneType: expected a list with one entry a request"),
        ("'ab'", "returned a str: expected a list with one entry a request"),
        ("{1: 1, 2: 2}", "returned a dict: expected a list with one entry a request"),
        ("(n for n in x)", "returned a generator: expected a list with one entry a request"),
        (
            "__import__('collections').UserDict(a=1, b=2)",
            "returned a UserDict: expected a list with one entry a request",
        ),
        ("type('DataFrame', (list,), {})(x)", "returned a DataFrame: expected a list with one entry a request"),
    ],
)
def test_a_batch_of_the_wrong_length_names_file_and_line(user, returned, message):
    source = f"@app.endpoint(batch=hotloop.Batch())\ndef f(x: list[int]):\n    return {returned}\n"
    with worker(user, source) as runtime:
        found = runtime.ask("f", {"x": 1}, {"x": 2})

    assert [status for status, _ in found] == [500, 500]
    for _, body in found:
        assert body["error"] == {
            "type": "AppError",
            "message": f"endpoint 'f' at shop.py:5 is batched and {message}",
            "where": "shop.py:5",
            "hint": "return one result for each entry of the list, in the same order",
        }


ROWS = """
class Rows:
    def __len__(self): return 2
    def __getitem__(self, place): raise RuntimeError("no row")

@app.endpoint(batch=hotloop.Batch())
def f(x: list[int]):
    return Rows() if x[0] else x
"""


def test_a_sequence_that_raises_fails_its_batch_and_the_worker_serves_on(user, capfd):
    with worker(user, ROWS) as runtime:
        found = runtime.ask("f", {"x": 1}, {"x": 2})

        assert [(status, body["error"]["message"]) for status, body in found] == [(500, "no row")] * 2
        assert runtime.ask("f", {"x": 0}, call_id=2) == [(200, 0)]


def test_raw_bodies_are_cut_by_their_sizes(user):
    source = "@app.endpoint(batch=hotloop.Batch())\ndef f(x: list[bytes]):\n    return x\n"
    with worker(user, source) as runtime:
        assert runtime.ask("f", b"abc", b"", b"\x00") == [
            (200, b"abc"),
            (200, b""),
            (200, b"\x00"),
        ]


# --- streams ----------------------------------------------------------------------------------------------------

STREAM = """
@app.endpoint
def f(items: list, fail: bool = False):
    for item in items:
        yield item
    if fail:
        raise ValueError("broke")

@app.endpoint
async def g(items: list, fail: bool = False):
    for item in items:
        yield item
    if fail:
        raise ValueError("broke")
"""


@pytest.mark.parametrize("endpoint", ["f", "g"])
@pytest.mark.parametrize(
    ("items", "accept", "kind", "chunks"),
    [
        (["a", "é"], "*/*", "text/plain; charset=utf-8", [b"a", "é".encode()]),
        (["a", 1], "", "text/plain; charset=utf-8", [b"a", b"1"]),
        ([1, "a"], "", "application/x-ndjson", [b"1\n", b'"a"\n']),
        (["a", {"b": 1}], "application/x-ndjson", "application/x-ndjson", [b'"a"\n', b'{"b":1}\n']),
        (
            ["a\nb", {"b": 1}],
            "text/event-stream",
            "text/event-stream; charset=utf-8",
            [b"data: a\ndata: b\n\n", b'data: {"b":1}\n\n'],
        ),
        (["", "a"], "text/plain", "text/plain; charset=utf-8", [b"a"]),
        ([], "", "text/plain; charset=utf-8", []),
    ],
)
def test_a_stream_is_written_as_asked_or_as_its_first_item(user, endpoint, items, accept, kind, chunks):
    with worker(user, STREAM) as runtime:
        runtime.call(endpoint, {"items": items}, accept=accept)
        stream = runtime.stream()

    assert stream.body == b"".join(chunks)
    assert stream.head == {"type": kind, "status": 200}
    assert stream.error == ""


@pytest.mark.parametrize("endpoint", ["f", "g"])
def test_a_stream_that_breaks_ends_with_the_error(user, endpoint):
    with worker(user, STREAM) as runtime:
        runtime.call(endpoint, {"items": ["a"], "fail": True}, accept="text/event-stream")
        stream = runtime.stream()

    line = 10 if endpoint == "f" else 17
    first, _, rest = stream.body.partition(b"\n\n")
    assert first == b"data: a"
    assert rest.startswith(b'event: error\ndata: {"error": {"type": "ValueError", "message": "broke"')
    assert stream.error == f"ValueError: broke (shop.py:{line})"


@pytest.mark.parametrize("kind", ["", "async "])
def test_a_message_with_half_of_a_surrogate_pair_ends_its_stream_and_the_worker_serves_on(user, kind, capfd):
    source = f"@app.endpoint\n{kind}def f(x: str):\n    yield 1\n    raise ValueError(x)\n"
    with worker(user, source) as runtime:
        for call_id in (1, 2):
            runtime.call("f", {"x": "\ud800 it"}, call_id=call_id)
            stream = runtime.stream(call_id)

            assert json.loads(stream.body.splitlines()[-1])["error"]["message"] == "\ud800 it"
            assert stream.error == "ValueError: ? it (shop.py:7)"


@pytest.mark.parametrize("endpoint", ["f", "g"])
def test_a_stream_that_breaks_before_its_first_item_is_an_ordinary_error(user, endpoint):
    with worker(user, STREAM) as runtime:
        runtime.call(endpoint, {"items": [], "fail": True})
        stream = runtime.stream()
        runtime.call(endpoint, {"items": 3}, call_id=2)
        refused = runtime.stream(2)

    assert stream.head == {"status": 500, "type": JSON}
    assert json.loads(stream.body)["error"]["message"] == "broke"
    assert stream.error == ""
    assert (refused.head["status"], json.loads(refused.body)["error"]["where"]) == (422, "items")


PAUSED = """
import asyncio, threading
may_go = threading.Event()
@app.endpoint
def f(n: int):
    for number in range(n):
        yield f"{number},"
    may_go.wait()
    yield "last"

@app.endpoint
async def g(n: int):
    for number in range(n):
        yield f"{number},"
    while not may_go.is_set():
        await asyncio.sleep(0.001)
    yield "last"

@app.endpoint
async def blocking(n: int):
    for number in range(n):
        yield f"{number},"
    may_go.wait()
    yield "last"
"""


@pytest.mark.parametrize("endpoint", ["f", "g", "blocking"])
@pytest.mark.parametrize("count", [1, 2, 3, 50, 5000])
def test_items_that_are_ready_are_sent_though_the_generator_goes_on_working(user, endpoint, count):
    with worker(user, PAUSED) as runtime:
        runtime.call(endpoint, {"n": count}, accept="text/plain")
        stream = Stream()
        while len(stream.pieces) < count:
            runtime.hear({10: stream})
        sys.modules["shop"].may_go.set()
        while not stream.end:
            runtime.hear({10: stream})

    assert stream.pieces == [*[b"%d," % number for number in range(count)], b"last"]


ENDLESS = """
import asyncio
@app.endpoint
def f():
    try:
        while True:
            yield "x"
    finally:
        print("closed", flush=True)

@app.endpoint
async def g():
    try:
        while True:
            yield "x"
    finally:
        await asyncio.sleep(0)
        print("closed", flush=True)

@app.endpoint
async def slow(x: int = 0):
    if x:
        return x
    try:
        await asyncio.sleep(3600)
    finally:
        print("closed", flush=True)
"""


@pytest.mark.parametrize("endpoint", ["f", "g"])
def test_a_stream_whose_client_is_gone_is_closed(user, endpoint, capfd):
    source = ENDLESS if endpoint == "g" else ENDLESS.split("@app.endpoint\nasync", maxsplit=1)[0]
    with worker(user, source) as runtime:
        runtime.call(endpoint, {})
        ((_, piece),) = runtime.parts()
        assert piece == b"x"
        runtime.cancel()
        while not (last := runtime.parts()[-1][0]).get("is_end"):
            pass

    assert last["error"] == "cancelled"
    assert capfd.readouterr().out == "closed\n"


def test_a_sync_stream_inside_a_loop_is_cancelled_too(user, capfd):
    with worker(user, ENDLESS) as runtime:
        runtime.call("f", {})
        assert runtime.parts()
        runtime.cancel()
        while not (last := runtime.parts()[-1][0]).get("is_end"):
            pass

    assert last["error"] == "cancelled"


def test_a_cancelled_async_call_is_answered_and_cleans_up(user, capfd):
    with worker(user, ENDLESS) as runtime:
        runtime.call("slow", {})
        assert runtime.ask("slow", {"x": 1}, call_id=2) == [(200, 1)]
        runtime.cancel()
        assert runtime.result() == [(499, b"")]

    assert capfd.readouterr().out == "closed\n"


@pytest.mark.parametrize("endpoint", ["f", "slow"])
def test_a_call_cancelled_before_it_began_never_runs(user, endpoint, capfd):
    source = ENDLESS + "\n@app.endpoint\ndef sync(): print('ran', flush=True); return 1\n"
    plan = resolve.check(user.load(HEAD + source).app)
    ours, theirs = socket.socketpair()
    ours.settimeout(WAIT_S)
    runtime = Runtime(wire.Link(ours), threading.current_thread())
    runtime.call(endpoint, {})
    runtime.cancel()
    runtime.call("sync", {}, call_id=2)
    runtime.cancel(2)
    runtime.link.send({"kind": "exit"})
    link = wire.Link(theirs)
    serve(link, Caller(plan, {}, link.send, user.project), lambda _: False)

    if endpoint == "f":
        assert runtime.stream().error == "cancelled"
    else:
        assert runtime.result() == [(499, b"")]
    assert runtime.result() == [(499, b"")]
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("more", ["", ENDLESS], ids=["plain", "loop"])
def test_calls_behind_several_that_took_long_do_not_wait_for_another_to_come(user, monkeypatch, more):
    monkeypatch.setattr("hotloop.gpu_runtime.user_env.serving.LONG_S", 0.0)
    source = "import time\n@app.endpoint\ndef nap(s: float): time.sleep(s); return s\n"
    with worker(user, more + source) as runtime:
        frames: list[bytes] = []
        with monkeypatch.context() as patch:
            patch.setattr(runtime.link, "send", lambda *frame: frames.append(wire.pack(*frame)))
            runtime.call("nap", {"s": 0.3}, call_id=1)
            runtime.call("nap", {"s": 0.0}, call_id=2)
        runtime.link._socket.sendall(b"".join(frames))  # in one piece: the second waits in the worker
        time.sleep(0.1)
        runtime.call("nap", {"s": 0.1}, call_id=3)  # this one in the socket: the second call has it read

        assert [runtime.result() for _ in range(3)] == [[(200, 0.3)], [(200, 0.0)], [(200, 0.1)]]


@pytest.mark.parametrize("more", ["", ENDLESS], ids=["plain", "loop"])
def test_a_call_behind_one_that_took_long_never_runs_once_its_client_is_gone(user, capfd, more):
    source = "import time\n@app.endpoint\ndef nap(s: float): time.sleep(s); print(s, flush=True); return s\n"
    with worker(user, more + source) as runtime:
        for call_id in (1, 2, 3):
            runtime.call("nap", {"s": 0.2 if call_id == 1 else 0.0}, call_id=call_id)
        runtime.cancel(2)

        assert [runtime.result() for _ in range(3)] == [[(200, 0.2)], [(499, b"")], [(200, 0.0)]]

    assert capfd.readouterr().out == "0.2\n0.0\n"


def test_a_cancellation_that_comes_too_late_changes_nothing(user):
    with worker(user, PLAIN, {"encoder": len}) as runtime:
        assert runtime.ask("embed", {"text": "a"}) == [(200, [1, 1])]
        runtime.cancel()
        assert runtime.ask("embed", {"text": "a"}, call_id=1) == [(200, [1, 1])]


# --- the loop ---------------------------------------------------------------------------------------------------


CANCELLING = """
import asyncio

async def given_up():
    task = asyncio.ensure_future(asyncio.sleep(60))
    task.cancel()
    await task

@app.endpoint
async def f(x: int):
    await given_up()

@app.endpoint(batch=hotloop.Batch())
async def many(x: list[int]):
    await given_up()

@app.endpoint
async def stream(x: int):
    yield x
    await given_up()
"""


def test_a_task_of_the_apps_own_that_was_cancelled_is_an_error_and_no_client_that_went(user, capfd):
    with worker(user, CANCELLING) as runtime:
        found = [*runtime.ask("f", {"x": 1}), *runtime.ask("many", {"x": 1}, {"x": 2}, call_id=2)]
        runtime.call("stream", {"x": 1}, call_id=3)
        stream = runtime.stream(3)

    assert [(status, body["error"]["type"]) for status, body in found] == [(500, "CancelledError")] * 3
    assert stream.error.startswith("CancelledError")


def test_a_sync_endpoint_may_run_a_loop_of_its_own_beside_async_ones(user):
    source = """
import asyncio

@app.endpoint
async def other():
    await asyncio.sleep(0)
    return asyncio.current_task() is not None

@app.endpoint
def f(x: int):
    return asyncio.run(asyncio.sleep(0, x))

@app.endpoint
def stream(x: int):
    yield asyncio.run(asyncio.sleep(0, x))
"""
    with worker(user, source) as runtime:
        assert runtime.ask("f", {"x": 3}) == [(200, 3)]
        runtime.call("stream", {"x": 4}, call_id=2)
        assert runtime.stream(2).body == b"4\n"
        assert runtime.ask("other", {}, call_id=3) == [(200, True)]


def test_async_calls_run_at_the_same_time(user):
    source = """
import asyncio
waiting = {}
@app.endpoint
async def wait():
    waiting["it"] = asyncio.get_running_loop().create_future()
    return await waiting["it"]
@app.endpoint
async def tell(x: int):
    waiting["it"].set_result(x)
@app.endpoint
def plain(x: int):
    return x
"""
    with worker(user, source) as runtime:
        runtime.call("wait", {}, call_id=1)
        assert runtime.ask("plain", {"x": 5}, call_id=2) == [(200, 5)]
        runtime.call("tell", {"x": 3}, call_id=3)
        assert sorted([str(runtime.result()), str(runtime.result())]) == ["[(200, 3)]", "[(200, None)]"]


def test_async_batches_and_errors_are_answered_like_sync_ones(user):
    source = """
@app.endpoint(batch=hotloop.Batch())
async def f(x: list[int]):
    return [10 // n for n in x]
"""
    with worker(user, source) as runtime:
        assert runtime.ask("f", {"x": 1}, {"x": "a"}, {"x": 5})[::2] == [(200, 10), (200, 2)]
        ((status, body),) = runtime.ask("f", {"x": 0}, call_id=2)
        assert (status, body["error"]["where"]) == (500, "shop.py:7")


def test_context_variables_do_not_leak_from_call_to_call_and_last_through_a_stream(user):
    source = """
from contextvars import ContextVar
var = ContextVar("var", default=0)
@app.endpoint
def f():
    before = var.get()
    var.set(before + 1)
    return before
@app.endpoint
def g():
    for _ in range(3):
        var.set(var.get() + 1)
        yield var.get()
"""
    with worker(user, source) as runtime:
        assert [runtime.ask("f", {}, call_id=n) for n in (1, 2)] == [[(200, 0)], [(200, 0)]]
        runtime.call("g", {}, call_id=3)
        assert runtime.stream(3).body == b"1\n2\n3\n"


@pytest.mark.parametrize("source", [PLAIN, ENDLESS], ids=["plain", "loop"])
def test_other_frames_go_to_the_worker(user, source):
    with worker(user, source) as runtime:
        runtime.link.send({"kind": "probe"})
        runtime.link.send({"kind": "learn"})

    assert runtime.controls == ["probe", "learn", "exit"]


@pytest.mark.parametrize("source", [PLAIN, ENDLESS], ids=["plain", "loop"])
def test_serving_ends_when_the_other_side_is_gone(user, source):
    plan = resolve.check(user.load(HEAD + source).app)
    ours, theirs = socket.socketpair()
    link = wire.Link(theirs)
    ours.close()

    serve(link, Caller(plan, {}, link.send, user.project), lambda _: True)


def test_messages_larger_than_a_socket_holds_are_answered_whole(user):
    source = "@app.endpoint\nasync def f(x: bytes):\n    return x\n@app.endpoint\ndef g(x: bytes):\n    return x\n"
    body = bytes(range(256)) * 20_000
    with worker(user, source) as runtime:
        assert runtime.ask("f", body) == [(200, body)]
        assert runtime.ask("g", body, call_id=2) == [(200, body)]


def test_a_revision_that_moved_under_a_request_is_said_to_have(user):
    user.project.update({"late.py": "0" * 64})
    user.write("x = 1\n", "late.py")
    with worker(user, "@app.endpoint\ndef f():\n    import late\n    return late.x\n") as runtime:
        ((status, body),) = runtime.ask("f", {})

    assert (status, body["error"]["message"]) == (
        503,
        "late.py was saved again while this request wanted to import it; send the request again",
    )


def test_an_app_without_async_endpoints_serves_without_asyncio(user):
    user.write(HEAD + PLAIN)
    code = f"""
import socket, sys
sys.path.insert(0, {str(user.folder)!r})
import shop
from hotloop.gpu_runtime.user_env import resolve, wire
from hotloop.gpu_runtime.user_env.call import Caller, serve
from hotloop.gpu_runtime.user_env.source import Project
a, b = socket.socketpair()
header = {{"kind": "call", "id": 1, "endpoint": "embed",
          "items": [{{"id": 1, "type": "application/json", "query": "", "accept": "", "size": 14}}]}}
wire.Link(a).send(header, b'{{"text":"abc"}}')
wire.Link(a).send({{"kind": "exit"}})
link = wire.Link(b)
serve(link, Caller(resolve.check(shop.app), {{"encoder": len}}, link.send, Project({str(user.folder)!r})), lambda _: False)
print(wire.Link(a).receive().kind, "asyncio" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)

    assert (done.stdout, done.stderr) == ("result False\n", "")


# --- batches that raise -----------------------------------------------------------------------------------------

PICKY = """
calls = []

@app.endpoint(batch=hotloop.Batch(on_error="{on_error}"))
{kind}def roots(x: list[int]):
    calls.append(list(x))
    if min(x) < 0:
        raise ValueError(f"no root of {{min(x)}}")
    return [n ** 0.5 for n in x]

@app.endpoint
def seen():
    return calls
"""


@pytest.mark.parametrize("kind", ["", "async "])
@pytest.mark.parametrize(
    ("on_error", "calls"),
    [
        ("fail", [[4, 9, -1, 16, 25]]),
        ("single", [[4, 9, -1, 16, 25], [4], [9], [-1], [16], [25]]),
        ("bisect", [[4, 9, -1, 16, 25], [4, 9], [-1, 16, 25], [-1], [16, 25]]),
    ],
)
def test_one_bad_request_fails_alone_if_the_batch_says_so(user, on_error, calls, kind):
    with worker(user, PICKY.format(on_error=on_error, kind=kind)) as runtime:
        found = runtime.ask("roots", *[{"x": x} for x in (4, 9, -1, 16, 25)])
        statuses = [status for status, _ in found]

        assert statuses == ([500] * 5 if on_error == "fail" else [200, 200, 500, 200, 200])
        assert found[2][1]["error"]["message"] == "no root of -1"
        assert found[3][1] == (4.0 if on_error != "fail" else found[2][1])
        assert runtime.ask("seen", {}, call_id=2) == [(200, calls)]


@pytest.mark.parametrize("on_error", ["bisect", "single"])
def test_a_batch_of_one_that_raises_is_not_tried_again(user, on_error):
    with worker(user, PICKY.format(on_error=on_error, kind="")) as runtime:
        assert [status for status, _ in runtime.ask("roots", {"x": -1})] == [500]
        assert runtime.ask("seen", {}, call_id=2) == [(200, [[-1]])]


WAITING = """
import threading
has_begun, may_go, calls = threading.Event(), threading.Event(), []

@app.endpoint(batch=hotloop.Batch(on_error="single"))
def f(x: list[int]):
    calls.append(list(x))
    has_begun.set()
    may_go.wait(20)
    raise ValueError("no")

@app.endpoint(batch=hotloop.Batch(on_error="single"))
def stream(x: list[int]):
    f(x)
    yield {}
"""


@pytest.mark.parametrize("endpoint", ["f", "stream"])
def test_a_batch_whose_clients_all_left_is_not_tried_in_parts(user, endpoint, capfd):
    with worker(user, WAITING) as runtime:
        app = sys.modules["shop"]
        runtime.call(endpoint, {"x": 1}, {"x": 2}, {"x": 3})
        app.has_begun.wait(WAIT_S)
        runtime.cancel()
        app.may_go.set()
        if endpoint == "f":
            statuses = [status for status, _ in runtime.result()]
        else:
            statuses = [stream.error for stream in runtime.streams(10, 11, 12).values()]

    assert statuses == ([499] * 3 if endpoint == "f" else ["cancelled"] * 3)
    assert app.calls == [[1, 2, 3]]


def test_a_result_says_that_its_time_is_no_example_if_the_function_raised(user):
    with worker(user, PICKY.format(on_error="bisect", kind="")) as runtime:
        runtime.call("roots", {"x": 1}, {"x": -1})
        assert runtime.link.receive().header["has_raised"]
        runtime.call("roots", {"x": 1}, call_id=2)
        assert "has_raised" not in runtime.link.receive().header


# --- requests that come ahead of their calls --------------------------------------------------------------------

SIZED = """
import threading
gate = threading.Event()

@app.endpoint(batch=hotloop.Batch(key=lambda text, times: 100 // len(text) * times))
def shout(text: list[str], times: list[int]):
    if text == ["wait"]:
        gate.wait(20)
    return [each.upper() * n for each, n in zip(text, times)]

@app.endpoint(batch=hotloop.Batch(key=lambda text: None))
def odd(text: list[str]):
    return text
"""


def stage(runtime: Runtime, endpoint: str, ids: list[int], *items: Any) -> None:
    bodies = [json.dumps(item).encode() for item in items]
    headers = [
        {"id": request_id, "type": JSON, "size": len(body)} for request_id, body in zip(ids, bodies, strict=True)
    ]
    runtime.link.send({"kind": "stage", "endpoint": endpoint, "items": headers}, b"".join(bodies))


def call_staged(runtime: Runtime, endpoint: str, *ids: int) -> None:
    items = [{"id": request_id, "size": 0, "is_staged": True} for request_id in ids]
    runtime.link.send({"kind": "call", "id": 7, "endpoint": endpoint, "items": items})


def test_what_came_ahead_is_measured_and_its_call_names_it_without_its_body(user):
    with worker(user, SIZED) as runtime:
        stage(runtime, "shout", [1, 2], {"text": "ab", "times": 1}, {"text": "abcd", "times": 3})
        staged = runtime.link.receive()
        call_staged(runtime, "shout", 2, 1)

        assert (staged.kind, staged.header["sizes"], staged.header["items"]) == ("staged", [[1, 50], [2, 75]], [])
        assert runtime.result() == [(200, "ABCDABCDABCD"), (200, "AB")]


def test_what_came_while_a_call_ran_is_measured_before_the_result_is_sent(user):
    with worker(user, SIZED) as runtime:
        runtime.call("shout", {"text": "wait", "times": 1})
        stage(runtime, "shout", [1], {"text": "abc", "times": 2})
        sys.modules["shop"].gate.set()

        assert [runtime.link.receive().kind for _ in range(2)] == ["staged", "result"]


def test_a_key_that_raises_or_refuses_to_be_a_number_fails_its_request_alone(user):
    with worker(user, SIZED) as runtime:
        stage(runtime, "shout", [1, 2, 3], {"text": "", "times": 1}, {"text": "ab", "times": 1}, {"nonsense": 1})
        staged = runtime.link.receive()
        call_staged(runtime, "shout", 1, 2)
        result = runtime.result()
        inline = runtime.ask("shout", {"text": "", "times": 1}, {"text": "ab", "times": 1})
        bad = runtime.ask("odd", {"text": "a"}, call_id=3)

        assert staged.header["sizes"] == [[2, 50]]
        assert [(item["id"], item["status"]) for item in staged.header["items"]] == [(1, 500), (3, 422)]
        assert [status for status, _ in result] == [500, 200]
        assert result[0][1]["error"]["type"] == "ZeroDivisionError"
        assert result[0][1]["error"]["where"].startswith("shop.py:")
        assert [status for status, _ in inline] == [500, 200]
        assert bad[0][1]["error"]["message"].endswith("gave None")


def test_what_is_dropped_is_forgotten(user):
    plan = resolve.check(user.load(HEAD + SIZED).app)
    caller = Caller(plan, {}, lambda header, payload: None, user.project)
    body = b'{"text": "ab", "times": 1}'
    items = [{"id": number, "type": JSON, "size": len(body)} for number in (1, 2)]
    caller.staging.take_in(wire.Message({"kind": "stage", "endpoint": "shout", "items": items}, body * 2))
    assert len(caller.staging) == 2
    caller.staging.take_in(wire.Message({"kind": "drop", "ids": [1, 9]}))
    assert len(caller.staging) == 1
    named = {"id": 2, "size": 0, "is_staged": True}
    caller.refuse(wire.Message({"kind": "call", "id": 1, "endpoint": "shout", "items": [named]}))

    assert len(caller.staging) == 0


def test_a_call_says_the_sizes_of_what_was_not_measured_before(user):
    with worker(user, SIZED) as runtime:
        runtime.call("shout", {"text": "ab", "times": 1})

        assert runtime.link.receive().header["sizes"] == [[10, 50]]
