"""Several workers of one app, as real processes: they serve side by side, die, are replaced, and share the models."""

from __future__ import annotations

import os
import re
import signal
import time
from bisect import bisect
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from hotloop import events
from tests.gpu_runtime.driver import Answer, RuntimeDriver, kill
from tests.gpu_runtime.load import Load

APP = """
import os
import time
from pathlib import Path

import hotloop

app = hotloop.App("several", replicas=2)
VERSION = 1


class Session:
    def __init__(self):
        self.file = open("/dev/null")
        self.pid = os.getpid()

    def host(self):
        return self.pid


@app.model
def table():
    print("LOADING table")
    return {"one": 1}


@app.model(hosted=True)
def session():
    print("LOADING session")
    return Session()


@app.endpoint
def meet(name: str, folder: str, count: int, table, session) -> list[int]:
    Path(folder, name).touch()
    until_s = time.monotonic() + 30
    while len(os.listdir(folder)) < count:
        if time.monotonic() > until_s:
            raise TimeoutError(f"{name} met nobody")
        time.sleep(0.005)
    return [os.getpid(), session.host(), table["one"]]


@app.endpoint(idempotent=True)
def safe(n: int, table) -> int:
    time.sleep(0.003)
    return n + table["one"]


@app.endpoint
def version(n: int) -> int:
    time.sleep(0.002)
    return VERSION


@app.endpoint(batch=hotloop.Batch(max_size=4, key=len))
def shout(text: list[str]) -> list[str]:
    time.sleep(0.002)
    return [f"{os.getpid()} {each.upper()}" for each in text]
"""


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[RuntimeDriver]:
    with RuntimeDriver(tmp_path, {"app.py": APP}) as driver:
        driver.wait_for(events.WorkersServing, count=2)
        yield driver


def meet(driver: RuntimeDriver, folder: Path, count: int = 2) -> list[Answer]:
    """Have as many calls run at the same time: none is answered before all of them run."""
    folder.mkdir()
    with ThreadPoolExecutor(count) as pool:
        calls = [pool.submit(driver.call, "meet", name=str(n), folder=str(folder), count=count) for n in range(count)]
        return [call.result() for call in calls]


def of(driver: RuntimeDriver, kind: type[Any]) -> list[Any]:
    return [event for event in driver.events if isinstance(event, kind)]


def loadings(driver: RuntimeDriver) -> list[str]:
    return [e.text for e in of(driver, events.Log) if e.text.startswith("LOADING")]


def test_as_many_sync_calls_run_at_a_time_as_there_are_workers(driver: RuntimeDriver, tmp_path: Path):
    answers = meet(driver, tmp_path / "met")

    pids, hosts, ones = zip(*(answer.json for answer in answers), strict=True)
    assert len(set(pids)) == 2
    assert len(set(hosts)) == 1
    assert ones == (1, 1)
    assert {answer.generation for answer in answers} == {1}
    assert sorted(loadings(driver)) == ["LOADING session", "LOADING table"]
    assert b"\nhotloop_workers 2\n" in driver.get("/metrics").body


def test_requests_that_only_workers_can_measure_are_answered_by_either_of_them(driver: RuntimeDriver):
    texts = ["a" * (1 + n % 7) + str(n) for n in range(200)]
    with ThreadPoolExecutor(24) as pool:
        answers = [call.result() for call in [pool.submit(driver.call, "shout", text=text) for text in texts]]

    assert [answer.json.partition(" ")[2] for answer in answers] == [text.upper() for text in texts]
    assert len({answer.json.partition(" ")[0] for answer in answers}) == 2


def test_the_option_overrides_what_the_app_says(tmp_path: Path):
    with RuntimeDriver(tmp_path, {"app.py": APP}, replicas=3) as driver:
        driver.wait_for(events.WorkersServing, count=3, wanted=3)

        assert len({answer.json[0] for answer in meet(driver, tmp_path / "met", 3)}) == 3


