# pyright: basic
# (a loader is the user's function)
"""Name the first thing that differs from what a model was loaded with; nothing of the loader runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from hotloop.gpu_runtime.user_env.fingerprint import ambient, files, packages
from hotloop.gpu_runtime.user_env.fingerprint.effects import Effects
from hotloop.gpu_runtime.user_env.fingerprint.paths import is_module
from hotloop.gpu_runtime.user_env.fingerprint.record import (
    Ran,
    Record,
    identity,
    names_digest,
    sources,
    variable_digest,
)
from hotloop.gpu_runtime.user_env.fingerprint.uses import Meaning, Meanings
from hotloop.gpu_runtime.user_env.fingerprint.values import Places
from hotloop.gpu_runtime.user_env.vault.code import run_digest

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import CodeType

    from hotloop.gpu_runtime.user_env.source import Project


class Present:
    """The project as it is in this process: what one comparison looked at, the next need not look at again.

    Good until something of the project runs, such as a loader, or a setting is set again; then there must be another.
    """

    def __init__(self, project: Project) -> None:
        self.project = project
        self.places = Places(project)
        self.meanings: dict[str, Meaning] = {}
        self.effects = Effects(project, self.places, self.meanings)
        self._glances: dict[str, files.Look] = {}
        self._listings: dict[str, list[Any]] = {}
        self._settings: dict[str, Any] = {}

    def first_difference(
        self, record: Record, dependencies: dict[str, str], loader: Callable[..., Any] | None = None
    ) -> str:
        """Compare a model's record with this process.

        Args:
            record: What it depended on.
            dependencies: The names of the loads of the models it takes now, by parameter name.
            loader: The function that would load it now.

        Returns:
            Nothing if running the loader here would take the same steps, else what differs, in a line.
        """
        project = self.project
        parts = (
            _code(record, self),
            _loader(record, loader, self.places),
            _meanings(record, self),
            _effects(record, self),
            _absent(record, project),
            _sources(record, project),
            _models(record, dependencies),
            _settings(record, self),
            _generators(record),
            _environment(record),
            _files(record, self),
            _packages(record),
        )
        return next((difference for part in parts for difference in part), "")

    def warm_up(self, record: Record) -> None:
        """Look at all that a comparison looks at beside the project's code, so that it is in the CPU's caches then."""
        _ = record.used
        for part in (_settings(record, self), _environment(record), _files(record, self), _packages(record)):
            list(part)

    def forget_settings(self) -> None:
        """Look again at what may show settings, environment variables or random states: some were set."""
        self._settings = {}
        self.meanings = {key: each for key, each in self.meanings.items() if each.is_plain}
        self.effects.keep(self.meanings)

    def glance(self, path: str) -> files.Look:
        """What a path is now, or was when it was looked at first."""
        seen = self._glances.get(path)
        if seen is None:
            seen = self._glances[path] = files.glance(path)
        return seen

    def listing(self, path: str) -> list[Any]:
        """What is in a folder, or was when it was looked at first."""
        seen = self._listings.get(path)
        if seen is None:
            seen = self._listings[path] = files.listing(path, self.glance)
        return seen

    def settings(self) -> dict[str, Any]:
        """The ambient settings that a loader may depend on."""
        if not self._settings:
            self._settings = ambient.inputs()
        return self._settings


def _code(record: Record, present: Present) -> Iterator[str]:
    project = present.project
    for ran in record.ran:
        same = present.places.within(ran.module, lambda name=ran.module: _top_level(name, project)).get(ran.name, [])
        if ran.nth >= len(same):
            yield f"{ran.module.replace('.', '/')}.py: {_spoken(ran)} is gone"
        elif run_digest(same[ran.nth]) != ran.digest:
            where = f"{project.relative(same[ran.nth].co_filename)}:{same[ran.nth].co_firstlineno}"
            yield f"{where} {_spoken(ran)} changed"


def _top_level(module: str, project: Project) -> CodeType | None:
    code = project.code_of(module)
    if code is not None and module in sys.modules:
        return code
    # The loader imported it; importing it here is for the loader to do.
    found = _spec_of(module)
    if found is None or not found.origin or not project.owns_file(found.origin):
        return None
    try:
        return project.load_code(module, found.origin)
    except (SyntaxError, ValueError):
        return None


def _spec_of(module: str) -> ModuleSpec | None:
    """Where a module would be imported from. `importlib.util.find_spec` would import the packages that it is in."""
    parent = module.rpartition(".")[0]
    folders: Any = None
    if parent:
        package = sys.modules.get(parent)
        folders = getattr(package or _spec_of(parent), "__path__" if package else "submodule_search_locations", None)
        if folders is None:
            return None
    finders: list[Any] = list(sys.meta_path)
    found = (each.find_spec(module, folders) for each in finders if hasattr(each, "find_spec"))  # as Python asks them
    return next((spec for spec in found if spec is not None), None)


def _spoken(ran: Ran) -> str:
    name = ran.name.replace(".<locals>", "")
    return "the module's own statements" if name == "<module>" else f"{name}()"


def _loader(record: Record, loader: Callable[..., Any] | None, places: Places) -> Iterator[str]:
    if loader is not None and identity(loader, places) != record.loader:
        moved = identity(loader, places)[:3] != record.loader[:3]
        yield f"{loader.__qualname__}() is another function now" if moved else f"{loader.__qualname__}() changed"


def _meanings(record: Record, present: Present) -> Iterator[str]:
    now = Meanings(present.project, present.places, present.meanings)
    now.collect(record.used, is_wide=record.is_wide)
    for ran in record.ran:
        now.note_class_of(ran.module, ran.name)
    now.collect({}, is_wide=False)
    absent = tuple(f"{name}." for name in record.fresh if name not in sys.modules)
    for key in sorted({*record.meanings, *now.digests}, key=lambda key: (key.startswith("class "), key)):
        name = key.removeprefix("class ")
        if (absent and name.startswith(absent)) or (name in record.fresh and name not in sys.modules):
            continue  # its module is not imported yet; its source was compared
        if record.meanings.get(key) != now.digests.get(key):
            yield _changed(key, record, now, present.project)


def _changed(key: str, record: Record, now: Meanings, project: Project) -> str:
    kind, _, name = key.rpartition(" ")
    module, _, last = name.rpartition(".")
    if kind:
        module = next((each for each in _parents(name) if each in sys.modules), module)
        return f"{_file_of(module, project)}: class {name.removeprefix(module + '.')} changed"
    old, new = record.shown.get(key), now.shown.get(key)
    values = f" ({old} -> {new})" if old and new and old != new else ""
    return f"{_file_of(module, project)}: {last} changed{values}"


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:length]) for length in range(len(parts) - 1, 0, -1)]


def _file_of(module: str, project: Project) -> str:
    path = getattr(sys.modules.get(module), "__file__", None)
    return project.relative(path) if path and project.owns_file(path) else module


def _effects(record: Record, present: Present) -> Iterator[str]:
    module, other = present.effects.changed(record.effects, record.fresh)
    if module and other:
        home, _, name = other.rpartition(" ")[2].rpartition(".")
        yield f"{_file_of(home, present.project)}: {name} changed, which a statement that runs on import leads to"
    elif module:
        yield f"{_file_of(module, present.project)}: a statement that runs on import changed"


def _absent(record: Record, project: Project) -> Iterator[str]:
    for path in record.absent:
        if is_module(path):
            yield f"{project.relative(path)} can be imported now"


def _sources(record: Record, project: Project) -> Iterator[str]:
    if record.sources:
        now = sources(project)
        for module in sorted({*record.sources, *now}):
            if record.sources.get(module) != now.get(module):
                yield f"{_file_of(module, project)} changed, and the loader looks at source text, or starts a process"


def _models(record: Record, dependencies: dict[str, str]) -> Iterator[str]:
    for name in sorted({*record.dependencies, *dependencies}):
        if record.dependencies.get(name) != dependencies.get(name):
            yield f"it is made from {name}, which was loaded again"


def _settings(record: Record, present: Present) -> Iterator[str]:
    now = present.settings()
    for name, value in record.settings.items():
        if name in now and now[name] != value:
            yield f"{name} changed ({value} -> {now[name]})"


def _generators(record: Record) -> Iterator[str]:
    if record.generators:
        now = ambient.generator_digests(ambient.seeded())
        for name, state in record.generators.items():
            if now.get(name) != state:
                yield f"it would draw other random numbers: {name}'s generator is seeded, or was drawn from, otherwise"


def _environment(record: Record) -> Iterator[str]:
    for name, digest in record.environment.items():
        if not name:
            if names_digest(os.environ, record.left["environment"]) != digest:
                yield "there are other environment variables, and the loader looks at all"
        elif variable_digest(os.environ.get(name)) != digest:
            yield f"environment variable {name} changed"


def _files(record: Record, present: Present) -> Iterator[str]:
    project = present.project
    for path, seen in record.files.items():
        if not files.is_as_seen(path, seen, present.glance(path)):
            yield f"{project.relative(path)} {'kept changing while it was read' if seen['kind'] == 'unstable' else 'changed'}"
    for path, seen in record.folders.items():
        if present.listing(path) != seen:
            yield f"the files in {project.relative(path)}/ changed"


def _packages(record: Record) -> Iterator[str]:
    now = packages.versions()
    for name, version in record.packages.items():
        if now.get(name) != version:
            yield f"{name} {version} -> {now.get(name, 'not installed')}"
    if record.python != sys.version:
        yield f"Python {record.python.split()[0]} -> {sys.version.split()[0]}"
