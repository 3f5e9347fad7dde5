"""Linux's inotify, as thin as it gets: watches on folders, and events as they are. Knows no rules and no trees."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from pathlib import Path

from hotloop.errors import HotloopError
from hotloop.frozen import frozen

MODIFIED = 0x2
ATTRIBUTES = 0x4
WRITTEN = 0x8  # IN_CLOSE_WRITE: whoever wrote it has closed it
MOVED_FROM = 0x40
MOVED_TO = 0x80
CREATED = 0x100
DELETED = 0x200
MOVED_SELF = 0x800  # a watched folder itself, wherever it moved
OVERFLOWED = 0x4000
UNWATCHED = 0x8000
IS_FOLDER = 0x40000000
_ONLY_FOLDERS = 0x1000000
_DONT_FOLLOW = 0x2000000
_EXCLUDE_UNLINKED = 0x4000000
_MASK = (
    MODIFIED | ATTRIBUTES | WRITTEN | MOVED_FROM | MOVED_TO | CREATED | DELETED | MOVED_SELF
    | _ONLY_FOLDERS | _DONT_FOLLOW | _EXCLUDE_UNLINKED
)  # fmt: skip
_HEADER = struct.Struct("iIII")
_READ_BYTES = 64 << 10  # of the queue, at a time
_INSTANCES = "max_user_instances"
_WATCHES = "max_user_watches"


class WatchError(HotloopError):
    """The system does not let us watch the project."""


@frozen
class RawEvent:
    """One event: the watch it came from, what happened, and the name inside the watched folder."""

    watch: int
    mask: int
    name: str


class Inotify:
    """One inotify instance."""

    def __init__(self) -> None:
        """Open it.

        Raises:
            WatchError: The user has as many as the system allows.
            AttributeError: The system has no inotify.
        """
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.fd: int = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self.fd < 0:
            raise _limit(_INSTANCES)

    def close(self) -> None:
        """Close it, all watches with it."""
        os.close(self.fd)

    def add(self, folder: Path) -> int | None:
        """Watch a folder, not what is below it.

        Returns:
            The watch's number; None if the folder is gone or is no folder.

        Raises:
            WatchError: The system allows no more watches.
        """
        watch: int = self._libc.inotify_add_watch(self.fd, os.fsencode(folder), _MASK)
        if watch >= 0:
            return watch
        code = ctypes.get_errno()
        if code in (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ELOOP):
            return None
        if code == errno.ENOSPC:
            raise _limit(_WATCHES)
        raise OSError(code, os.strerror(code), os.fspath(folder))

    def remove(self, watch: int) -> None:
        """Stop watching; nothing happens if the folder is gone already."""
        self._libc.inotify_rm_watch(self.fd, watch)

    def read(self) -> list[RawEvent]:
        """Take all events that wait."""
        try:
            data = os.read(self.fd, _READ_BYTES)
        except BlockingIOError:
            return []
        found: list[RawEvent] = []
        offset = 0
        while offset < len(data):
            watch, mask, _, length = _HEADER.unpack_from(data, offset)
            offset += _HEADER.size
            name = data[offset : offset + length].rstrip(b"\0")
            offset += length
            found.append(RawEvent(watch, mask, os.fsdecode(name)))
        return found


_LIMITS = {_INSTANCES: ("inotify instances", 1024), _WATCHES: ("watched folders", 524288)}


def _limit(setting: str) -> WatchError:
    what, suggested = _LIMITS[setting]
    path = Path("/proc/sys/fs/inotify") / setting
    value = path.read_text().strip() if path.exists() else "few"
    message = f"The system allows {value} {what} (fs.inotify.{setting}), and the project needs more."
    return WatchError(message, hint=f"sudo sysctl fs.inotify.{setting}={suggested}, or ignore large folders")
