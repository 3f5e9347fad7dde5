"""Generators that serve the streams of a whole batch, through a real socket."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from tests.gpu_runtime.user_env.test_call import JSON, Stream, worker

KINDS = pytest.mark.parametrize("kind", ["def", "async def"])
AS_LIST = "[f'{step},' if step < count else hotloop.DONE for count in n]"
AS_DICT = "{i: f'{step},' if step < count else hotloop.DONE for i, count in enumerate(n) if step <= count}"


def source(kind: str, yielded: str, before: str = "pass", batch: str = "") -> str:
    """An endpoint that counts for each request up to its number, and notes what it is told."""
    return f"""
log = []
@app.endpoint(batch=hotloop.Batch({batch}))
{kind} f(n: list[int]):
    {before}
    try:
        for step in range(1000):
            log.append((yield {yielded}))
    finally:
        log.append("closed")
"""


def log() -> list[Any]:
    return sys.modules["shop"].log


@KINDS
@pytest.mark.parametrize("yielded", [AS_LIST, AS_DICT], ids=["list", "dict"])
def test_each_stream_ends_when_the_generator_says_so_and_then_it_is_closed(user, kind, yielded):
    with worker(user, source(kind, yielded)) as runtime:
        runtime.call("f", {"n": 1}, {"n": 3}, {"n": "x"}, {"n": 0}, accept="text/plain")
        streams = runtime.streams(10, 11, 12, 13)

    assert [streams[item].pieces for item in (10, 11, 13)] == [[b"0,"], [b"0,", b"1,", b"2,"], []]
    assert {streams[item].error for item in (10, 11, 13)} == {""}
    assert streams[12].head == {"type": JSON, "status": 422}
    assert log() == [frozenset(), frozenset(), frozenset(), "closed"]


@KINDS
def test_streams_that_are_open_end_with_the_generator(user, kind):
    body = "\n".join(["", "@app.endpoint(batch=hotloop.Batch())", f"{kind} f(n: list[int]):", "    yield {1: 'b'}"])
    with worker(user, body) as runtime:
        runtime.call("f", {"n": 1}, {"n": 2})
        streams = runtime.streams(10, 11)

    assert [(stream.head["status"], stream.body, stream.error) for stream in streams.values()] == [
        (200, b"", ""),
        (200, b"b", ""),
    ]


@KINDS
def test_a_client_that_leaves_ends_its_stream_alone_and_the_generator_is_told(user, kind):
    with worker(user, source(kind, "[f'{step},' for _ in n]")) as runtime:
        sys.modules["shop"].range = lambda _: iter(int, 1)  # without an end
        runtime.call("f", {"n": 0}, {"n": 0}, accept="text/plain")
        streams = {10: Stream(), 11: Stream()}
        runtime.hear(streams)
        runtime.cancel(1, 10)
        while not streams[10].end:
            runtime.hear(streams)
        count = len(streams[11].pieces)
        while len(streams[11].pieces) == count:
            runtime.hear(streams)
        is_open_still = not streams[11].end
        runtime.cancel()
        while not streams[11].end:
            runtime.hear(streams)

    assert is_open_still
    assert [streams[10].error, streams[11].error] == ["cancelled", "cancelled"]
    assert [told for told in log() if told] == [frozenset({0}), "closed"]


def test_who_leaves_while_nothing_is_yielded_for_anybody_is_told_too(user):
    with worker(user, source("def", "(__import__('time').sleep(0.001), {})[1]")) as runtime:
        sys.modules["shop"].range = lambda _: iter(int, 1)  # without an end
        runtime.call("f", {"n": 0}, {"n": 0})
        runtime.cancel(1, 10)
        streams = {10: Stream(), 11: Stream()}
        while not streams[10].end:
            runtime.hear(streams)
        is_open_still = not streams[11].end
        runtime.cancel()
        while not streams[11].end:
            runtime.hear(streams)

    assert is_open_still
    assert [told for told in log() if told] == [frozenset({0}), "closed"]


def test_who_left_while_a_batch_waited_is_told_too(user):
    with worker(user, source("def", AS_LIST)) as runtime:
        runtime.call("f", {"n": 1}, {"n": 2})
        runtime.cancel(1, 999)  # of no request in it: nothing happens
        streams = runtime.streams(10, 11)
        runtime.cancel(1, 10)  # too late: nothing happens
        runtime.call("f", {"n": 1})
        streams[12] = runtime.stream()

    assert [stream.body for stream in streams.values()] == [b"0,", b"0,1,", b"0,"]


WRONG = [
    ("['a']", "1 items for 2 requests"),
    ("['a', 'b', 'c']", "3 items for 2 requests"),
    ("'ab'", "a str for 2 requests"),
    ("5", "a int for 2 requests"),
    ("{2: 'a'}", "a dict with the key 2 for 2 requests"),
    ("{-1: 'a'}", "a dict with the key -1 for 2 requests"),
    ("{True: 'a'}", "a dict with the key True for 2 requests"),
    ("{'0': 'a'}", "a dict with the key '0' for 2 requests"),
]


@KINDS
@pytest.mark.parametrize(("yielded", "what"), WRONG)
def test_what_does_not_say_what_is_whose_ends_all_streams_with_the_place(user, kind, yielded, what):
    with worker(user, source(kind, yielded)) as runtime:
        runtime.call("f", {"n": 1}, {"n": 2})
        streams = runtime.streams(10, 11)

    message = f"endpoint 'f' at shop.py:7 is batched and yielded {what}"
    errors = [json.loads(stream.body)["error"] for stream in streams.values()]
    assert [(error["type"], error["message"], error["where"]) for error in errors] == [
        ("AppError", message, "shop.py:7")
    ] * 2
    assert log() == ["closed"]


@KINDS
def test_an_error_midway_ends_the_streams_that_are_open(user, kind):
    yielded = "[f'{step},' if step < count else hotloop.DONE if count < 9 else 1 // 0 for count in n]"
    with worker(user, source(kind, yielded).replace("range(1000)", "range(1, 1000)")) as runtime:
        runtime.call("f", {"n": 2}, {"n": 9}, accept="application/x-ndjson")
        streams = runtime.streams(10, 11)

    assert (streams[10].body, streams[10].error) == (b'"1,"\n', "")
    assert streams[11].error == "ZeroDivisionError: integer division or modulo by zero (shop.py:11)"
    last = json.loads(streams[11].body.splitlines()[-1])
    assert last["error"]["where"] == "shop.py:11"
    assert log()[-1] == "closed"


@KINDS
@pytest.mark.parametrize("on_error", ["bisect", "single"])
def test_one_bad_request_fails_alone_if_nothing_was_yielded_yet(user, kind, on_error):
    text = source(kind, AS_LIST, "[1 // (count - 7) for count in n]", f"on_error={on_error!r}")
    with worker(user, text) as runtime:
        runtime.call("f", {"n": 1}, {"n": 7}, {"n": 2})
        streams = runtime.streams(10, 11, 12)

    assert [(stream.head["status"], stream.body) for stream in (streams[10], streams[12])] == [
        (200, b"0,"),
        (200, b"0,1,"),
    ]
    assert streams[11].head["status"] == 500


@KINDS
def test_an_item_without_a_form_in_json_ends_the_streams_with_the_place(user, kind):
    with worker(user, source(kind, "[object() for _ in n]")) as runtime:
        runtime.call("f", {"n": 1})
        stream = runtime.stream()

    assert stream.head == {"type": JSON, "status": 500}
    assert json.loads(stream.body)["error"]["message"].startswith("endpoint 'f' at shop.py:7: result is an object")


def test_by_hand_such_a_generator_is_iterated(user):
    user.write("import hotloop\napp = hotloop.App('shop')\n" + source("def", AS_LIST))
    import importlib

    module = importlib.import_module("shop")
    steps = module.f([1, 0])

    assert [next(steps), repr(next(steps))] == [["0,", module.hotloop.DONE], "[hotloop.DONE, hotloop.DONE]"]
