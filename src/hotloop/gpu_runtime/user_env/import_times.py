# pyright: basic
# (reaches into importlib)
"""How long the modules took that a reload imported, and what was read meanwhile: that is what a save waits for.

Every module that is not there yet is loaded through one function of importlib, which is wrapped while the project is
imported. The wrapper's frame bears importlib's file name, so that Python leaves it out of tracebacks with importlib's own.
"""

from __future__ import annotations

import importlib
import os
import time
from typing import Any, Self

from hotloop.gpu_runtime.user_env.source import Project

MIN_S = 0.005  # quicker ones are nobody's wait
MAX_TOLD = 3
_FROZEN = "<frozen importlib._bootstrap>"

_bootstrap: Any = importlib._bootstrap  # type: ignore[attr-defined]  # noqa: SLF001


class ImportTimes:
    """Times what is imported while it is entered.

    Attributes:
        read_bytes: What the process read from files meanwhile; 0 where the system does not say.
    """

    def __init__(self, project: Project) -> None:
        self.read_bytes = 0
        self._project = project
        self._loads: list[list[Any]] = []  # spec, position of the load that it is part of, seconds
        self._current = -1

    def __enter__(self) -> Self:
        self._original = getattr(_bootstrap, "_load_unlocked", None)
        if self._original is not None:
            _bootstrap._load_unlocked = self._timed(self._original)  # noqa: SLF001
        self._read_before = _num_read()
        return self

    def __exit__(self, *_: object) -> None:
        if self._original is not None:
            _bootstrap._load_unlocked = self._original  # noqa: SLF001
        self.read_bytes = _num_read() - self._read_before

    def _timed(self, original: Any) -> Any:
        def load(spec: Any) -> Any:
            entry = [spec, self._current, 0.0]
            self._loads.append(entry)
            outer, self._current = self._current, len(self._loads) - 1
            began_s = time.monotonic()
            try:
                return original(spec)
            finally:
                entry[2] = time.monotonic() - began_s
                self._current = outer

        load.__code__ = load.__code__.replace(co_filename=_FROZEN)
        return load

    def slowest(self) -> list[dict[str, Any]]:
        """The slowest ones: a library as a whole, a module of the project without what it imports."""
        slow = [load for load in self._loads if load[2] >= MIN_S]
        inner = [0.0] * len(self._loads)
        for _, outer, took_s in self._loads:
            if outer >= 0:
                inner[outer] += took_s
        own = {id(load): self._project.owns_file(load[0].origin) for load in slow}
        found: list[dict[str, Any]] = []
        for position, load in enumerate(self._loads):
            if id(load) not in own:
                continue
            spec, outer, took_s = load
            is_own = own[id(load)]
            if not is_own and outer >= 0 and not own[id(self._loads[outer])]:
                continue  # a part of a library
            took_s -= inner[position] if is_own else 0.0
            if took_s >= MIN_S:
                name = self._project.relative(spec.origin) if is_own else spec.name
                found.append({"name": name, "took_s": took_s, "is_project": is_own})
        return sorted(found, key=lambda each: -each["took_s"])[:MAX_TOLD]


def _num_read() -> int:
    """Bytes that this process has read so far."""
    try:
        fd = os.open("/proc/self/io", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        return int(os.read(fd, 64).split(None, 2)[1])
    except (OSError, ValueError, IndexError):
        return 0
    finally:
        os.close(fd)
