"""The driver's management library, by a stand-in in C: the layout of what is passed, and what each missing answer becomes.

That a real driver is asked the right thing, only a GPU can say: `benchmarks/gpu.sh` asks one.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import pytest

from hotloop.events import GpuSample, Notice, RuntimeSampled
from hotloop.gpu_runtime import nvml
from tests.gpu_runtime.driver import RuntimeDriver
from tests.gpu_runtime.fakes import make_nvml

APP = "import hotloop\napp = hotloop.App('x')\n@app.endpoint\ndef echo(x: int) -> int:\n    return x\n"
GIB = 1 << 30
OLD = GpuSample("Tesla T4", 15 * GIB, 80 * GIB, power_w=31.5, app_bytes=0)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_nvml(tmp_path_factory.mktemp("nvml"))


def test_what_a_driver_says_is_read_and_what_it_does_not_say_is_none(library: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOTLOOP_FAKE_NVML_PID", "4321")
    opened = nvml.open_library(None, str(library))
    assert opened is not None

    first, second = opened.read([4321]), opened.read([4321, 1])
    opened.close()

    new = GpuSample("NVIDIA H100 80GB HBM3", 14 * GIB, 80 * GIB, 0.97, None, 412.0, 700.0, 9 * GIB)
    assert first == (new, OLD)
    assert second[0].sm_ratio == pytest.approx(0.415)
    assert second[0].app_bytes == 14 * GIB
    assert ctypes.CDLL(str(library)).fakeIsOpen() == 0


def test_memory_of_processes_that_the_driver_does_not_name_is_unknown(library: Path):
    opened = nvml.open_library("0", str(library))
    assert opened is not None

    (sample,) = opened.read([os.getpid()])
    opened.close()

    assert sample.app_bytes is None


def test_a_mean_over_a_long_pause_is_not_told(library: Path, monkeypatch: pytest.MonkeyPatch):
    opened = nvml.open_library("GPU-aaaa", str(library))
    assert opened is not None
    opened.read()
    monkeypatch.setattr(nvml, "STALE_S", 0.0)

    (late,) = opened.read()
    opened.close()

    assert late.sm_ratio is None


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        (None, ["NVIDIA H100 80GB HBM3", "Tesla T4"]),
        ("1", ["Tesla T4"]),
        ("1,0", ["Tesla T4", "NVIDIA H100 80GB HBM3"]),
        ("GPU-bb", ["Tesla T4"]),
        ("2", []),
        ("-1", []),
        ("", []),
        ("MIG-1234", ["NVIDIA H100 80GB HBM3", "Tesla T4"]),
    ],
)
def test_only_the_gpus_are_looked_at_that_the_app_may_use(library: Path, visible: str | None, names: list[str]):
    opened = nvml.open_library(visible, str(library))
    assert opened is not None

    found = [gpu.name for gpu in opened.read()]
    opened.close()

    assert found == names


def test_without_a_library_a_driver_or_its_functions_there_is_nothing_to_read(
    library: Path, monkeypatch: pytest.MonkeyPatch
):
    assert nvml.open_library(None, "libhotloop-is-not-there.so.1") is None
    assert nvml.open_library(None, "libc.so.6") is None
    monkeypatch.setenv("HOTLOOP_FAKE_NVML", "dead")
    assert nvml.open_library(None, str(library)) is None


def test_a_runtime_tells_of_the_gpus_of_its_machine(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LD_LIBRARY_PATH", str(library.parent))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    with RuntimeDriver(tmp_path, {"app.py": APP}) as runtime:
        sample = runtime.wait_for(RuntimeSampled)

    assert sample.gpus == (OLD,)
    assert sample.memory_bytes > 1 << 20
    assert not [event for event in runtime.events if isinstance(event, Notice)]
