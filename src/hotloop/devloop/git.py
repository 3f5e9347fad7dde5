"""What git is doing to a project's checkout, by the files that it has there meanwhile."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_AMID = ("rebase-merge", "rebase-apply", "sequencer")


class Git:
    """The git of one checkout, if it has one."""

    def __init__(self, folder: Path | None) -> None:
        """Prepare.

        Args:
            folder: Where git keeps the state of the checkout; None without one.
        """
        self._folder = str(folder) if folder is not None else ""
        self._left: tuple[int, int] | None = None  # the lock that is not waited for: its inode and when it was written

    @property
    def lock(self) -> str:
        """The path of the file that says that git writes the checkout."""
        return f"{self._folder}/index.lock"

    @property
    def is_at_work(self) -> bool:
        """Whether a command changes the checkout now, or is in the middle of several."""
        return self.is_busy or self.is_amid

    @property
    def is_busy(self) -> bool:
        """Whether git writes the checkout at this moment."""
        lock = self._lock_now()
        return lock is not None and lock != self._left

    @property
    def is_left(self) -> bool:
        """Whether the lock that is there is not waited for any more."""
        return self._left is not None and self._lock_now() == self._left

    @property
    def is_amid(self) -> bool:
        """Whether a rebase or a series of picks is under way; it may wait for the user."""
        return bool(self._folder) and any(os.path.lexists(f"{self._folder}/{name}") for name in _AMID)

    def stop_waiting(self) -> None:
        """Take the lock that is there for one that a crash left, or that stays while somebody writes a message."""
        self._left = self._lock_now()

    def _lock_now(self) -> tuple[int, int] | None:
        try:
            status = os.lstat(self.lock) if self._folder else None
        except OSError:
            return None
        return (status.st_ino, status.st_mtime_ns) if status is not None else None
