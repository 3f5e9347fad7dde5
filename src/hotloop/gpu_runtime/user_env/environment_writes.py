# pyright: basic
# (reaches into os.environ's class)
"""Which environment variables the project's code sets while it is imported.

Libraries read variables when they are imported. A zygote imports libraries before the project, so it must have what the
project would have set by then; see `learning.Learned`.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Self

from hotloop.gpu_runtime.user_env.source import Project

_environ_type: Any = type(os.environ)


class EnvironmentWrites:
    """Notes writes to ``os.environ`` by the project, itself or through a library it calls, such as dotenv.

    What a library sets while it is itself imported is the library's, and is not noted. A variable that a library read
    before the project set it is not noted either: the library had the old value in a fresh start too.

    Attributes:
        found: The variables and their last values; None for one that was deleted.
    """

    def __init__(self, project: Project) -> None:
        self.found: dict[str, str | None] = {}
        self._project = project
        self._read_early: set[str] = set()

    def __enter__(self) -> Self:
        self._originals = (
            _environ_type.__getitem__,
            _environ_type.__setitem__,
            _environ_type.__delitem__,
        )
        get, put, delete = self._originals
        note = self

        def getitem(environ: os._Environ[str], name: str) -> str:
            if name not in note.found:
                note._read_early.add(name)
            return get(environ, name)

        def setitem(environ: os._Environ[str], name: str, value: str) -> None:
            put(environ, name, value)
            note._written(name, value)

        def delitem(environ: os._Environ[str], name: str) -> None:
            delete(environ, name)
            note._written(name, None)

        _environ_type.__getitem__, _environ_type.__setitem__, _environ_type.__delitem__ = getitem, setitem, delitem
        return self

    def __exit__(self, *_: object) -> None:
        _environ_type.__getitem__, _environ_type.__setitem__, _environ_type.__delitem__ = self._originals

    def _written(self, name: str, value: str | None) -> None:
        writer = sys._getframe(2)  # noqa: SLF001
        if self._project.is_behind(writer):
            self.found[name] = value
