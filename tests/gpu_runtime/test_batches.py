"""Batches through a real runtime and a real worker: sizes that only the worker knows, reloads and crashes amid them."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hotloop import events
from tests.gpu_runtime.driver import Answer, RuntimeDriver

APP = """
import os
import time

import hotloop

app = hotloop.App("sizes")
VERSION = 1


@app.endpoint(batch=hotloop.Batch(max_size=8, key=len, on_error="bisect"), idempotent=True)
def lengths(text: list[str]) -> list[dict]:
    time.sleep(0.002)
    if "bad" in text:
        raise ValueError("bad text")
    return [{"own": len(each), "all": [len(other) for other in text], "version": VERSION} for each in text]


@app.endpoint
def pid() -> int:
    return os.getpid()
"""


@pytest.fixture
def driver(tmp_path: Path):
    with RuntimeDriver(tmp_path, {"app.py": APP}) as driver:
        driver.wait_for(events.StandbyReady)
        yield driver


def ask_all(driver: RuntimeDriver, sizes: list[int]) -> list[Answer]:
    with ThreadPoolExecutor(24) as pool:
        return list(pool.map(lambda size: driver.call("lengths", text="x" * size), sizes))


def test_requests_are_answered_each_with_its_own_in_batches_of_like_size(driver: RuntimeDriver):
    sizes = [1, 400, 2, 390, 3, 380] * 50
    answers = ask_all(driver, sizes)

    assert [answer.json["own"] for answer in answers] == sizes
    batches = [answer.json["all"] for answer in answers]
    assert [int(answer.headers["x-hotloop-batch-size"]) for answer in answers] == [len(batch) for batch in batches]
    assert max(map(len, batches)) <= 8
    assert any(len(batch) > 1 for batch in batches)


def test_one_bad_request_fails_alone_amid_a_crowd(driver: RuntimeDriver):
    texts = ["bad" if number % 20 == 7 else "good" * (number % 5 + 1) for number in range(200)]
    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda text: driver.call("lengths", text=text), texts))

    assert [answer.status for answer in answers] == [500 if text == "bad" else 200 for text in texts]


def test_reloads_and_crashes_lose_nothing_that_was_sent_ahead(driver: RuntimeDriver):
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask_all, driver, [1, 300, 20, 5] * 150)
        for version in range(2, 6):
            driver.wait_reload(driver.save({"app.py": APP.replace("VERSION = 1", f"VERSION = {version}")}))
            if version == 4:
                os.kill(driver.call("pid").json, signal.SIGKILL)
                driver.wait_for(events.ProcessDied, role="active")
                driver.wait_for(events.Ready)
        answers = asking.result(60)

    assert [answer.status for answer in answers] == [200] * 600
    assert [answer.json["own"] for answer in answers] == [1, 300, 20, 5] * 150


def test_a_deadline_is_kept_by_the_runtime_itself(driver: RuntimeDriver):
    with ThreadPoolExecutor(24) as pool:
        waiting = [pool.submit(driver.call, "lengths", text="x" * 50) for _ in range(200)]
        late = driver.call("lengths", {"x-hotloop-deadline-ms": "0.001"}, text="x")
        answers = [future.result(30) for future in waiting]

    assert late.status == 504
    assert late.json["error"]["stage"] == "queue"
    assert all(answer.status == 200 for answer in answers)