def test_one_worker_is_one_process_and_nothing_is_told_of_it(tmp_path: Path):
    app = "import pytest\n" + SECOND.format(otherwise="pass")  # something for a better zygote to import
    environment = {**os.environ, "MARK": str(tmp_path / "mark")}
    with RuntimeDriver(tmp_path, {"app.py": app}, replicas=1, environment=environment) as driver:
        driver.wait_for(events.StandbyReady)
        driver.wait_for(events.StandbyReady)  # of the better zygote
        driver.wait_reload(driver.save({"app.py": app + "# edited\n"}))
        driver.wait_for(events.StandbyReady)

        assert driver.call("pid").generation == 2
        assert of(driver, events.WorkersServing) == []
        until_s = time.monotonic() + 20
        while len(driver.tree()) > 3 and time.monotonic() < until_s:
            time.sleep(0.01)  # the worker that was replaced may be ending
        assert len(driver.tree()) == 3  # zygote, worker, standby


def test_a_killed_worker_is_replaced_in_its_generation_and_no_idempotent_request_is_lost(
    driver: RuntimeDriver, tmp_path: Path
):
    pids = [answer.json[0] for answer in meet(driver, tmp_path / "met")]
    with Load(driver.address, "/safe", {"n": 1}, rate=200) as load:
        kill(pids[0])
        assert driver.wait_for(events.ProcessDied).role == "active"
        fewer = driver.wait_for(events.WorkersServing)
        again = driver.wait_for(events.WorkersServing)
    after = [answer.json[0] for answer in meet(driver, tmp_path / "met again")]

    assert [(e.generation, e.count, e.wanted) for e in (fewer, again)] == [(1, 1, 2), (1, 2, 2)]
    assert [s for s in load.sent if s.status != 200] == []
    assert {s.generation for s in load.sent} == {1}
    assert pids[0] not in after
    assert pids[1] in after
    assert len(set(after)) == 2
    assert sorted(loadings(driver)) == ["LOADING session", "LOADING table"]


def test_when_all_workers_die_the_next_generation_has_as_many(driver: RuntimeDriver, tmp_path: Path):
    workers = [answer.json[0] for answer in meet(driver, tmp_path / "met")]
    os.kill(driver.pid, signal.SIGSTOP)  # 10 ms between the two deaths suffice to replace the first worker
    for worker in workers:
        kill(worker)
    os.kill(driver.pid, signal.SIGCONT)
    driver.wait_for(events.Ready, revision=1, generation=2)
    driver.wait_for(events.WorkersServing, generation=2, count=2)

    assert {answer.generation for answer in meet(driver, tmp_path / "met again")} == {2}
    assert sorted(loadings(driver)) == ["LOADING session", "LOADING table"]


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_reloads_under_load_lose_no_request_and_answer_none_with_replaced_code(driver: RuntimeDriver):
    with Load(driver.address, "/version", {"n": 0}, rate=250) as load:
        for version in range(2, 12):
            ready = driver.wait_reload(driver.save({"app.py": APP.replace("VERSION = 1", f"VERSION = {version}")}))
            assert isinstance(ready, events.Ready)
            if version % 2:  # every other time the next save comes while the second worker does
                driver.wait_for(events.WorkersServing, generation=version, count=2)
    readies = of(driver, events.Ready)

    assert len(readies) == 11
    assert [s for s in load.sent if s.status != 200] == []
    revisions = {ready.generation: ready.revision for ready in readies}
    assert [s for s in load.sent if s.body != revisions[s.generation]] == []
    times = [ready.at_s for ready in readies]
    assert [s for s in load.sent if s.generation < bisect(times, s.sent_at_s)] == []
    assert of(driver, events.ProcessDied) == []


OWN = """
import os

import hotloop

app = hotloop.App("own", replicas=3)
PID = os.getpid()


@app.model
def loader_pid():
    print("LOADING", PID)
    return [PID]


@app.endpoint
def pids(loader_pid) -> list[int]:
    return [PID, *loader_pid]
"""


