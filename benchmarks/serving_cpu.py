"""Processor time of trees of processes, read from /proc."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from benchmarks import memory

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
# Fields of /proc/PID/stat after the name: its parent; user and system time of it, then of its children that ended;
# when it started.
_PARENT, _FIRST_TIME, _AFTER_TIMES, _STARTED = 1, 11, 15, 19


def process_s(pid: int) -> float:
    """What a process has used, with its children that ended and were waited for; 0 if it is gone."""
    return sum(_fields(pid)[_FIRST_TIME:_AFTER_TIMES]) / _TICKS_PER_S


def members(roots: Iterable[int]) -> set[int]:
    """Every process of the trees below `roots`, each once."""
    return {pid for root in roots for pid in memory.tree(root)}


def trees_s(roots: Iterable[int]) -> float:
    """What whole trees have used. A process that ended counts as long as its parent lives and has waited for it."""
    return sum(process_s(pid) for pid in members(roots))


def parent(pid: int) -> int:
    """The process that a process belongs to; 0 if it is gone."""
    return sum(_fields(pid)[_PARENT : _PARENT + 1])


def started(pid: int) -> int:
    """When a process started, in ticks since the machine did; 0 if it is gone. With it, a number is one process."""
    return sum(_fields(pid)[_STARTED : _STARTED + 1])


def _fields(pid: int) -> list[int]:
    """The numbers of /proc/PID/stat after the state, which is given as 0; none if it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return []
    return [0, *map(int, text.rpartition(")")[2].split()[1:])]
