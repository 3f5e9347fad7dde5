"""The files that this process writes its own output to, as far as this system tells. Linux only; elsewhere there are none."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from pathlib import Path


def own_outputs(root: Path) -> frozenset[str]:
    """Name the files of a project that this process's own output goes to: each line would be a save, which makes lines.

    It goes there itself, or through others of its pipeline: ``dev serve | tee log``.
    """
    folder = root.resolve()
    targets = {os.readlink(f"/proc/self/fd/{fd}") for fd in (1, 2) if _is_open(fd)}  # noqa: PTH115  of what has no path too
    if any(target.startswith("pipe:") for target in targets):
        targets = _reached(targets)
    found: set[str] = set()
    for target in targets:
        with contextlib.suppress(OSError, ValueError):  # elsewhere, or gone
            if stat.S_ISREG(os.stat(target).st_mode):  # noqa: PTH116
                found.add(os.fspath(Path(target).relative_to(folder)))
    return frozenset(found)


def _is_open(fd: int) -> bool:
    return os.path.lexists(f"/proc/self/fd/{fd}")  # not on systems without it


def _reached(targets: set[str]) -> set[str]:
    """What is written to by the processes at the other end of pipes, and by those behind them."""
    processes = [_opened(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]  # noqa: PTH208
    reached = set(targets)
    while True:
        pipes = {target for target in reached if target.startswith("pipe:")}
        more = {written for read, written_to in processes if pipes & read for written in written_to} - reached
        if not more:
            return reached
        reached |= more


def _opened(pid: str) -> tuple[set[str], set[str]]:
    """What a process may read from, and what it may write to."""
    read: set[str] = set()
    written: set[str] = set()
    with contextlib.suppress(OSError):  # it ended, or is somebody else's
        for fd in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208
            target = os.readlink(f"/proc/{pid}/fd/{fd}")  # noqa: PTH115
            flags = re.search(r"^flags:\s*(\d+)", Path(f"/proc/{pid}/fdinfo/{fd}").read_text(), re.MULTILINE)
            (written if flags and int(flags[1], 8) & (os.O_WRONLY | os.O_RDWR) else read).add(target)
    return read, written
