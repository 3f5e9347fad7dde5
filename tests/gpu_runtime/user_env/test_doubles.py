"""Floats that the front writes: the same bytes as if the worker had, and never more than it has time for."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gpu_runtime.user_env.test_call import Runtime, worker

from hotloop.gpu_runtime.user_env import doubles, jsonable
from hotloop.gpu_runtime.user_env.doubles import LEAST_RATIO, MOST, WRITE_S, Allowance

ROW = [n / 7 for n in range(100)]
PLENTY_S = 3600.0


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=32, max_size=80))
def test_what_the_front_writes_is_what_the_worker_would_have_written(row):
    raw = Allowance(PLENTY_S).take(row)

    assert raw is None or doubles.as_json(memoryview(raw)) == jsonable.dumps(row)
    assert raw is not None or not math.isfinite(sum(row))


@pytest.mark.parametrize(
    "value",
    [
        ROW[:31], tuple(ROW), [1, *ROW], [True, *ROW], [None, *ROW], ["a", *ROW], [ROW, ROW], {"a": ROW}, "a" * 99,
        [*ROW, math.nan], [*ROW, math.inf], [*ROW, -math.inf], [*ROW, math.inf, -math.inf], None, b"a" * 99,
    ],
)  # fmt: skip
def test_anything_but_a_long_list_of_finite_floats_is_written_by_the_worker(value):
    assert Allowance(PLENTY_S).take(value) is None


@pytest.mark.parametrize(("num_writes", "is_taken"), [(99, False), (100, True), (101, True)])
def test_the_front_gets_no_more_than_its_share_of_the_time_that_a_call_took(num_writes, is_taken):
    allowance = Allowance((num_writes + 0.5) * WRITE_S * LEAST_RATIO)

    assert (allowance.take(ROW) is not None) is is_taken
    assert allowance.take(ROW) is None, "that was all"


@pytest.mark.parametrize(("length", "is_taken"), [(MOST - 1, True), (MOST, True), (MOST + 1, False)])
def test_one_call_gives_the_front_only_so_much_to_write_however_long_it_took(length, is_taken):
    assert (Allowance(PLENTY_S).take([0.5] * length) is not None) is is_taken


BATCH = """
import time

@app.endpoint(batch=hotloop.Batch(max_size=8))
def rows(n: list[int], takes_s: list[float]):
    time.sleep(max(takes_s))
    return [[n / 7 for n in range(each)] for each in n]

@app.endpoint(batch=hotloop.Batch(max_size=8))
async def rows_async(n: list[int]):
    time.sleep(0.02)
    return [[n / 7 for n in range(each)] for each in n]

@app.endpoint
def row(n: int):
    time.sleep(0.02)
    return [n / 7 for n in range(n)]
"""


def answered(runtime: Runtime) -> list[tuple[bool, str, list[float]]]:
    """Of each item: whether the front has to write it, its type, its floats."""
    message = runtime.link.receive()
    found, start = [], 0
    for item in message.header["items"]:
        body = message.payload[start : start + item["size"]]
        start += item["size"]
        is_doubles = item.get("is_doubles", False)
        if item["type"] == "application/json":
            found.append((is_doubles, item["type"], json.loads(doubles.as_json(body) if is_doubles else body)))
        else:
            found.append((is_doubles, item["type"], []))
    return found


def test_a_long_call_of_several_requests_leaves_its_floats_to_the_front(user):
    with worker(user, BATCH) as runtime:
        runtime.call("rows", {"n": 100, "takes_s": 0.02}, {"n": 3, "takes_s": 0})

        kind = "application/json"
        assert answered(runtime) == [(True, kind, ROW), (False, kind, ROW[:3])]


@pytest.mark.parametrize(
    ("endpoint", "items", "accept"),
    [
        ("rows", [{"n": 100, "takes_s": 0}] * 2, ""),
        ("rows", [{"n": 100, "takes_s": 0.02}], ""),
        ("rows", [{"n": 100, "takes_s": 0.02}] * 2, "application/msgpack"),
        ("rows_async", [{"n": 100}] * 2, ""),
        ("row", [{"n": 100}], ""),
    ],
)
def test_a_short_call_one_request_alone_and_another_format_are_written_by_the_worker(user, endpoint, items, accept):
    with worker(user, BATCH) as runtime:
        runtime.call(endpoint, *items, accept=accept)

        assert not any(is_doubles for is_doubles, _, _ in answered(runtime))
