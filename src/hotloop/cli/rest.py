"""Whether processes and all that they started are at rest. Linux only; elsewhere they are taken to be."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

BUSY_RATIO = 0.05  # of one core
REST_S = 2.0  # a second after the probes the runtime may find that it needs another zygote
MAX_WAIT_S = 60.0
_LOOK_S = 0.25
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def wait(pids: Sequence[int]) -> bool:
    """Wait until processes and their descendants have done next to nothing for a while; False: they still do."""
    began_s = calm_since_s = time.monotonic()
    used_s = sum(map(used_by, pids))
    while (now_s := time.monotonic()) - calm_since_s < REST_S:
        if now_s - began_s > MAX_WAIT_S:
            return False
        time.sleep(_LOOK_S)
        before_s, used_s = used_s, sum(map(used_by, pids))
        if used_s - before_s > BUSY_RATIO * _LOOK_S:
            calm_since_s = time.monotonic()
    return True


def used_by(pid: int) -> float:
    """Give the processor time that a process and its living descendants have used, seconds."""
    parents: dict[int, int] = {}
    times_s: dict[int, float] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # gone meanwhile
            continue
        parents[int(folder.name)] = int(fields[1])
        times_s[int(folder.name)] = (int(fields[11]) + int(fields[12])) * _TICK_S
    return sum(used_s for each, used_s in times_s.items() if _is_of(each, pid, parents))


def _is_of(each: int, pid: int, parents: dict[int, int]) -> bool:
    while each > 1:
        if each == pid:
            return True
        each = parents.get(each, 0)
    return False
