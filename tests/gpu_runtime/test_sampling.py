"""Figures of the running app: read from what is counted, told while there is something to tell, and never amid a reload."""

from __future__ import annotations

import asyncio
import math
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hotloop.events import (
    Event,
    GaugeSample,
    GpuSample,
    ModelLoading,
    ModelProgress,
    Ready,
    RuntimeSampled,
    StandbyReady,
)
from hotloop.gpu_runtime import memory
from hotloop.gpu_runtime.calls import Call
from hotloop.gpu_runtime.endpoints import EndpointSpec
from hotloop.gpu_runtime.memory import Taken
from hotloop.gpu_runtime.metrics import SECONDS, Durations, Metrics, Reading, quantile_s
from hotloop.gpu_runtime.observing import EndpointLoad
from hotloop.gpu_runtime.progress import INTERVAL_S, QUICK_S, Progress
from hotloop.gpu_runtime.sampling import Gauges, Sampler
from hotloop.gpu_runtime.scheduler.lane import Batch
from hotloop.gpu_runtime.workers import Worker
from tests.gpu_runtime.driver import RuntimeDriver

MIB = 1 << 20

# --- quantiles ------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(SECONDS[0], SECONDS[-1], exclude_min=True), min_size=1), st.floats(0.01, 1.0))
@example([22.75], 0.0625)
def test_a_quantile_is_as_near_to_the_one_that_was_counted_as_the_bounds_are_to_each_other(
    values: list[float], share: float
):
    counted = Durations()
    for value in values:
        counted.add(value)

    exact = sorted(values)[max(0, math.ceil(share * len(values) - 1e-9) - 1)]
    assert quantile_s(counted.counts, share) == pytest.approx(exact, rel=0.072 if 10 < exact <= 30 else 0.06)


def test_nothing_has_no_quantile_and_what_is_longer_than_all_bounds_has_the_longest():
    counted = Durations()
    assert quantile_s(counted.counts, 0.5) is None
    assert quantile_s((), 0.5) is None

    counted.add(1e6)
    assert quantile_s(counted.counts, 0.5) == SECONDS[-1]


# --- when it is told ------------------------------------------------------------------------------------------------

EMBED = EndpointSpec("embed", "/embed")


class Around:
    """A runtime as its sampler sees it."""

    def __init__(self) -> None:
        self.num_waiting = 0
        self.is_loading = False
        self.own: tuple[GaugeSample, ...] = ()

    def gauges(self) -> tuple[GaugeSample, ...]:
        return self.own

    def load(self) -> list[EndpointLoad]:
        return [
            EndpointLoad("embed", self.num_waiting, 0, 0.0, 0.0, 0.0, "/embed", is_batched=True),
            EndpointLoad("chat", 0, 0, 0.0, 0.0, 0.0, "/chat", is_stream=True),
        ]

    def pids(self) -> list[int]:
        return [os.getpid()]

    def is_reloading(self) -> bool:
        return self.is_loading


class Still(Gauges):
    """Memory and GPUs that are as the test says; the thread is real."""

    def __init__(self) -> None:
        super().__init__(None, lambda _: None)
        self.now: tuple[int, tuple[GpuSample, ...]] = (MIB, ())
        self.threads: list[int] = []

    def has_news(self, now_s: float) -> bool:
        return True

    def read(self, roots: Any) -> tuple[int, tuple[GpuSample, ...]]:
        self.threads.append(threading.get_ident())
        return self.now


