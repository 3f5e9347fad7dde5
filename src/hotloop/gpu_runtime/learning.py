"""What a zygote should have, learned from the workers: modules to import ahead, variables to set before."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Collection, Iterable
from dataclasses import asdict, field, replace
from pathlib import Path

from hotloop.frozen import frozen

MAX_MODULES = 20_000


@frozen
class Learned:
    """What is known about an app's third-party imports.

    Attributes:
        modules: In the order in which a worker imported them.
        environment: Variables that the project sets while it is imported, before the libraries that may read them.
        left_out: Modules that can't be in a zygote, and why.
        unstable: Variables that the project sets to something else each time; they are not set ahead.
    """

    modules: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict[str, str])
    left_out: dict[str, str] = field(default_factory=dict[str, str])
    unstable: tuple[str, ...] = ()

    def with_modules(self, names: list[str]) -> Learned:
        """Add modules that a worker imported beyond these."""
        known = set(self.modules)
        new = [name for name in names if name not in known and not _is_below(name, self.left_out)]
        return replace(self, modules=(*self.modules, *new)[:MAX_MODULES])

    def without(self, module: str, why: str) -> Learned:
        """Leave out a module and what is below it."""
        left_out = {**self.left_out, module: why}
        return replace(self, left_out=left_out, modules=tuple(n for n in self.modules if not _is_below(n, left_out)))

    def conflicts(self, found: dict[str, str | None]) -> dict[str, str | None]:
        """Variables that the project sets otherwise than was set ahead; none matter if nothing was imported ahead."""
        if not self.modules:
            return {}
        names = (set(found) | set(self.environment)) - set(self.unstable)
        return {name: found.get(name) for name in sorted(names) if found.get(name) != self.environment.get(name)}

    def with_environment(self, found: dict[str, str | None]) -> Learned:
        """Set ahead what the project sets."""
        return replace(self, environment={k: v for k, v in found.items() if v is not None and k not in self.unstable})

    def with_unstable(self, names: list[str]) -> Learned:
        """Stop setting variables ahead that change with every start."""
        kept = {k: v for k, v in self.environment.items() if k not in names}
        return replace(self, environment=kept, unstable=tuple(sorted({*self.unstable, *names})))


def _is_below(name: str, packages: Iterable[str]) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def own_names(paths: Collection[str], entry: str) -> frozenset[str]:
    """Say which names mean a module of the project, before any library's.

    Args:
        paths: The project's Python files, relative to its folder.
        entry: The app's file, one of them: it decides which folder comes first on ``sys.path`` (`source.module_of`).
    """
    folder = entry.rpartition("/")[0]
    while folder and f"{folder}/__init__.py" in paths:
        folder = folder.rpartition("/")[0]
    inside = f"{folder}/" if folder else ""
    found = (path.removeprefix(inside).split("/") for path in paths if path.startswith(inside))
    return frozenset(name.removesuffix(".py") for name, *below in found if below in ([], ["__init__.py"]))


def load(path: Path) -> Learned:
    """Read what an earlier runtime learned; nothing if there is no file or it can't be read."""
    try:
        data = json.loads(path.read_text("utf-8"))
        return Learned(
            tuple(data["modules"]), dict(data["environment"]), dict(data["left_out"]), tuple(data["unstable"])
        )
    except (OSError, ValueError, KeyError, TypeError):
        return Learned()


def save(path: Path, learned: Learned) -> None:
    """Keep what was learned for the next runtime of this app."""
    fresh = path.with_suffix(f".{os.getpid()}")
    fresh.write_text(json.dumps(asdict(learned)), "utf-8")
    fresh.replace(path)


def package_folders(python: str) -> tuple[Path, ...]:
    """Where an environment's packages lie."""
    library = Path(python).absolute().parent.parent
    return tuple(sorted([*library.glob("lib*/python3*/site-packages"), *library.glob("lib*/python3*/dist-packages")]))


def packages_stamp(folders: tuple[Path, ...]) -> tuple[int, ...]:
    """What changes at the latest when a package is installed or removed: the times of the folders that hold them.

    Installing or removing a distribution makes or deletes a ``.dist-info`` folder, which changes the folder around it. So
    does the first import of a module that lies there alone, which makes ``__pycache__``: `packages_in` tells them apart.
    """
    return tuple(folder.stat().st_mtime_ns if folder.exists() else 0 for folder in folders)


def packages_in(folders: tuple[Path, ...]) -> frozenset[tuple[str, int]]:
    """What lies in these folders, by name and inode: one that is installed again is another."""
    found: set[tuple[str, int]] = set()
    for folder in folders:
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            found.update((entry.name, entry.inode()) for entry in entries if entry.name != "__pycache__")
    return frozenset(found)
