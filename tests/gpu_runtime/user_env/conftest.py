"""A user's project, written to disk and imported as a worker imports it."""

from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from hotloop.gpu_runtime.user_env.source import Project


@dataclass(frozen=True)
class UserProject:
    """A folder with modules, and the revision that is imported from it."""

    folder: Path
    project: Project

    def write(self, source: str, name: str = "shop.py") -> Path:
        path = self.folder / name
        path.write_text(textwrap.dedent(source).lstrip("\n"), "utf-8")
        importlib.invalidate_caches()
        return path

    def load(self, source: str, name: str = "shop.py") -> ModuleType:
        self.write(source, name)
        return importlib.import_module(name.removesuffix(".py"))

    def shown(self, text: str) -> str:
        """Take the folder off a text, so that expected texts are the same everywhere."""
        return text.replace(f"{self.folder}/", "")


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[UserProject]:
    folder = tmp_path.resolve()
    project = Project(str(folder))
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    monkeypatch.setattr(sys, "path_hooks", list(sys.path_hooks))
    project.install()
    before = set(sys.modules)
    yield UserProject(folder, project)
    for name in set(sys.modules) - before:
        if project.owns_module(name):
            del sys.modules[name]
    sys.path_importer_cache.clear()


@pytest.fixture
def error_of(user: UserProject) -> Callable[[Callable[[], object]], tuple[str, str, str]]:
    """Run something that raises AppError; give its message, hint and place, with the folder taken off."""
    from hotloop.gpu_runtime.user_env.app import AppError

    def run(action: Callable[[], object]) -> tuple[str, str, str]:
        with pytest.raises(AppError) as caught:
            action()
        error = caught.value
        return user.shown(error.message), user.shown(error.hint), f"{user.shown(error.file)}:{error.line}"

    return run
