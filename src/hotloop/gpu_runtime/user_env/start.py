"""Make a forked child a fresh start of the project, and import its app."""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType
from typing import Any

from hotloop.frozen import frozen
from hotloop.gpu_runtime.user_env import resolve
from hotloop.gpu_runtime.user_env.app import App
from hotloop.gpu_runtime.user_env.environment_writes import EnvironmentWrites
from hotloop.gpu_runtime.user_env.fingerprint import ambient
from hotloop.gpu_runtime.user_env.import_times import ImportTimes
from hotloop.gpu_runtime.user_env.mistakes import AppError
from hotloop.gpu_runtime.user_env.source import Project, module_of


@frozen
class Imported:
    """The project's app, imported.

    Attributes:
        environment: Variables that the project's code set while it was imported (None: deleted).
        times: What took long of it.
    """

    app: App
    plan: resolve.Plan
    environment: dict[str, str | None]
    times: ImportTimes


def prepare(boot: dict[str, Any]) -> Project:
    """Set the working directory, the arguments and ``sys.path`` as a fresh start has them; nothing is imported yet."""
    project = Project(boot["root"], boot["manifest"])
    os.chdir(project.root)
    folder, _ = module_of(project.root, boot["entry"])
    sys.argv = [boot["entry"]]
    sys.path.insert(0, folder)
    project.install()
    return project


def import_app(project: Project, boot: dict[str, Any]) -> Imported:
    """Import the project's entry file and check its app.

    Raises:
        RevisionMoved: A file is newer than the revision.
        AppError: The app is written in a way that can't work.
        BaseException: Whatever the project's own code raises.
    """
    folder, module_name = module_of(project.root, boot["entry"])
    sys.path[0] = folder  # another one than before if an __init__.py came or went
    with EnvironmentWrites(project) as writes, ImportTimes(project) as times, ambient.noting_seeds():
        module = importlib.import_module(module_name)
    _check_file(module, project, boot["entry"])
    app = resolve.find_app(module, boot["app_name"])
    return Imported(app, resolve.check(app), writes.found, times)


def _check_file(module: ModuleType, project: Project, entry: str) -> None:
    """See that the entry file is what its name means: it may be called like a library, or like a folder beside it."""
    file, found = os.path.join(project.root, entry), module.__file__ or "a module of Python's own"  # noqa: PTH118
    if os.path.realpath(file) == os.path.realpath(found):
        return
    shown = os.path.relpath(found, project.root) if project.owns_file(found) else found
    msg = f"{entry} can't be imported: the name {module.__name__!r} means {shown}"
    raise AppError(msg, "rename the file, such as my_" + entry.rpartition("/")[2], file, 1)
