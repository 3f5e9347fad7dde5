"""Whether a ``uv.lock`` was made from the pyproject.toml that lies beside it: by the names that both say. Pure."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from typing import Any, cast

from hotloop.remote_runner.environment import requirement_name


def not_locked(lock: bytes, project: str, dependencies: Iterable[str]) -> list[str]:
    """Give the dependencies of a project that its lock does not know as such; none if the lock can't be read.

    Args:
        lock: The content of uv.lock.
        project: The project's name.
        dependencies: What its pyproject.toml asks for.
    """
    try:
        packages = cast("list[dict[str, Any]]", tomllib.loads(lock.decode()).get("package", []))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        return []
    own = next((each for each in packages if _normal(str(each.get("name"))) == _normal(project)), None)
    if own is None:
        return []
    locked = {_normal(str(each.get("name"))) for each in own.get("metadata", {}).get("requires-dist", [])}
    return [each for each in dependencies if _normal(requirement_name(each)) not in locked]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
