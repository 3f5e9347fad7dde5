"""Memory that runs out, for real: the kernel kills in a cgroup of the test's own, or refuses under `ulimit -v`."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotloop import events
from hotloop.gpu_runtime import oom
from tests.gpu_runtime.driver import RuntimeDriver
from tests.memory_cgroup import limited, removed

# One runtime for all, each test of which leaves it for the next.
pytestmark = pytest.mark.xdist_group("oom")
LIMIT_BYTES = 300 << 20
APP = """
import hotloop

app = hotloop.App("oom")
MB = 8


class Engine:
    def __init__(self):
        self.file = open("/dev/null")

    def take(self, mb):
        return len(b"1" * (mb << 20))


@app.model
def table():
    return b"1" * (MB << 20)


@app.model(hosted=True)
def engine():
    return Engine()


@app.endpoint
def size(table) -> int:
    return len(table)


@app.endpoint
def take(mb: int) -> int:
    return len(b"1" * (mb << 20))


@app.endpoint
def take_hosted(mb: int, engine) -> int:
    return engine.take(mb)
"""


@pytest.fixture(scope="module")
def limited_driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeDriver]:
    driver = RuntimeDriver(tmp_path_factory.mktemp("oom"), {"app.py": APP})
    with limited(LIMIT_BYTES) as folder:
        driver.start()
    with contextlib.ExitStack() as stack:
        stack.callback(removed, folder)
        stack.callback(driver.stop)
        driver.wait_reload(1)
        driver.wait_for(events.StandbyReady)
        yield driver


def test_a_request_that_takes_all_memory_is_answered_with_why_and_the_service_heals(limited_driver):
    lost = limited_driver.call("take", mb=600)
    died = limited_driver.wait_for(events.ProcessDied, role="active")

    assert (lost.status, lost.json["error"]["type"]) == (502, "WorkerLost")
    assert "(SIGKILL: out of memory) while /take ran" in lost.json["error"]["message"]
    assert "(315 MB, the limit of cgroup /" in lost.json["error"]["hint"]
    assert (died.cause, died.hint, died.is_replaced) == (oom.KILLED, lost.json["error"]["hint"], True)
    assert limited_driver.call("size").json == 8 << 20
    assert limited_driver.wait_any((events.Ready,)).models[0].action == "kept"


def test_a_loader_that_takes_all_memory_leaves_the_old_generation_serving_and_is_not_tried_again(limited_driver):
    before = limited_driver.call("size").generation
    limited_driver.wait_for(events.StandbyReady)
    revision = limited_driver.save({"app.py": APP.replace("MB = 8", "MB = 600")})
    failed = limited_driver.wait_reload(revision)

    assert isinstance(failed, events.ReloadFailed)
    assert failed.problem.message == "the worker died while loading table (SIGKILL: out of memory)"
    assert failed.problem.hint.startswith("the kernel killed it, for all memory was taken (315 MB")
    assert failed.serving == before
    assert limited_driver.call("size").generation == before  # who serves was spared
    limited_driver.wait_for(events.StandbyReady)
    assert sum(isinstance(e, events.ModelLoading) and e.revision == revision for e in limited_driver.events) == 1

    limited_driver.save({"app.py": APP.replace("MB = 8", "MB = 9")})

    assert limited_driver.wait_any((events.Ready,)).generation == before + 1
    assert limited_driver.call("size").json == 9 << 20


def test_a_hosted_model_that_takes_all_memory_is_loaded_again(limited_driver):
    limited_driver.wait_for(events.StandbyReady)
    lost = limited_driver.call("take_hosted", mb=600)
    died = limited_driver.wait_for(events.ProcessDied, role="hosted")

    assert (lost.status, lost.json["error"]["type"]) == (500, "HostedModelDied")
    assert [frame["function"] for frame in lost.json["problem"]["frames"]] == ["take_hosted"]  # none of ours
    assert "LinkClosed" not in lost.json["problem"]["message"]
    assert (died.name, died.cause) == ("engine", oom.KILLED)
    assert died.hint.startswith("the kernel killed it")
    assert limited_driver.call("take_hosted", mb=1).json == 1 << 20


def test_memory_that_ulimit_refuses_is_an_error_with_the_limit(tmp_path):
    limit_bytes = 1_500_000_000
    with RuntimeDriver(tmp_path, {"app.py": APP}) as driver:
        driver.wait_reload(1)
        driver.wait_for(events.StandbyReady)
        for pid in driver.tree():
            resource.prlimit(pid, resource.RLIMIT_AS, (limit_bytes, limit_bytes))
        refused = driver.call("take", mb=3000)
        revision = driver.save({"app.py": APP.replace("MB = 8", "MB = 3000")})
        failed = driver.wait_reload(revision)

        assert (refused.status, refused.json["error"]["type"]) == (500, "MemoryError")
        assert "a process may have 1.5 GB of address space here (ulimit -v)" in refused.json["error"]["hint"]
        assert isinstance(failed, events.ReloadFailed)
        assert (failed.problem.type, failed.problem.where.function, failed.serving) == ("MemoryError", "table", 1)
        assert "1.5 GB of address space" in failed.problem.hint
        assert driver.call("size").json == 8 << 20


def test_a_model_that_is_loaded_but_finds_no_place_is_named(tmp_path):
    with RuntimeDriver(tmp_path, {"app.py": APP}) as driver:
        driver.wait_reload(1)
        driver.wait_for(events.StandbyReady)
        for pid in driver.tree():
            resource.prlimit(pid, resource.RLIMIT_AS, (1_500_000_000, 1_500_000_000))
        failures = []
        for mb in (500, 600):  # 600 is too much, twice
            outcome = driver.wait_reload(driver.save({"app.py": APP.replace("MB = 8", f"MB = {mb}")}))
            failures += [outcome.problem] if isinstance(outcome, events.ReloadFailed) else []

        assert failures
        assert all("model 'table' is loaded, but there is no memory" in each.message for each in failures), failures


class Machine:
    """What `Kills` reads, to be set."""

    def __init__(self):
        self.count, self.now_s = 5, 100.0

    def kills(self):
        return oom.Kills(lambda: self.count, lambda: self.now_s)


def test_a_death_is_the_kernels_doing_if_its_count_rose_just_before():
    machine = Machine()
    kills = machine.kills()

    assert kills.explain("SIGKILL") == "SIGKILL"
    machine.count += 1
    assert [kills.explain(cause) for cause in ("SIGKILL", "SIGKILL", "SIGSEGV", "exit 3", "")] == [
        oom.KILLED, oom.KILLED, "SIGSEGV", "exit 3", "",
    ]  # fmt: skip
    machine.now_s += oom.RECENT_S - 0.01
    assert kills.explain("SIGKILL") == oom.KILLED
    machine.now_s += 0.01
    assert kills.explain("SIGKILL") == "SIGKILL"


def test_a_kill_that_was_seen_earlier_explains_no_later_death():
    machine = Machine()
    kills = machine.kills()
    machine.count += 1
    kills.look()
    machine.now_s += 60

    assert kills.explain("SIGKILL") == "SIGKILL"


def test_what_can_be_done_depends_on_why():
    assert oom.hint("SIGKILL") == oom.IN_THE_LOG
    assert "all that the machine has" in oom.limit() or "the limit of cgroup /" in oom.limit()


def test_nothing_is_known_of_a_process_that_is_gone():
    oom.prefer(2**22 - 1, oom.LOADS)

    assert Path("/proc/self/oom_score_adj").exists()
