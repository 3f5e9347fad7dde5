"""What a tree of processes costs in memory, pages that several map counted once."""

from __future__ import annotations

import re
from pathlib import Path

_PPID = re.compile(r"^PPid:\s+(\d+)", re.MULTILINE)
_PSS = re.compile(r"^Pss:\s+(\d+) kB", re.MULTILINE)


def tree(root: int) -> list[int]:
    """A process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        parent = _field(folder / "status", _PPID)
        if parent is not None:
            children.setdefault(parent, []).append(int(folder.name))
    found = [root]
    for pid in found:  # grows while it is walked
        found += children.get(pid, [])
    return found


def pss_bytes(pid: int) -> int:
    """A process's proportional set size; 0 if it is gone."""
    return (_field(Path(f"/proc/{pid}/smaps_rollup"), _PSS) or 0) * 1024


def tree_pss_bytes(root: int) -> dict[int, int]:
    """PSS of each process of a tree, by pid."""
    return {pid: pss_bytes(pid) for pid in tree(root)}


def _field(path: Path, pattern: re.Pattern[str]) -> int | None:
    try:
        found = pattern.search(path.read_text())
    except OSError:
        return None
    return int(found[1]) if found else None
