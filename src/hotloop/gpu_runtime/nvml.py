"""What NVIDIA's driver says of its GPUs: asked of its management library by ctypes, without a package.

No CUDA context is made, which would cost the GPU some hundred MB. The library is the driver's own, so it is there wherever a GPU is. What a driver or a GPU does not say is None: each
question may fail by itself. SM activity needs two samples and a GPU of the Hopper generation or newer.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from hotloop.events import GpuSample

LIBRARY = "libnvidia-ml.so.1"
STALE_S = 5.0  # a mean over more than that says nothing of now
_SUCCESS = 0
_TOO_SMALL = 7
_UNKNOWN = (1 << 64) - 1
_NAME_BYTES = 96
_SM_UTIL = 2  # NVML_GPM_METRIC_SM_UTIL: per cent of multiprocessors that were busy
_MAX_METRICS = 512  # the library's own maximum grows with its versions: 98, 333, 477
_PER_CENT = 100.0


class _Memory(ctypes.Structure):
    _fields_ = (
        ("version", ctypes.c_uint), ("total", ctypes.c_ulonglong), ("reserved", ctypes.c_ulonglong),
        ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong),
    )  # fmt: skip


class _OldMemory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class _Utilisation(ctypes.Structure):
    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


class _Process(ctypes.Structure):
    _fields_ = (
        ("pid", ctypes.c_uint), ("used", ctypes.c_ulonglong), ("gpu_instance", ctypes.c_uint),
        ("compute_instance", ctypes.c_uint),
    )  # fmt: skip


class _Support(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint), ("is_supported", ctypes.c_uint))


class _Metric(ctypes.Structure):
    _fields_ = (
        ("id", ctypes.c_uint), ("result", ctypes.c_uint), ("value", ctypes.c_double),
        ("short_name", ctypes.c_char_p), ("long_name", ctypes.c_char_p), ("unit", ctypes.c_char_p),
    )  # fmt: skip


class _Metrics(ctypes.Structure):
    _fields_ = (
        ("version", ctypes.c_uint), ("count", ctypes.c_uint), ("first", ctypes.c_void_p), ("second", ctypes.c_void_p),
        ("metrics", _Metric * _MAX_METRICS),
    )  # fmt: skip


@dataclass
class _Gpu:
    """One GPU.

    Attributes:
        samples: The newest sample of its performance counters and one to take the next into; empty if it has none.
        sampled_at_s: When the newest was taken; 0 before the first.
    """

    handle: ctypes.c_void_p
    name: str
    uuid: str
    samples: list[ctypes.c_void_p]
    sampled_at_s: float = 0.0


class Nvml:
    """The driver's management library, open. Its methods block, some ms at most, and are for one thread at a time."""

    def __init__(self, library: ctypes.CDLL) -> None:
        """Use a library that was initialised; see `open_library`."""
        self._library = library
        self._gpus: list[_Gpu] = []

    def open(self, visible: str | None) -> None:
        """Find the GPUs.

        Args:
            visible: ``CUDA_VISIBLE_DEVICES`` of who uses them, None if it is not set. Numbers are taken for the driver's
                own, by bus: CUDA's differ on a machine with GPUs of several kinds, unless ``CUDA_DEVICE_ORDER`` says so.
        """
        count = ctypes.c_uint()
        self._ask("nvmlDeviceGetCount_v2", ctypes.byref(count))
        found: list[_Gpu] = []
        for index in range(count.value):
            handle = ctypes.c_void_p()
            if self._ask("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index), ctypes.byref(handle)):
                name, uuid = self._text("nvmlDeviceGetName", handle), self._text("nvmlDeviceGetUUID", handle)
                found.append(_Gpu(handle, name, uuid, []))
        self._gpus = _chosen(found, visible)
        for gpu in self._gpus:
            gpu.samples = self._make_samples(gpu.handle)

    def close(self) -> None:
        """Let go of the library."""
        for gpu in self._gpus:
            for sample in gpu.samples:
                self._ask("nvmlGpmSampleFree", sample)
        self._gpus = []
        self._ask("nvmlShutdown")

    def read(self, pids: Collection[int] = ()) -> tuple[GpuSample, ...]:
        """Say how each GPU is.

        Args:
            pids: Whose memory is told apart.
        """
        return tuple(sample for gpu in self._gpus if (sample := self._read(gpu, pids)) is not None)

    def _read(self, gpu: _Gpu, pids: Collection[int]) -> GpuSample | None:
        memory = self._memory(gpu.handle)
        if memory is None:  # it is gone, as with an error of the hardware
            return None
        used, total = memory
        busy = _Utilisation()
        is_busy_known = self._ask("nvmlDeviceGetUtilizationRates", gpu.handle, ctypes.byref(busy))
        return GpuSample(
            name=gpu.name,
            memory_used_bytes=used,
            memory_total_bytes=total,
            busy_ratio=busy.gpu / _PER_CENT if is_busy_known else None,
            sm_ratio=self._sm_ratio(gpu),
            power_w=self._watts("nvmlDeviceGetPowerUsage", gpu.handle),
            power_limit_w=self._watts("nvmlDeviceGetEnforcedPowerLimit", gpu.handle),
            app_bytes=self._held_by(gpu.handle, pids),
        )

    def _memory(self, handle: ctypes.c_void_p) -> tuple[int, int] | None:
        memory = _Memory(version=ctypes.sizeof(_Memory) | (2 << 24))
        if self._ask("nvmlDeviceGetMemoryInfo_v2", handle, ctypes.byref(memory)):
            return memory.used, memory.total
        old = _OldMemory()  # a driver before 510; counts what the driver reserves as used
        return (old.used, old.total) if self._ask("nvmlDeviceGetMemoryInfo", handle, ctypes.byref(old)) else None

    def _watts(self, question: str, handle: ctypes.c_void_p) -> float | None:
        milliwatts = ctypes.c_uint()
        return milliwatts.value / 1000 if self._ask(question, handle, ctypes.byref(milliwatts)) else None

    def _held_by(self, handle: ctypes.c_void_p, pids: Collection[int]) -> int | None:
        """What some processes hold of a GPU; None if the driver does not tell, as in many containers."""
        count, question = ctypes.c_uint(0), "nvmlDeviceGetComputeRunningProcesses_v3"
        result = self._result(question, handle, ctypes.byref(count), None)
        if result == _SUCCESS:
            return 0
        if result != _TOO_SMALL:
            return None
        count = ctypes.c_uint(count.value + 8)  # others may begin meanwhile
        holders = (_Process * count.value)()
        if not self._ask(question, handle, ctypes.byref(count), holders):
            return None
        wanted = set(pids)
        ours = [each.used for each in holders[: count.value] if each.pid in wanted and each.used != _UNKNOWN]
        return sum(ours) if ours else None

    # --- performance counters -----------------------------------------------------------------------------------

    def _make_samples(self, handle: ctypes.c_void_p) -> list[ctypes.c_void_p]:
        support = _Support(version=1)
        if not self._ask("nvmlGpmQueryDeviceSupport", handle, ctypes.byref(support)) or not support.is_supported:
            return []
        samples = [ctypes.c_void_p(), ctypes.c_void_p()]
        return samples if all(self._ask("nvmlGpmSampleAlloc", ctypes.byref(sample)) for sample in samples) else []

    def _sm_ratio(self, gpu: _Gpu) -> float | None:
        if not gpu.samples or not self._ask("nvmlGpmSampleGet", gpu.handle, gpu.samples[1]):
            return None
        before_s, gpu.sampled_at_s = gpu.sampled_at_s, time.monotonic()
        gpu.samples.reverse()
        if gpu.sampled_at_s - before_s > STALE_S:
            return None
        asked = _Metrics(version=1, count=1, first=gpu.samples[1], second=gpu.samples[0])
        metric = asked.metrics[0]
        metric.id = _SM_UTIL
        is_known = self._ask("nvmlGpmMetricsGet", ctypes.byref(asked)) and metric.result == _SUCCESS
        return metric.value / _PER_CENT if is_known else None

    # --- the library --------------------------------------------------------------------------------------------

    def _text(self, question: str, handle: ctypes.c_void_p) -> str:
        text = ctypes.create_string_buffer(_NAME_BYTES)
        is_known = self._ask(question, handle, text, ctypes.c_uint(_NAME_BYTES))
        return text.value.decode("utf-8", "replace") if is_known else ""

    def _ask(self, question: str, *arguments: Any) -> bool:
        return self._result(question, *arguments) == _SUCCESS

    def _result(self, question: str, *arguments: Any) -> int:
        function = getattr(self._library, question, None)
        return -1 if function is None else function(*arguments)


def open_library(visible: str | None, library: str = LIBRARY) -> Nvml | None:
    """Open the driver's library; None if there is no driver, or no GPU. Blocks, a tenth of a second or so.

    Args:
        visible: As for `Nvml.open`.
        library: Its name or path.
    """
    try:
        loaded = ctypes.CDLL(library)
    except OSError:
        return None
    try:
        if loaded.nvmlInit_v2() != _SUCCESS:
            return None
    except AttributeError:  # a stub, as some images have it
        return None
    nvml = Nvml(loaded)
    nvml.open(visible)
    return nvml


def _chosen(gpus: list[_Gpu], visible: str | None) -> list[_Gpu]:
    """Those that ``CUDA_VISIBLE_DEVICES`` leaves; all of them if it names slices of one."""
    if visible is None or "MIG-" in visible:
        return gpus
    chosen: list[_Gpu] = []
    for each in (part.strip() for part in visible.split(",")):
        if each.isdigit():
            chosen += gpus[int(each) : int(each) + 1]
        else:
            chosen += [gpu for gpu in gpus if each and gpu.uuid.startswith(each)]
    return chosen