def test_what_each_process_would_load_otherwise_is_loaded_by_the_first_alone(tmp_path: Path):
    with RuntimeDriver(tmp_path, {"app.py": OWN}) as driver:
        driver.wait_for(events.WorkersServing, count=3)
        first = driver.call("pids").json[0]
        kill(first)
        driver.wait_for(events.WorkersServing, count=3)

        second, loader = driver.call("pids").json
        assert loader == first != second
        assert loadings(driver) == [f"LOADING {first}"]


# --- what goes wrong --------------------------------------------------------------------------------------------

SECOND = """
import os

import hotloop

app = hotloop.App("second", replicas=3)
try:
    os.close(os.open(os.environ["MARK"], os.O_CREAT | os.O_EXCL))
except FileExistsError:
    {otherwise}


@app.endpoint
def pid() -> int:
    return os.getpid()
"""


def test_failures_of_the_others_are_told_once_and_the_first_goes_on(tmp_path: Path):
    app = SECOND.format(otherwise='raise RuntimeError("only one may have it")')
    with RuntimeDriver(tmp_path, {"app.py": app}, environment={**os.environ, "MARK": str(tmp_path / "mark")}) as driver:
        driver.wait_for(events.WorkersServing, is_growing=False)
        pids = {driver.call("pid").json for _ in range(5)}
        notices = [e for e in of(driver, events.Notice) if e.key.startswith("fewer")]

    assert len(pids) == 1
    assert [e.text for e in notices] == [
        "Generation 1 goes on with fewer workers than 3: RuntimeError: only one may have it at app.py:10"
    ]
    assert of(driver, events.ReloadFailed) == []
    told = of(driver, events.WorkersServing)
    assert [(e.count, e.is_growing) for e in told] == [(1, True), (1, False)]


def test_others_that_serve_something_else_do_not_join(tmp_path: Path):
    app = SECOND.format(otherwise="app.endpoint(other)")
    app = app.replace("try:", "def other() -> int:\n    return 1\n\n\ntry:")
    with RuntimeDriver(tmp_path, {"app.py": app}, environment={**os.environ, "MARK": str(tmp_path / "mark")}) as driver:
        notice = driver.wait_for(events.Notice, key="fewer 1")

        assert "made other endpoints than the first" in notice.text
        assert driver.call("pid").status == 200


def test_a_save_ends_those_that_are_becoming_ready(tmp_path: Path):
    app = SECOND.format(otherwise='print("stuck", os.getpid(), flush=True); __import__("time").sleep(600)')
    with RuntimeDriver(tmp_path, {"app.py": app}, environment={**os.environ, "MARK": str(tmp_path / "mark")}) as driver:
        lines = [driver.wait_for(events.Log) for _ in range(2)]
        ready = driver.wait_reload(driver.save({"app.py": SECOND.format(otherwise="pass")}))
        assert isinstance(ready, events.Ready)
        driver.wait_for(events.WorkersServing, generation=2, count=3)

        stuck = {int(line.text.split()[1]) for line in lines}
        assert len(stuck) == 2
        assert not stuck & set(driver.tree())


def test_the_death_of_the_worker_that_probes_ends_the_probes_and_it_is_replaced(tmp_path: Path):
    app = SECOND.format(otherwise="pass") + (
        "\n\n@app.probe\ndef waits():\n    print('probing', os.getpid(), flush=True)\n    import time\n    time.sleep(600)\n"
    )
    with RuntimeDriver(tmp_path, {"app.py": app}, environment={**os.environ, "MARK": str(tmp_path / "mark")}) as driver:
        line = driver.wait_for(events.Log)
        driver.wait_for(events.WorkersServing, count=3)
        kill(int(line.text.split()[1]))
        driver.wait_for(events.ProbesFinished, generation=1)
        driver.wait_for(events.WorkersServing, count=3)
        driver.wait_for(events.StandbyReady)

        assert [event.generation for event in of(driver, events.Ready)] == [1]


