"""Tells once a second what the runtime does, as long as it does something: an idle one costs nothing.

Serving pays nothing for it: figures are differences of what is counted for ``/metrics``. What takes longer to find out,
memory and GPUs, is found out in a thread.

Rules:
1. A sample is told while requests come, wait or run; then once more, so that figures fall to zero.
2. Without traffic one is told where memory changed: a while after a reload, when somebody may have loaded a model; and
   where a figure of the app's own did.
3. None is told, and no memory is looked at, while a reload has the machine for itself (docs/decisions/0004), at most
   `PUT_OFF_S`: a model may take minutes to load.
4. The memory of processes is looked at each `MEMORY_EVERY_S` at most, and so rarely that it takes 0.5 % of a core.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

from hotloop.events import EndpointSample, GaugeSample, GpuSample, RuntimeSampled
from hotloop.frozen import frozen
from hotloop.gpu_runtime import memory
from hotloop.gpu_runtime.metrics import Counted, Metrics, quantile_s
from hotloop.gpu_runtime.nvml import Nvml, open_library
from hotloop.gpu_runtime.observing import EndpointLoad

if TYPE_CHECKING:
    from hotloop.events import Event

INTERVAL_S = 1.0
PUT_OFF_S = 2.0
LOOK_AGAIN_S = 0.1
MEMORY_EVERY_S = 5.0
MEMORY_SHARE = 0.005
NEWS_SHARE = 0.01  # of memory: what changed by less is not told by itself


class Surroundings(Protocol):
    """What a sampler may ask its runtime."""

    def load(self) -> Sequence[EndpointLoad]:
        """Say how each endpoint is doing."""
        ...

    def pids(self) -> list[int]:
        """Give the app's processes; those that they started may be left out."""
        ...

    def gauges(self) -> tuple[GaugeSample, ...]:
        """Give the app's own figures."""
        ...

    def is_reloading(self) -> bool:
        """Whether a worker is becoming ready, or tried."""
        ...


@frozen
class _Counts:
    """What was counted of one endpoint up to a moment."""

    answers: int
    request_s: tuple[int, ...]
    queue_s: tuple[int, ...]
    batch_sizes: dict[int, int]
    streamed: int

    @classmethod
    def of(cls, counted: Counted) -> _Counts:
        return cls(
            sum(counted.statuses.values()),
            tuple(counted.request_s.counts),
            tuple(counted.queue_s.counts),
            dict(counted.batch_sizes),
            counted.streamed,
        )


_NOTHING = _Counts(0, (), (), {}, 0)


class Gauges:
    """Memory and GPUs, looked at in a thread.

    Args:
        visible: ``CUDA_VISIBLE_DEVICES`` of the app, None if it is not set.
        open_nvml: Opens the driver's library.
    """

    def __init__(self, visible: str | None, open_nvml: Callable[[str | None], Nvml | None] = open_library) -> None:
        self._visible = visible
        self._open = open_nvml
        self._nvml: Nvml | None = None
        self._is_open = False
        self._pids: list[int] = []
        self._memory_bytes = 0
        self._due_at_s = 0.0
        self._lock = threading.Lock()  # a thread that began goes on when its task is cancelled

    def has_news(self, now_s: float) -> bool:
        """Whether it is time to look."""
        return now_s >= self._due_at_s or not self._is_open or self._nvml is not None

    def read(self, roots: Iterable[int]) -> tuple[int, tuple[GpuSample, ...]]:
        """Give the memory of the processes that descend from some, in bytes, and how the GPUs are. Blocks."""
        with self._lock:
            return self._read(roots)

    def _read(self, roots: Iterable[int]) -> tuple[int, tuple[GpuSample, ...]]:
        if not self._is_open:
            self._is_open, self._nvml = True, self._open(self._visible)
        began_s = time.monotonic()
        if began_s >= self._due_at_s:
            self._pids = memory.with_descendants(roots)
            used_s = time.thread_time()
            self._memory_bytes = memory.pss_bytes(self._pids)
            used_s = time.thread_time() - used_s
            self._due_at_s = began_s + max(MEMORY_EVERY_S, used_s / MEMORY_SHARE)
        return self._memory_bytes, self._nvml.read(self._pids) if self._nvml is not None else ()

    def hurry(self) -> None:
        """Look at memory with the next sample: it changed."""
        self._due_at_s = 0.0

    def close(self) -> None:
        """Let go of the driver's library."""
        with self._lock:
            self._is_open = True
            if self._nvml is not None:
                self._nvml.close()
                self._nvml = None