class Bench:
    """A sampler with what it looks at."""

    def __init__(self) -> None:
        self.metrics = Metrics(Reading)
        self.around, self.gauges = Around(), Still()
        self.told: list[RuntimeSampled] = []
        self.sampler = Sampler(self.metrics, self.around, self.gauges, self._tell, 0.01)

    def _tell(self, event: Event) -> None:
        assert isinstance(event, RuntimeSampled)
        self.told.append(event)

    def serve(self, count: int = 1, *, took_s: float = 0.01) -> None:
        items: dict[int, Any] = {
            number: SimpleNamespace(arrived_at_s=0.9, endpoint_name="embed") for number in range(count)
        }
        call = Call(1, Batch(EMBED, list(items)), Worker(0, lambda *_: True), items)
        self.metrics.call_began(call, 1.0)
        for pending in items.values():
            self.metrics.answered([pending], 200, [took_s])

    async def until(self, is_true: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + 10
        while not is_true():
            assert time.monotonic() < deadline_s, f"it did not happen; told so far: {self.told}"
            await asyncio.sleep(0.005)

    @property
    def sleeps(self) -> bool:
        return self.metrics.on_use is not None


def benched(main: Callable[[Bench], Any]) -> None:
    async def run() -> None:
        bench = Bench()
        try:
            await main(bench)
        finally:
            await bench.sampler.close()

    asyncio.run(run())


def test_a_sample_says_what_happened_since_the_last_and_a_last_one_says_that_nothing_does():
    async def main(bench: Bench) -> None:
        assert bench.sleeps
        bench.serve(3, took_s=0.04)
        bench.serve(1, took_s=0.04)
        await bench.until(lambda: bench.sleeps)

        first, last = bench.told
        (embed,) = first.endpoints
        assert embed.path == "/embed"
        assert embed.requests_per_s == pytest.approx(4 / first.interval_s)
        assert embed.batch_sizes == {"1": 1, "3": 1}
        assert embed.p50_s == pytest.approx(0.04, rel=0.06)
        assert embed.wait_p95_s == pytest.approx(0.1, rel=0.06)
        assert (last.endpoints[0].requests_per_s, last.endpoints[0].p50_s, last.endpoints[0].batch_sizes) == (
            0,
            None,
            {},
        )
        assert bench.gauges.threads
        assert threading.get_ident() not in bench.gauges.threads

        bench.metrics.streamed(Call(1, Batch(EndpointSpec("chat", "/chat"), [1]), Worker(0, lambda *_: True), {}), 50)
        bench.serve()
        await bench.until(lambda: bench.sleeps)
        assert {each.path: each.items_per_s for each in bench.told[2].endpoints} == {
            "/embed": None,
            "/chat": pytest.approx(50 / bench.told[2].interval_s),
        }

    benched(main)


def test_it_goes_on_while_requests_wait_though_none_is_answered():
    async def main(bench: Bench) -> None:
        bench.around.num_waiting = 2
        bench.serve()
        await bench.until(lambda: len(bench.told) >= 4)

        assert bench.told[-1].endpoints[0].num_waiting == 2
        assert not bench.sleeps
        bench.around.num_waiting = 0
        await bench.until(lambda: bench.sleeps)
        assert bench.told[-1].endpoints[0].num_waiting == 0

    benched(main)


def test_without_traffic_memory_is_told_where_it_changed():
    async def main(bench: Bench) -> None:
        for memory_bytes in (100 * MIB, 100 * MIB + 1, 150 * MIB):
            bench.gauges.now = (memory_bytes, ())
            bench.sampler.reloaded()
            await bench.until(lambda: bench.sleeps)

        assert [each.memory_bytes for each in bench.told] == [100 * MIB, 150 * MIB]
        bench.gauges.now = (150 * MIB, (GpuSample("a", 5, 10),))
        bench.sampler.reloaded()
        await bench.until(lambda: bench.sleeps)
        assert bench.told[-1].gpus == (GpuSample("a", 5, 10),)

    benched(main)


def test_without_traffic_a_figure_of_the_apps_own_is_told_where_it_changed():
    async def main(bench: Bench) -> None:
        for value in (10.0, 10.0, 20.0):
            bench.around.own = (GaugeSample("kv pages", value, 100.0),)
            bench.sampler.wake()
            await bench.until(lambda: bench.sleeps)

        assert [sample.gauges[0].value for sample in bench.told] == [10, 20]

    benched(main)


def test_amid_a_reload_nothing_is_told_nor_is_memory_looked_at():
    async def main(bench: Bench) -> None:
        bench.around.is_loading = True
        bench.serve()
        await asyncio.sleep(0.1)
        assert not bench.told
        assert not bench.gauges.threads

        bench.around.is_loading = False
        await bench.until(lambda: bench.sleeps)
        assert bench.told[0].interval_s >= 0.1
        assert bench.told[0].endpoints[0].requests_per_s == pytest.approx(1 / bench.told[0].interval_s)

    benched(main)


def test_memory_is_looked_at_more_rarely_the_longer_it_takes():
    gauges = Gauges(None, lambda _: None)
    held_bytes, gpus = gauges.read([os.getpid()])

    assert held_bytes > MIB
    assert gpus == ()
    assert not gauges.has_news(time.monotonic())
    assert gauges.has_news(time.monotonic() + 3600)
    gauges.hurry()
    assert gauges.has_news(time.monotonic())


# --- loaders --------------------------------------------------------------------------------------------------------


class Timers:
    """Calls back when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[tuple[float, Callable[[], None]]] = []

    def later(self, delay_s: float, call: Callable[[], None]) -> Any:
        entry = (delay_s, call)
        self.waiting.append(entry)
        return SimpleNamespace(cancel=lambda: entry in self.waiting and self.waiting.remove(entry))

    def fire(self) -> float:
        delay_s, call = self.waiting.pop()
        call()
        return delay_s


def test_a_loader_is_told_of_by_what_it_read_and_what_it_touched_of_mapped_files():
    timers, told, taken = Timers(), list[Event](), {7: Taken(1000, 500)}
    progress = Progress(told.append, timers.later, lambda pid: taken[pid])
    progress.began(3, "encoder", lambda: list(taken))

    taken[7] = Taken(1400, 600)
    assert timers.fire() == QUICK_S
    taken[7], taken[8] = Taken(1400, 100), Taken(50, 0)  # it let go of a mapping; a host began
    assert timers.fire() == INTERVAL_S
    timers.fire()

    assert [(each.model, each.revision, each.done_bytes) for each in told if isinstance(each, ModelProgress)] == [
        ("encoder", 3, 500),
        ("encoder", 3, 550),
    ]
    taken.clear()
    timers.fire()
    assert not timers.waiting


def test_a_loader_that_is_over_or_followed_by_another_is_not_told_of_any_more():
    timers, told = Timers(), list[Event]()
    progress = Progress(told.append, timers.later, lambda _: Taken(len(timers.waiting), 0))
    progress.began(3, "encoder", lambda: [7])
    progress.over("another")
    assert len(timers.waiting) == 1
    progress.over("encoder")
    assert not timers.waiting

    progress.began(3, "encoder", lambda: [7])
    progress.began(3, "decoder", lambda: [7])
    assert len(timers.waiting) == 1


# --- the real thing -------------------------------------------------------------------------------------------------

APP = """
import hotloop, mmap, pathlib, time
app = hotloop.App("x")
WEIGHTS = pathlib.Path(__file__).with_name("weights.bin")

@app.model
def weights():
    with WEIGHTS.open("rb") as file:
        total = len(file.read())
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        total += sum(mapped[at] for at in range(0, len(mapped), 4096))
    until = time.monotonic() + 30
    while not WEIGHTS.with_name("go").exists() and time.monotonic() < until:
        time.sleep(0.02)
    return {"total": total}

@app.endpoint(batch=hotloop.Batch(max_size=8))
def embed(x: list[int], weights) -> list[int]:
    return x

@app.endpoint
def chat(n: int):
    yield from ("a " for _ in range(n))
"""


def test_a_runtime_tells_of_its_loader_its_requests_and_its_memory_and_then_falls_silent(tmp_path: Path):
    size_bytes = 24 * MIB
    (tmp_path / "workspace").mkdir()
    (tmp_path / "workspace" / "weights.bin").write_bytes(os.urandom(size_bytes))
    with RuntimeDriver(tmp_path, {"app.py": APP}) as runtime:
        runtime.wait_for(ModelLoading)
        progress = runtime.wait_for(ModelProgress)
        while progress.done_bytes < 2 * size_bytes:
            progress = runtime.wait_for(ModelProgress)
        (tmp_path / "workspace" / "go").touch()
        runtime.wait_for(Ready)
        runtime.wait_for(StandbyReady)
        idle = runtime.wait_for(RuntimeSampled)
        for number in range(5):
            runtime.call("embed", x=number)
        assert len(runtime.call("chat", n=300).body) == 600
        samples = [runtime.wait_for(RuntimeSampled)]
        while any(each.requests_per_s for each in samples[-1].endpoints):
            samples.append(runtime.wait_for(RuntimeSampled))
        text = runtime.get("/metrics").body.decode()

    assert progress.done_bytes < 3 * size_bytes
    assert (progress.model, progress.revision) == ("weights", 1)
    assert idle.endpoints == ()
    assert idle.memory_bytes > MIB
    counted = {path: [0.0, 0.0, 0] for path in ("/embed", "/chat")}
    for sample in samples:
        for each in sample.endpoints:
            counted[each.path][0] += each.requests_per_s * sample.interval_s
            counted[each.path][1] += (each.items_per_s or 0) * sample.interval_s
            counted[each.path][2] += sum(each.batch_sizes.values())
    assert counted == {"/embed": [pytest.approx(5), 0, 5], "/chat": [pytest.approx(1), pytest.approx(300), 0]}
    assert 'hotloop_stream_items_total{endpoint="chat"} 300' in text


def test_descendants_are_found_and_their_memory_is_summed():
    pid = os.fork()
    if pid == 0:
        time.sleep(60)
        os._exit(0)
    try:
        assert set(memory.with_descendants([os.getpid()])) >= {os.getpid(), pid}
        assert memory.pss_bytes([os.getpid()]) > MIB
        assert memory.taken(os.getpid()).read_bytes > 0
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    assert memory.pss_bytes([pid]) == 0
    assert memory.taken(pid) == Taken(0, 0)
