"""Which installed packages a loader used, and what versions are there now."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import re
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError

from hotloop.gpu_runtime.user_env.source import installed_folders

_REQUIREMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


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
    """The distributions that own each top-level module."""
    return importlib.metadata.packages_distributions()


def _top_level(path: str) -> str:
    for folder in installed_folders():
        if path.startswith(folder):
            return path[len(folder) :].split(os.sep, maxsplit=1)[0].removesuffix(".py")
    return ""


def _requirements(name: str) -> list[str]:
    try:
        wanted = importlib.metadata.requires(name) or []
    except PackageNotFoundError:
        return []
    return [_normal(match.group()) for each in wanted if (match := _REQUIREMENT.match(each))]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@functools.cache
def versions() -> dict[str, str]:
    """Versions of all that is installed, by normalised name: read off the folders' names, which takes one listing."""
    found: dict[str, str] = {}
    for folder in sys.path:
        try:
            names = os.listdir(folder or ".")  # noqa: PTH208 (names are all that is needed)
        except OSError:
            continue
        for name in names:
            if name.endswith((".dist-info", ".egg-info")):
                project, _, version = name.rpartition(".")[0].partition("-")
                found.setdefault(_normal(project), version)
    return found
