"""Who listens on a TCP port of this machine. Linux only; elsewhere nobody is known."""

from __future__ import annotations

import os
from pathlib import Path

_LISTENS = "0A"


def holder(port: int) -> str:
    """Name the process that listens on a port, such as ``python3 (pid 71)``; empty if it can't be known."""
    inodes = {inode for table in ("tcp", "tcp6") for inode in _listening(Path("/proc/net") / table, port)}
    if not inodes:
        return ""
    links = {f"socket:[{inode}]" for inode in inodes}
    for process in Path("/proc").glob("[0-9]*"):
        if _has_one(process / "fd", links):
            return f"{_name(process)} (pid {process.name})"
    return ""


def _listening(table: Path, port: int) -> list[str]:
    try:
        rows = [line.split() for line in table.read_text().splitlines()[1:]]
    except OSError:
        return []
    return [row[9] for row in rows if row[3] == _LISTENS and int(row[1].rpartition(":")[2], 16) == port]


def _has_one(descriptors: Path, links: set[str]) -> bool:
    try:
        return any(_target(descriptor) in links for descriptor in descriptors.iterdir())
    except OSError:  # another user's, or gone
        return False


def _target(descriptor: Path) -> str:
    try:
        return os.readlink(descriptor)  # noqa: PTH115  the target is no path
    except OSError:
        return ""


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return "a process"
