"""What happens to a worker that can't use the GPU any more. There is none here: the app says that its context is dead."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from hotloop import events
from tests.gpu_runtime.driver import RuntimeDriver

pytestmark = pytest.mark.xdist_group("gpu context")  # one runtime for all

APP = """
import asyncio
import atexit
import os
import time

import hotloop
from hotloop.gpu_runtime.user_env.vault import cuda

app = hotloop.App("gpu")


@app.model
def table():
    print("LOADING table")
    return {"one": 1}


@app.endpoint
def pid(table) -> list[int]:
    return [os.getpid(), table["one"]]


@app.endpoint
def sync_fault(table) -> int:
    cuda.is_context_dead = lambda: True
    raise RuntimeError("CUDA error: an illegal memory access was encountered")


@app.endpoint
async def async_fault(table) -> int:
    return sync_fault(table)


@app.endpoint
async def stubborn_fault(table) -> int:
    atexit.register(time.sleep, 600)
    return sync_fault(table)


begun = []


async def wait(name):
    begun.append(name)
    await asyncio.sleep(1)
    return os.getpid()


@app.endpoint(idempotent=True)
async def safe_wait() -> int:
    return await wait("safe")


@app.endpoint
async def unsafe_wait() -> int:
    return await wait("unsafe")


@app.endpoint
async def has_begun() -> list[str]:
    return begun


@app.endpoint
def mistake(table) -> int:
    raise RuntimeError("CUDA out of memory")
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    with RuntimeDriver(tmp_path_factory.mktemp("gpu"), {"app.py": APP}) as driver:
        driver.wait_reload(1)
        driver.wait_for(events.StandbyReady)
        yield driver


@pytest.mark.parametrize("endpoint", ["sync_fault", "async_fault", "stubborn_fault"])
def test_a_dead_context_is_told_and_a_new_process_takes_over_with_the_models(driver, endpoint):
    pid, _ = driver.call("pid").json

    answer = driver.call(endpoint)

    assert answer.status == 500
    assert "mutable=True" in answer.body.decode()
    new_pid, one = driver.call("pid").json
    assert (new_pid != pid, one) == (True, 1)
    revision = driver.save({"app.py": APP + f"\n# {endpoint}\n"})
    assert isinstance(driver.wait_reload(revision), events.Ready)
    driver.wait_for(events.StandbyReady)
    assert any(isinstance(e, events.Notice) and e.key == "gpu" for e in driver.events)
    loadings = [e.text for e in driver.events if isinstance(e, events.Log) and e.text == "LOADING table"]
    assert len(loadings) == 1


def test_what_others_had_begun_is_tried_again_or_told_to_be_lost(driver):
    pid, _ = driver.call("pid").json
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(driver.call, name) for name in ("safe_wait", "unsafe_wait")]
        while len(driver.call("has_begun").json) < 2:
            pass
        driver.call("async_fault")
        safe, unsafe = (each.result() for each in waiting)

    assert (safe.status, safe.json != pid) == (200, True)
    assert (unsafe.status, unsafe.json["error"]["type"]) == (502, "WorkerLost")
    driver.wait_for(events.StandbyReady)


def test_an_error_that_leaves_the_context_whole_replaces_nothing(driver):
    before = driver.call("pid").json

    assert driver.call("mistake").status == 500
    assert driver.call("pid").json == before
