"""What files and folders looked like to a loader, and whether they still do."""

from __future__ import annotations

import os
import posix
import stat
import time
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any

_HASHED_BELOW_BYTES = 64 << 20
_RACY_S = 0.1  # a file written that recently may be written again without its times showing it
_CHUNK_BYTES = 1 << 20
_REAL_STAT, _REAL_LISTDIR = posix.stat, os.listdir

Look = dict[str, Any]


def glance(path: str) -> Look:
    """What `stat` says of a path: enough to see later that nothing happened to it."""
    try:
        found = posix.lstat(path)
        link = posix.readlink(path) if stat.S_ISLNK(found.st_mode) else None
        if link is not None:
            found = _REAL_STAT(path)
    except (OSError, ValueError):
        return {"kind": "missing"}
    kind = "file" if stat.S_ISREG(found.st_mode) else "folder" if stat.S_ISDIR(found.st_mode) else "other"
    seen: Look = {"kind": kind, "mode": found.st_mode}
    if link is not None:
        seen["link"] = link
    if kind == "file":
        seen["size"] = found.st_size
        seen["times"] = [found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns]
    return seen


def look(
    path: str, *, is_installed: bool, is_read: bool = False, has_mode: bool = False, has_time: bool = False
) -> Look:
    """What a path holds. Small files count by content, large ones and those of packages by their times.

    Args:
        path: An absolute path.
        is_installed: It is part of an installed package, whose version counts.
        is_read: It was opened; a module that only was looked for counts by being there.
        has_mode: Its permissions count.
        has_time: The time of its last change counts.
    """
    seen = glance(path)
    mode = seen.pop("mode", None)
    if path.endswith(".py") and not is_read:  # what the code in it does is compared by itself
        return {key: seen[key] for key in ("kind", "link") if key in seen}
    if seen["kind"] == "file" and not is_installed and seen["size"] < _HASHED_BELOW_BYTES:
        digest = _digest(path)
        if digest is None or not _is_untouched(seen, glance(path)):
            return {"kind": "unstable"}
        seen["digest"] = digest
    if has_time and seen["kind"] == "file":
        seen["changed"] = seen["times"][2]
    if seen["kind"] == "file" and time.time() - seen["times"][3] / 1e9 < _RACY_S:
        seen["times"] = []
    if has_mode:
        seen["mode"] = mode
    return seen


def _is_untouched(before: Look, after: Look) -> bool:
    return all(after.get(key) == value for key, value in before.items())


def is_as_seen(path: str, seen: Look, now: Look) -> bool:
    """Whether a path, by a glance at it now, still holds what it did."""
    if now["kind"] != seen["kind"] or now.get("link") != seen.get("link"):
        return False
    if "mode" in seen and seen["mode"] != now.get("mode"):
        return False
    if now["kind"] != "file" or "size" not in seen:
        return True
    if "changed" in seen and seen["changed"] != now["times"][2]:
        return False
    if now["times"] == seen["times"]:
        return True
    return now["size"] == seen["size"] and "digest" in seen and _digest(path) == seen["digest"]


def _digest(path: str) -> str | None:
    hasher = blake2b(digest_size=16)
    try:
        with Path(path).open("rb", buffering=0) as file:
            while chunk := file.read(_CHUNK_BYTES):
                hasher.update(chunk)
    except OSError:
        return None
    return hasher.hexdigest()


def listing(path: str, glance: Callable[[str], Look] = glance) -> list[Any]:
    """What listing a folder tells: names, kinds and sizes, by a glance at each."""
    try:
        names = sorted(_REAL_LISTDIR(path))
    except OSError:
        return ["missing"]
    looks = ((name, glance(os.path.join(path, name))) for name in names if name != "__pycache__")  # noqa: PTH118
    # A module's size is left out: what of its code runs is compared by itself.
    return [[name, seen["kind"], 0 if name.endswith(".py") else seen.get("size", 0)] for name, seen in looks]


def siblings(path: str) -> list[str]:
    """The files beside one. Readers written in C are not seen, and they read next to what is."""
    folder = os.path.dirname(path)  # noqa: PTH120
    try:
        names = sorted(_REAL_LISTDIR(folder))
    except OSError:
        return []
    return [os.path.join(folder, name) for name in names if not name.endswith((".py", ".pyc"))]  # noqa: PTH118
