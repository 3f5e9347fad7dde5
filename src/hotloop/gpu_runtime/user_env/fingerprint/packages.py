"""Which installed packages a loader used, and what versions are there now.

What `importlib.metadata` would say, without its parser of mail headers: that takes 18 times as long (`chat`'s environment:
108 ms instead of 6), in each process that loads a model.
"""

from __future__ import annotations

import functools
import os
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping

from hotloop.gpu_runtime.user_env.source import installed_folders

_REQUIREMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_REQUIRES = "Requires-Dist:"


def is_installed(path: str) -> bool:
    """Whether a file belongs to an installed package or the standard library."""
    return path.startswith(installed_folders()) or os.path.realpath(path).startswith(installed_folders())


def used(files: Iterable[str], modules: Iterable[str]) -> dict[str, str]:
    """Versions of the distributions that own code that ran and modules that were named, and of what these require."""
    tops = {_top_level(path) for path in files if is_installed(path)} | {name.split(".")[0] for name in modules}
    owners = top_level_owners()
    waiting = [_normal(owner) for top in tops for owner in owners.get(top, ())]
    imported = {_normal(owner) for top in sys.modules if "." not in top for owner in owners.get(top, ())}
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        waiting += [each for each in _requirements(name) if each in imported]
    now = versions()
    return {name: now[name] for name in sorted(found) if name in now}


@functools.cache
def top_level_owners() -> Mapping[str, list[str]]:
    """The distributions that own each top-level module, by normalised name."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for name, (_, folder) in _distributions().items():
        # Older build tools list the modules; else they are what the files that were installed begin with.
        for top in _read(folder, "top_level.txt").split() or _begins(_read(folder, "RECORD")):
            found[top].append(name)
    return found


def _begins(record: str) -> set[str]:
    # A folder, or a module's file: `six.py`, `_cffi_backend.cpython-311-x86_64-linux-gnu.so`.
    paths = (line.partition(",")[0].partition("/") for line in record.splitlines())
    return {first if slash else first.partition(".")[0] for first, slash, _ in paths} - {"", "..", "__pycache__"}


def _top_level(path: str) -> str:
    for folder in installed_folders():
        if path.startswith(folder):
            return path[len(folder) :].split(os.sep, maxsplit=1)[0].removesuffix(".py")
    return ""


def _requirements(name: str) -> list[str]:
    if name not in _distributions():
        return []
    _, folder = _distributions()[name]
    head = (_read(folder, "METADATA") or _read(folder, "PKG-INFO")).partition("\n\n")[0]
    wanted = [line.removeprefix(_REQUIRES).lstrip() for line in head.splitlines() if line.startswith(_REQUIRES)]
    wanted = wanted or _read(folder, "requires.txt").splitlines()  # as setuptools wrote it before
    return [_normal(match.group()) for each in wanted if (match := _REQUIREMENT.match(each))]


def _read(folder: str, name: str) -> str:
    try:
        with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as file:  # noqa: PTH118, PTH123  quicker
            return file.read()
    except OSError:
        return ""


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@functools.cache
def versions() -> dict[str, str]:
    """Versions of all that is installed, by normalised name."""
    return {name: version for name, (version, _) in _distributions().items()}


@functools.cache
def _distributions() -> dict[str, tuple[str, str]]:
    """Version and folder of all that is installed: read off the folders' names, which takes one listing."""
    found: dict[str, tuple[str, str]] = {}
    for folder in sys.path:
        try:
            names = os.listdir(folder or ".")  # noqa: PTH208 (names are all that is needed)
        except OSError:
            continue
        for name in names:
            if name.endswith((".dist-info", ".egg-info")):
                project, _, version = name.rpartition(".")[0].partition("-")
                found.setdefault(_normal(project), (version, os.path.join(folder, name)))  # noqa: PTH118
    return found
