"""Names that a file system takes for one: on macOS and Windows those that differ in case only, or in how accents are encoded."""

from __future__ import annotations

import os
import sys
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class Spelling:
    """How a project's paths are spelled. Costs nothing where each spelling is a file of its own."""

    def __init__(self, root: Path, *, is_folding: bool | None = None) -> None:
        """Find out.

        Args:
            root: The project.
            is_folding: Whether its file system takes several spellings for one; None: try it.
        """
        self._root = root
        self._is_folding = folds_names(root) if is_folding is None else is_folding
        self._known: dict[str, str] = {}

    def note(self, path: str) -> None:
        """A path is known from now on."""
        if self._is_folding:
            self._known[folded(path)] = path

    def forget(self, path: str) -> None:
        """A path is not known any more."""
        if self._is_folding and self._known.get(folded(path)) == path:
            del self._known[folded(path)]

    def other(self, path: str) -> str | None:
        """The known path that is the same file under another name."""
        known = self._known.get(folded(path)) if self._is_folding else None
        return known if known != path else None

    def is_listed(self, path: str) -> bool:
        """Whether a path that is there has this spelling on the disk."""
        if not self._is_folding:
            return True
        folder = self._root
        for name in path.split("/"):
            try:
                if name not in os.listdir(folder):  # noqa: PTH208  names alone are wanted
                    return False
            except OSError:
                return False
            folder /= name
        return True


def folded(path: str) -> str:
    """What is the same for all spellings of a path."""
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", path).casefold())


def folds_names(root: Path) -> bool:
    """Whether a folder can be reached in another case; where its path has no letters, what the system usually does."""
    path = os.fspath(root)
    if path.swapcase() == path:
        return sys.platform in {"darwin", "win32"}
    try:
        return os.path.samefile(path, path.swapcase())  # noqa: PTH121
    except OSError:
        return False
