"""Keep what zygotes should have: ask workers, remember it on disk, notice when a zygote is out of date."""

from __future__ import annotations

from dataclasses import replace

from hotloop.gpu_runtime import learning
from hotloop.gpu_runtime.learning import Learned
from hotloop.gpu_runtime.settings import RuntimeConfig


class Learner:
    """What one app taught.

    Attributes:
        learned: What the next zygote gets.
        own_names: What the project's modules are called that come before any library's.
    """

    def __init__(self, config: RuntimeConfig) -> None:
        self._path = config.state_folder / "learned.json"
        self._conflicts_before: set[str] = set()
        self._shadowed: frozenset[str] = frozenset()
        self.own_names: frozenset[str] = frozenset()
        self.watch(config.python)
        self.learned = learning.load(self._path)

    def watch(self, python: str) -> None:
        """Look at the packages of this interpreter's environment from now on."""
        self._folders = learning.package_folders(python)
        self._stamp, self._packages = learning.packages_stamp(self._folders), learning.packages_in(self._folders)

    def packages_changed(self) -> bool:
        """Whether something was installed or removed since this was asked last."""
        before, self._stamp = self._stamp, learning.packages_stamp(self._folders)
        if before == self._stamp:
            return False
        packages, self._packages = self._packages, learning.packages_in(self._folders)
        return packages != self._packages

    def leave_out(self, module: str, why: str) -> None:
        """Never import a module ahead again."""
        self.learned = self.learned.without(module, why)
        learning.save(self._path, self.learned)

    def shadowed(self, brought: frozenset[str]) -> list[str]:
        """Take note of libraries that the project has a module of its own for.

        A fresh start would import that one, and so would other libraries, so no more is imported ahead while it is there.

        Args:
            brought: Modules that a zygote has because of what was learned.

        Returns:
            Those of them, so that the zygote's workers are not as a fresh start.
        """
        names = self.own_names & brought
        if names:
            self._shadowed |= names
            self.learned = replace(self.learned, modules=())
            learning.save(self._path, self.learned)
        return sorted(names)

    def conflicts(self, had: Learned, found: dict[str, str | None]) -> list[str]:
        """Take note of the variables that the project sets.

        Args:
            had: What the worker's zygote had.
            found: What the project set in the worker.

        Returns:
            The variables that the zygote should have had otherwise, so that the worker is not as a fresh start.
        """
        conflicts = set(had.conflicts(found))
        if conflicts:
            self.learned = self.learned.with_unstable(sorted(conflicts & self._conflicts_before))
            self._conflicts_before = conflicts
        if conflicts or not had.modules:
            self.learned = self.learned.with_environment(found)
            learning.save(self._path, self.learned)
        return sorted(conflicts)

    def imported(self, had: Learned, modules: list[str]) -> bool:
        """Take note of what a worker imported itself; whether a zygote that has it would be better than ``had``."""
        self._conflicts_before = set()
        if self._shadowed & self.own_names:
            return False
        self.learned = self.learned.with_modules(modules)
        if self.learned == replace(had, left_out=self.learned.left_out):
            return False
        learning.save(self._path, self.learned)
        return True
