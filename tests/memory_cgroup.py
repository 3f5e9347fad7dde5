"""A memory cgroup of a test's own: what starts in it is killed by the kernel when it takes more than the limit."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path("/sys/fs/cgroup")
LIMITS = {"memory.limit_in_bytes": "memory", "memory.max": ""}  # version 1, version 2: and where its hierarchy is


@contextlib.contextmanager
def limited(num_bytes: int) -> Iterator[Path]:
    """Make one and put this process into it, so that what it starts within the block is there too; then take it back out.

    The cgroup is removed when the test that made it calls `removed`.
    """
    before, folder = _made(num_bytes)
    (folder / "cgroup.procs").write_text(str(os.getpid()))
    try:
        yield folder
    finally:
        (before / "cgroup.procs").write_text(str(os.getpid()))


def removed(folder: Path) -> None:
    """Remove one whose processes have ended, or are about to."""
    deadline = time.monotonic() + 10
    while True:
        try:
            folder.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def _made(num_bytes: int) -> tuple[Path, Path]:
    for name, hierarchy in LIMITS.items():
        own = _own(hierarchy)
        if own is None:
            continue
        for parent in (own, ROOT / hierarchy):
            folder = parent / f"hotloop-test-{os.getpid()}-{time.monotonic_ns()}"
            try:
                folder.mkdir()
            except OSError:
                continue
            try:
                (folder / name).write_text(str(num_bytes))
            except OSError:  # the parent does not hand the controller down
                folder.rmdir()
            else:
                return own, folder
    pytest.skip("no memory cgroup can be made here: run as root, where /sys/fs/cgroup can be written")


def _own(controller: str) -> Path | None:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        folder = ROOT / controller / path.lstrip("/")
        if (controllers.split(",") == [controller]) and folder.is_dir():
            return folder
    return None
