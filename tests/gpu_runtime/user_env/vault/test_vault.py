"""What a loader returns comes back the same in another process, or is refused by name."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hotloop.gpu_runtime.user_env.source import Project
from hotloop.gpu_runtime.user_env.vault import arena
from hotloop.gpu_runtime.user_env.vault.attaching import attach
from hotloop.gpu_runtime.user_env.vault.packing import pack

HERE = Path(__file__).parent
SRC = Path(__file__).parents[4] / "src"


def stored(python: Path, folder: Path, *options: str) -> dict[str, Any]:
    shutil.copy(HERE / "kinds.py", folder)
    command = [str(python), "-W", "ignore", str(HERE / "store.py"), str(SRC), str(folder), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def check(results: dict[str, Any]) -> None:
    wrong = {name: pair for name, pair in results["kinds"].items() if pair[0] != pair[1]}
    unclear = {name: pair for name, pair in results["refused"].items() if pair[0] != pair[1].get("path")}

    assert wrong == {}
    assert unclear == {}


def test_each_kind_of_object_comes_back_in_a_fresh_process(tmp_path: Path) -> None:
    check(stored(Path(sys.executable), tmp_path))


@pytest.mark.models
@pytest.mark.timeout(300)
def test_each_kind_of_torch_object_comes_back_in_a_fresh_process(tmp_path: Path, user_python: Path) -> None:
    results = stored(user_python, tmp_path, "torch")

    check(results)
    assert "tied module" in results["kinds"]


def test_writing_to_an_attached_buffer_leaves_the_stored_one_alone(tmp_path: Path) -> None:
    project = Project(str(tmp_path))
    packed = pack(bytearray(b"a" * 100_000), project)
    first = attach(packed.header, packed.fds, project)

    first[0] = 0

    assert attach(packed.header, packed.fds, project)[0] == ord("a")


def test_stored_memory_can_not_be_written(tmp_path: Path) -> None:
    packed = pack(bytearray(b"a" * 100_000), Project(str(tmp_path)))

    with pytest.raises(PermissionError):
        os.pwrite(packed.fds[0], b"x", 0)


def test_model_of_installed_classes_alone_does_not_need_the_project(tmp_path: Path) -> None:
    packed = pack({"a": Path("/x")}, Project(str(tmp_path)))

    assert not packed.needs_project
    assert any(name.startswith("pathlib") for name in packed.modules)


def test_blocks_are_stored_whole_though_one_call_writes_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = [memoryview(bytes(range(256)) * 300), memoryview(b""), memoryview(b"end")]
    slots, size_bytes = arena.place_all([block.nbytes for block in blocks], 0)
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: pwrite(fd, data[:1000], offset))  # Linux writes 2 GiB
    fd = arena.write(blocks, slots, size_bytes)
    with os.fdopen(fd), arena.open_private(fd) as memory:
        assert [memory[slot.offset : slot.offset + slot.size_bytes] for slot in slots] == blocks
        assert len(memory) == size_bytes


@pytest.mark.parametrize(("size", "next_offset"), [(65535, 65536), (65536, 65536), (65537, 69632)])
def test_large_blocks_start_on_a_page_of_their_own(size: int, next_offset: int) -> None:
    slots, end = arena.place_all([size, 1 << 16], 0)

    assert slots[1].offset == next_offset
    assert end % 4096 == 0
