"""Reloads under load: no request is lost, and none is answered by code that was already replaced when it arrived."""

from __future__ import annotations

import os
from bisect import bisect
from pathlib import Path

import pytest

from hotloop import events
from tests.gpu_runtime.driver import RuntimeDriver
from tests.gpu_runtime.load import Load

APP = """
import time

import hotloop

app = hotloop.App("load")
VERSION = 1


@app.model
def table():
    return {"answer": 42}


@app.endpoint
def answer(n: int, table) -> list[int]:
    time.sleep(0.001)
    return [VERSION, table["answer"] + n]
"""
RELOADS = int(os.environ.get("HOTLOOP_LOAD_RELOADS", "100"))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_no_request_is_lost_or_answered_by_replaced_code(tmp_path: Path):
    with RuntimeDriver(tmp_path, {"app.py": APP}) as driver:
        driver.wait_reload(1)
        with Load(driver.address, "/answer", {"n": 0}, rate=200) as load:
            for version in range(2, RELOADS + 2):
                ready = driver.wait_reload(driver.save({"app.py": APP.replace("VERSION = 1", f"VERSION = {version}")}))
                assert isinstance(ready, events.Ready)
        readies = [event for event in driver.events if isinstance(event, events.Ready)]

    assert len(readies) == RELOADS + 1
    assert [s for s in load.sent if s.status != 200] == []
    versions = {ready.generation: ready.revision for ready in readies}
    assert [s for s in load.sent if s.body != [versions[s.generation], 42]] == []
    times = [ready.at_s for ready in readies]
    stale = [s for s in load.sent if s.generation < bisect(times, s.sent_at_s)]
    assert stale == []
    assert {s.generation for s in load.sent} >= set(range(2, RELOADS, 10))
