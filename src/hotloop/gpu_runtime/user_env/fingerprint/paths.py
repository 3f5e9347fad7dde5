# pyright: basic
# (what a loader read is the user's)
"""Which paths a loader's result depends on: what it read, looked at, might have imported, and what lies beside."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from hotloop.gpu_runtime.user_env.fingerprint import files, packages

if TYPE_CHECKING:
    from hotloop.gpu_runtime.user_env.fingerprint.trace import Trace
    from hotloop.gpu_runtime.user_env.fingerprint.uses import Meanings, Uses
    from hotloop.gpu_runtime.user_env.source import Project

_MAX_SIBLINGS = 2000
_FOR_ALL = "/dev/shm"  # noqa: S108  what lies there beside a file has nothing to do with it
_OF_TIME = frozenset({"st_mtime", "st_mtime_ns", "st_ctime", "st_ctime_ns", "getmtime", "getctime"})
_OF_MODE = frozenset({"st_mode", "S_IMODE", "filemode"})


def paths_of(trace: Trace, meanings: Meanings, used: set[str]) -> tuple[dict[str, Any], set[str]]:
    """Looks at all that was read, may have been read beside it, or is named by a string in sight."""
    folders = {path for path in trace.folders if not packages.is_installed(path + os.sep)}
    timed: set[str] = set()
    if used & _OF_TIME:
        listed = {os.path.join(each, name) for each in folders if os.path.isdir(each) for name in os.listdir(each)}  # noqa: PTH112, PTH118, PTH208
        timed = {path for path in {*trace.looked_at, *listed} if not path.endswith(".py")}
    moded = {*trace.permissions, *(trace.looked_at if used & _OF_MODE else ())}
    looks = {**trace.looked_at, **trace.files}
    beside: set[str] = set()
    for path in trace.files:
        if not packages.is_installed(path) and os.path.dirname(path) != _FOR_ALL:  # noqa: PTH120
            near = files.siblings(path)
            beside.update(near if len(near) <= _MAX_SIBLINGS else ())
    named = _named_paths(trace, meanings)
    found: dict[str, Any] = {}
    for path in {*looks, *beside, *named, *trace.written, *timed, *moded}:
        if path.endswith(".pyc"):
            continue
        seen = files.look(
            path,
            is_installed=packages.is_installed(path),
            is_read=path in trace.files,
            has_mode=path in moded,
            has_time=path in timed,
        )
        first = looks.get(path)
        if first is not None and path not in trace.written and _moved(first, seen):
            seen = {"kind": "unstable"}
        found[path] = seen
    for path in trace.installed:
        if not packages.is_installed(path) and os.path.isabs(path):  # noqa: PTH117
            found[path] = files.look(path, is_installed=False, is_read=True)
    return found, folders


def _moved(first: files.Look, now: files.Look) -> bool:
    times = now.get("times")
    return first["kind"] != now["kind"] or bool(times and first.get("times") != times)


def _named_paths(trace: Trace, meanings: Meanings) -> set[str]:
    # A reader written in C gets its path from a string that the code has or reads from a global.
    strings = {each for code in trace.codes for each in code.co_consts if isinstance(each, str)}
    strings |= {each[1:-1] for each in meanings.shown.values() if each[:1] in {"'", '"'}}
    likely = {each for each in strings if ("." in each or "/" in each) and "\n" not in each and len(each) < 300}
    paths = {os.path.abspath(each) for each in likely}  # noqa: PTH100
    return {path for path in paths if os.path.isfile(path) and not path.endswith(".py")}  # noqa: PTH113


def absent_modules(uses: dict[str, Uses], project: Project) -> tuple[str, ...]:
    """Paths, without their ending, at which an imported name would be a module of the project's."""
    names = {name for used in uses.values() for name in used.may_import}
    found: set[str] = set()
    for name in names:
        parent, _, last = name.rpartition(".")
        # By its dict: the module's own __getattr__ may have an answer to any name.
        folders = getattr(sys.modules.get(parent), "__dict__", {}).get("__path__", ()) if parent else sys.path
        own = [each or "." for each in folders if project.owns_file(os.path.join(os.path.abspath(each), "x"))]  # noqa: PTH100, PTH118
        for path in (os.path.join(os.path.abspath(each), last) for each in own):  # noqa: PTH100, PTH118
            if not is_module(path):
                found.add(path)
    return tuple(sorted(found))


def is_module(path: str) -> bool:
    """Whether a module, or a package, is at a path without its ending."""
    return os.path.exists(path + ".py") or os.path.isdir(path)  # noqa: PTH110, PTH112
