"""A folder of one process's own for its sockets, gone when the process is: by itself, or by the next one that ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from pathlib import Path

_PREFIX = "hotloop-way-"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class PrivateFolder:
    """A folder below the system's temporary one that nobody else may enter; locked for as long as this process lives.

    Attributes:
        path: Where it is.
    """

    def __init__(self) -> None:
        self.path, self._fd = _make()

    def close(self) -> None:
        """Remove it, and those of this user's processes that were killed."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._fd)
        for path in self.path.parent.glob(f"{_PREFIX}*"):
            with contextlib.suppress(OSError):  # somebody else's, or in use, or gone by now
                _remove_if_left(path)


def _make() -> tuple[Path, int]:
    while True:
        path = Path(tempfile.mkdtemp(prefix=_PREFIX))  # 0700
        fd = -1
        try:
            fd = os.open(path, _FOLDER)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists():
                return path, fd
        except (BlockingIOError, FileNotFoundError):  # another one, which cleans up, came first
            pass
        if fd >= 0:
            os.close(fd)


def _remove_if_left(path: Path) -> None:
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        return
    fd = os.open(path, _FOLDER)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(fd)