class Sampler:
    """Tells of one runtime.

    Args:
        metrics: Counts.
        around: The runtime.
        gauges: Memory and GPUs.
        emit: Gets the samples.
        interval_s: How often one is told.
    """

    def __init__(
        self,
        metrics: Metrics,
        around: Surroundings,
        gauges: Gauges,
        emit: Callable[[Event], None],
        interval_s: float = INTERVAL_S,
    ) -> None:
        self._metrics = metrics
        self._around = around
        self._gauges = gauges
        self._emit = emit
        self._interval_s = interval_s
        self._before: dict[str, _Counts] = {}
        self._told: RuntimeSampled | None = None
        self._task: asyncio.Task[None] | None = None
        metrics.on_use = self.wake

    def wake(self) -> None:
        """Begin to look: there is traffic."""
        self._metrics.on_use = None
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="sample")

    def reloaded(self) -> None:
        """Tell of the memory that a generation and its standby take, even if nobody asks them anything."""
        self._gauges.hurry()
        self.wake()

    async def close(self) -> None:
        """Tell no more."""
        self._metrics.on_use = None
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self._gauges.close()

    async def _run(self) -> None:
        began_s = time.monotonic()
        while True:
            await asyncio.sleep(began_s + self._interval_s - time.monotonic())
            memory_bytes, gpus = await self._look()
            now_s = time.monotonic()
            sample = self._sample(began_s, now_s, memory_bytes, gpus)
            is_new = self._is_news(sample)
            if is_new:
                self._told = sample
                self._emit(sample)
            if not is_new and not any(map(_is_busy, sample.endpoints)):
                break
            began_s = now_s
        self._task = None
        self._metrics.on_use = self.wake

    async def _look(self) -> tuple[int, tuple[GpuSample, ...]]:
        """Look at what takes time, when no reload wants the machine."""
        for _ in range(round(PUT_OFF_S / LOOK_AGAIN_S)):
            if not self._around.is_reloading():
                break
            await asyncio.sleep(LOOK_AGAIN_S)
        told = self._told
        if self._around.is_reloading() or not self._gauges.has_news(time.monotonic()):
            return (told.memory_bytes, told.gpus) if told is not None else (0, ())
        return await asyncio.to_thread(self._gauges.read, self._around.pids())

    def _sample(self, began_s: float, now_s: float, memory_bytes: int, gpus: tuple[GpuSample, ...]) -> RuntimeSampled:
        counted = {name: _Counts.of(counted) for name, counted in self._metrics.counted.items()}
        shown = {each.path for each in self._told.endpoints if _is_busy(each)} if self._told is not None else set[str]()
        took_s = now_s - began_s
        samples = [
            _endpoint(load, counted.get(load.name, _NOTHING), self._before.get(load.name, _NOTHING), took_s)
            for load in self._around.load()
        ]
        self._before = counted
        return RuntimeSampled(
            at_s=now_s,
            interval_s=took_s,
            endpoints=tuple(each for each in samples if _is_busy(each) or each.path in shown),
            memory_bytes=memory_bytes,
            gpus=gpus,
            gauges=self._around.gauges(),
        )

    def _is_news(self, sample: RuntimeSampled) -> bool:
        told = self._told
        if sample.endpoints or told is None:
            return bool(sample.endpoints or sample.memory_bytes or sample.gpus or sample.gauges)
        if sample.gauges != told.gauges or len(sample.gpus) != len(told.gpus):
            return True
        held = [(gpu.memory_used_bytes for gpu in each.gpus) for each in (sample, told)]
        pairs = [(sample.memory_bytes, told.memory_bytes), *zip(*held, strict=True)]
        return any(not math.isclose(one, other, rel_tol=NEWS_SHARE) for one, other in pairs)


def _is_busy(sample: EndpointSample) -> bool:
    return bool(sample.requests_per_s or sample.num_waiting or sample.num_running or sample.items_per_s)


def _endpoint(load: EndpointLoad, now: _Counts, before: _Counts, took_s: float) -> EndpointSample:
    """Say what an endpoint did between two moments."""
    requests = _difference(now.request_s, before.request_s)
    sizes = {size: count - before.batch_sizes.get(size, 0) for size, count in sorted(now.batch_sizes.items())}
    return EndpointSample(
        path=load.path,
        requests_per_s=(now.answers - before.answers) / took_s,
        num_waiting=load.num_waiting,
        num_running=load.num_running,
        wait_p95_s=quantile_s(_difference(now.queue_s, before.queue_s), 0.95),
        p50_s=quantile_s(requests, 0.5),
        p95_s=quantile_s(requests, 0.95),
        batch_sizes={str(size): count for size, count in sizes.items() if count} if load.is_batched else {},
        items_per_s=(now.streamed - before.streamed) / took_s if load.is_stream else None,
    )


def _difference(now: tuple[int, ...], before: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(one - other for one, other in zip(now, before, strict=True)) if before else now