# --- memory -----------------------------------------------------------------------------------------------------

WEIGHTS = """
import os

import hotloop

app = hotloop.App("weights", replicas=3)


@app.model
def weights():
    import numpy

    return numpy.ones(16 * 1024 * 1024)


@app.endpoint
def total(folder: str, weights) -> list[float]:
    os.close(os.open(os.path.join(folder, str(os.getpid())), os.O_CREAT))
    while len(os.listdir(folder)) < 3:
        os.sched_yield()
    return [os.getpid(), float(weights.sum())]
"""
WEIGHTS_BYTES = 16 * 1024 * 1024 * 8


@pytest.mark.models
def test_the_weights_are_in_memory_once(tmp_path: Path, user_python: Path):
    folder = tmp_path / "met"
    folder.mkdir()
    with RuntimeDriver(tmp_path, {"app.py": WEIGHTS}, python=str(user_python)) as driver:
        driver.wait_for(events.WorkersServing, count=3)
        with ThreadPoolExecutor(3) as pool:
            found = [
                call.result().json for call in [pool.submit(driver.call, "total", folder=str(folder)) for _ in "abc"]
            ]
        pids = {int(pid) for pid, _ in found}
        maps = [_weights_of(pid) for pid in pids]

    assert len(pids) == 3
    assert [total for _, total in found] == [16 * 1024 * 1024] * 3
    assert len({inode for inode, _ in maps}) == 1
    # Shared pages count for each process by its share of them.
    assert WEIGHTS_BYTES * 0.5 < sum(pss for _, pss in maps) < WEIGHTS_BYTES * 1.1


def _weights_of(pid: int) -> tuple[str, int]:
    """The inode of the largest thing that a process has mapped, and its proportional part of that in bytes."""
    text = (Path("/proc") / str(pid) / "smaps").read_text()
    blocks = re.findall(
        r"^[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ (\d+).*\nSize: +(\d+) kB(?:\n\w+: .*)*?\nPss: +(\d+) kB", text, re.MULTILINE
    )
    inode, _, pss = max(blocks, key=lambda block: int(block[1]) if block[0] != "0" else 0)
    return inode, int(pss) * 1024


# --- cores ------------------------------------------------------------------------------------------------------

THREADS = """
import os

import hotloop

app = hotloop.App("threads", replicas=2)


@app.model
def ones():
    import torch

    return torch.ones(8)


@app.endpoint
def threads(folder: str, ones) -> list[int]:
    import torch

    os.close(os.open(os.path.join(folder, str(os.getpid())), os.O_CREAT))
    while len(os.listdir(folder)) < 2:
        os.sched_yield()
    return [os.getpid(), torch.get_num_threads()]
"""


@pytest.mark.models
def test_torch_has_the_workers_share_of_the_cores_unless_the_code_says_more(tmp_path: Path, user_python: Path):
    share = max(1, len(os.sched_getaffinity(0)) // 2)
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    seen = []
    with RuntimeDriver(tmp_path, {"app.py": THREADS}, python=str(user_python), environment=environment) as driver:
        for generation, chosen in enumerate(("", "\n# edited\n", "\nimport torch\ntorch.set_num_threads(7)\n"), 1):
            if chosen:
                driver.save({"app.py": THREADS + chosen})
            driver.wait_for(events.WorkersServing, generation=generation, count=2)
            (folder := tmp_path / f"met{generation}").mkdir()
            with ThreadPoolExecutor(2) as pool:
                calls = [pool.submit(driver.call, "threads", folder=str(folder)) for _ in "ab"]
                seen.append(sorted(call.result().json[1] for call in calls))
        actions = [model.action for event in of(driver, events.Ready) for model in event.models]

    assert seen == [[share, share], [share, share], [7, 7]]
    assert actions[:2] == ["loaded", "kept"]
