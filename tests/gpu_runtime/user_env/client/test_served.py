"""The clients against an app that is really served, and probes that call it."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.gpu_runtime.driver import RuntimeDriver

import hotloop
from hotloop import AsyncClient, Client, ClientError, events

pytestmark = pytest.mark.xdist_group("served")  # one runtime for all

APP = """
from __future__ import annotations

import dataclasses
import datetime
import enum
from collections.abc import AsyncIterator, Iterator

import hotloop

app = hotloop.App("served")


class Mood(enum.Enum):
    GOOD = "good"


@dataclasses.dataclass
class Answer:
    text: str
    mood: Mood
    at: datetime.date


@app.endpoint
def ask(text: str) -> Answer:
    return Answer(text, Mood.GOOD, datetime.date(2026, 1, 2))


@app.endpoint(batch=hotloop.Batch(max_size=4))
def embed(text: list[str]) -> list[tuple[int, float]]:
    return [(len(each), 0.5) for each in text]


told = []


@app.endpoint(batch=hotloop.Batch(max_size=8))
def talk(to: list[int]) -> Iterator[dict[int, Answer | hotloop.Done]]:
    step = 0
    while True:
        say = Answer(str(step), Mood.GOOD, datetime.date(2026, 1, 2))
        told.extend((yield {index: say if step < end else hotloop.DONE for index, end in enumerate(to)}))
        step += 1


@app.endpoint
def told_so_far() -> list[int]:
    return told


@app.endpoint(path="/v1/size")
def size(image: bytes, factor: int = 1) -> int:
    return len(image) * factor


@app.endpoint
def reverse(image: bytes) -> bytes:
    return image[::-1]


@app.endpoint
def both(a: bytes, b: bytes = b"") -> list[int]:
    return [len(a), len(b)]


@app.endpoint
def count(to: int) -> Iterator[Answer]:
    for n in range(to):
        yield Answer(str(n), Mood.GOOD, datetime.date(2026, 1, 2))


@app.endpoint
async def endless() -> AsyncIterator[int]:
    n = 0
    while True:
        yield n
        n += 1


@app.endpoint
def breaks() -> Iterator[int]:
    yield 1
    raise ValueError("broke")


@app.endpoint
def fails(text: str) -> str:
    raise ValueError(f"no {text}")


@app.endpoint(methods=["GET"])
def now() -> str:
    return "noon"


@app.probe
def all_of_it(client):
    return [client.embed(text="abc"), client.now(), len(list(client.count(to=3))), client.call("size", {"image": b"ab"})]


@app.probe
def unknown(client):
    return client.nothing()


@app.probe
def failing(client):
    return client.fails(text="x")
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    with RuntimeDriver(tmp_path_factory.mktemp("served"), {"app.py": APP}) as driver:
        driver.wait_reload(1)
        yield driver


