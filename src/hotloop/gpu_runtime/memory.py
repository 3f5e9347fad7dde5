"""What processes hold in memory, and what they have read, as /proc says. Linux only: elsewhere nothing is known."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from hotloop.frozen import frozen

_PSS = re.compile(rb"^Pss:\s+(\d+) kB", re.MULTILINE)
_READ = re.compile(rb"^rchar: (\d+)", re.MULTILINE)
_MAPPED = re.compile(rb"^RssFile:\s+(\d+) kB", re.MULTILINE)


@frozen
class Taken:
    """What a process has taken from files so far.

    Attributes:
        read_bytes: By reading: also from pipes, and from sockets where a library reads them like files.
        mapped_bytes: Pages of mapped files that it holds now.
    """

    read_bytes: int
    mapped_bytes: int


def with_descendants(roots: Iterable[int]) -> list[int]:
    """Give processes and all that descend from them, each once. Those that ended meanwhile may be among them."""
    found = list(dict.fromkeys(roots))
    known = set(found)
    for pid in found:  # grows while it is walked
        for child in _children(pid):
            if child not in known:
                known.add(child)
                found.append(child)
    return found


def pss_bytes(pids: Iterable[int]) -> int:
    """Sum the proportional set sizes of processes: a page that several of them map is counted once.

    Blocks: the kernel walks the page tables, 5 ms of a core for each GB of small pages, and holds the process's lock on its
    memory map meanwhile, save when somebody waits for it.
    """
    return sum(_field(f"/proc/{pid}/smaps_rollup", _PSS) * 1024 for pid in pids)


def taken(pid: int) -> Taken:
    """Say what a process has taken from files; nothing if it is gone."""
    return Taken(_field(f"/proc/{pid}/io", _READ), _field(f"/proc/{pid}/status", _MAPPED) * 1024)


def _children(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for task in tasks for child in (task / "children").read_bytes().split()]
    except OSError:
        return []


def _field(path: str, pattern: re.Pattern[bytes]) -> int:
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123  a third of the time of Path.read_bytes
            found = pattern.search(file.read())
    except OSError:
        return 0
    return int(found[1]) if found else 0