@pytest.fixture(scope="module")
def module(driver):
    spec = importlib.util.spec_from_file_location("served_app", driver.workspace / "app.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["served_app"] = module
    spec.loader.exec_module(module)
    return module


def test_calls_by_name_without_the_app_give_json(driver):
    with Client(driver.address) as client:
        assert client.ask(text="x") == {"text": "x", "mood": "good", "at": "2026-01-02"}
        assert client.embed(text="abc") == [3, 0.5]
        assert client.v1_size(image=b"12345", factor=2) == 10
        assert client.reverse(image=b"abc") == b"cba"
        assert client.now() == "noon"
        assert [item["text"] for item in client.count(to=3)] == ["0", "1", "2"]


def test_two_arguments_of_bytes_go_as_json_and_so_does_one_to_an_endpoint_that_takes_two(driver):
    with Client(driver.address) as client:
        assert client.both(a=b"abc", b=b"z") == [3, 1]
        assert client.both(a=b"abc") == [3, 0]


def test_results_are_built_as_the_app_says(driver, module):
    expected = module.Answer("x", module.Mood.GOOD, module.datetime.date(2026, 1, 2))

    with Client(driver.address, app=module.app) as client:
        assert client.ask(text="x") == expected
        assert client.embed(text="abc") == (3, 0.5)
        assert client.size(image=b"ab") == 2
        assert [item.text for item in client.count(to=2)] == ["0", "1"]
        with pytest.raises(AttributeError, match="the app has no endpoint 'nothing'; it has: ask, both"):
            client.nothing()

    async def same():
        async with AsyncClient(driver.address, app=module.app) as client:
            assert await client.ask(text="x") == expected
            assert [item.text async for item in await client.count(to=2)] == ["0", "1"]
            return await asyncio.gather(*[client.embed(text="a" * n) for n in range(20)])

    assert asyncio.run(same()) == [(n, 0.5) for n in range(20)]


def test_a_result_that_is_not_what_the_app_says_names_the_place(driver, module):
    other = type(module.app)("other")

    @other.endpoint
    def ask(text: str) -> dict[str, int]: ...

    with pytest.raises(ClientError, match="at text: expected an integer") as caught:
        Client(driver.address, app=other).ask(text="x")

    assert caught.value.type == "WrongResult"


def test_an_exception_of_the_endpoint_is_told_with_its_line(driver):
    with pytest.raises(ClientError) as caught:
        Client(driver.address).fails(text="x")

    error = caught.value
    assert (error.status, error.type, error.message) == (500, "ValueError", "no x")
    assert error.where.startswith("app.py:")


def test_a_wrong_argument_is_told_with_its_place(driver):
    with pytest.raises(ClientError, match="422: text: expected a string, got 1"):
        Client(driver.address).ask(text=1)


def test_a_stream_closed_early_ends_the_generator(driver):
    with Client(driver.address).endless() as stream:
        assert [next(stream) for _ in range(100)] == list(range(100))

    assert Client(driver.address).now() == "noon"  # the one worker is free again


def test_streams_of_one_batch_end_each_for_itself(driver, module):
    async def main():
        async with AsyncClient(driver.address, app=module.app) as client:

            async def listen(to: int) -> list[str]:
                return [item.text async for item in await client.talk(to=to)]

            return await asyncio.gather(*[listen(to) for to in range(20)])

    assert asyncio.run(main()) == [[str(step) for step in range(to)] for to in range(20)]


def test_a_client_that_leaves_a_batch_of_streams_leaves_the_others_going(driver):
    async def main():
        async with AsyncClient(driver.address) as client:
            first = await client.talk(to=10**9)
            await anext(first)
            pair = [asyncio.create_task(client.talk(to=10**9)) for _ in range(2)]  # they wait for the worker together
            waiting = b'hotloop_queue_items{endpoint="talk"} 2'
            while waiting not in driver.get("/metrics").body:  # noqa: ASYNC110  the queue is another process's
                await asyncio.sleep(0)
            await first.aclose()
            leaving, staying = [await task for task in pair]
            await anext(leaving)
            await leaving.aclose()
            items = [await anext(staying) for _ in range(5000)]
            await staying.aclose()
            return items, await client.told_so_far()

    items, told = asyncio.run(main())
    assert [item["text"] for item in items] == [str(step) for step in range(5000)]
    assert len(told) == 1


def test_a_stream_that_breaks_off_raises_what_the_generator_raised(driver):
    stream = Client(driver.address).breaks()

    assert next(stream) == 1
    with pytest.raises(ClientError, match="broke"):
        next(stream)


def test_probes_get_the_same_client_and_compute_time_is_counted(tmp_path):
    with RuntimeDriver(tmp_path, {"app.py": APP}) as driver:
        probes = {
            name: driver.wait_for(events.ProbeFinished, name=name) for name in ("all_of_it", "unknown", "failing")
        }

    assert json.loads(probes["all_of_it"].output) == [[3, 0.5], "noon", 3, 2]
    assert 0 < probes["all_of_it"].compute_s < probes["all_of_it"].took_s
    assert "the app has no endpoint 'nothing'; it has: ask," in probes["unknown"].problem.message
    assert "no x" in probes["failing"].problem.message
    assert not probes["failing"].is_ok


ARRAYS = """
import numpy as np
from numpy.typing import NDArray

import hotloop

app = hotloop.App("arrays")


@app.endpoint
def double(image: NDArray[np.float32], times: int = 2) -> NDArray[np.float32]:
    return image * times
"""

CALLER = """
import sys

import numpy as np

sys.path.insert(0, sys.argv[2])
import app
import hotloop

image = np.arange(6, dtype=np.float32).reshape(2, 3)
typed = hotloop.Client(sys.argv[1], app=app.app).double(image=image, times=3)
plain = hotloop.Client(sys.argv[1]).double(image=image)
print(typed.dtype, typed.tolist() == (image * 3).tolist(), plain)
"""


@pytest.mark.models
def test_arrays_go_and_come_as_they_are(tmp_path, user_python):
    with RuntimeDriver(tmp_path, {"app.py": ARRAYS}, python=str(user_python)) as driver:
        driver.wait_reload(1)
        done = subprocess.run(
            [user_python, "-c", CALLER, driver.address, str(driver.workspace)],
            env={"PYTHONPATH": str(Path(hotloop.__file__).parents[1])}, capture_output=True, text=True, timeout=50, check=False,
        )  # fmt: skip

    assert done.stderr == ""
    assert done.stdout == "float32 True [[0.0, 2.0, 4.0], [6.0, 8.0, 10.0]]\n"
