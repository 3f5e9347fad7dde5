"""A project's files as they are on this disk, each read such that nobody wrote it meanwhile. Remembers nothing."""

from __future__ import annotations

import errno
import os
import stat
from hashlib import sha256
from typing import TYPE_CHECKING, BinaryIO

from hotloop.changes import WHOLE_BYTES, content_digest
from hotloop.frozen import frozen

if TYPE_CHECKING:
    from pathlib import Path

READ_ATTEMPTS = 4
HASHED_BYTES = 1 << 20  # of a large file, at a time
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)  # the last: a folder above became a link to itself
_TO_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

Signature = tuple[int, int, int, int, int]  # size, mtime ns, inode, mode, ctime ns


@frozen
class Reading:
    """A file as it was read.

    Attributes:
        content: None if it is larger than `WHOLE_BYTES`.
        status: Of before it was read: a large file that was written meanwhile does not have this one.
    """

    digest: str
    size_bytes: int
    content: bytes | None
    status: os.stat_result


class Disk:
    """A project's folder."""

    def __init__(self, root: Path) -> None:
        self._prefix = f"{root}/"  # a path joined by pathlib takes as long as the call that it is for

    def status(self, path: str) -> os.stat_result | None:
        """What ``lstat`` says; None if nothing is there that can be looked at."""
        try:
            return os.lstat(f"{self._prefix}{path}")
        except OSError:
            return None

    def obstacle(self, path: str) -> str:
        """Why a path has no status, or a folder can't be listed; empty if nothing is there, or nothing is in the way."""
        try:
            if stat.S_ISDIR(os.lstat(f"{self._prefix}{path}").st_mode):
                os.listdir(f"{self._prefix}{path}")  # noqa: PTH208
        except OSError as error:
            return "" if error.errno in _NOT_THERE else error.strerror or str(error)
        return ""

    def has_changed(self, path: str, known: os.stat_result) -> bool:
        """Whether a path is not as it was."""
        status = self.status(path)
        return status is None or signature_of(status) != signature_of(known)

    def read(self, path: str) -> Reading | None:
        """Read a file such that nobody wrote it meanwhile, as far as its stat tells; None if it is gone.

        Raises:
            OSError: It can't be read.
        """
        for attempt in range(READ_ATTEMPTS):
            try:
                fd = os.open(f"{self._prefix}{path}", _TO_READ)
            except (FileNotFoundError, NotADirectoryError):
                return None
            with os.fdopen(fd, "rb") as file:
                before = os.fstat(fd)
                content = file.read() if before.st_size <= WHOLE_BYTES else None
                digest, size_bytes = (content_digest(content), len(content)) if content is not None else _hashed(file)
                after = os.fstat(fd)
            if signature_of(before) == signature_of(after) or attempt == READ_ATTEMPTS - 1:
                return Reading(digest, size_bytes, content, after if content is not None else before)
        return None

    def read_block(self, path: str, signature: Signature | None, offset: int, num_bytes: int) -> bytes | None:
        """A piece of a file; None if it is not as it was, or can't be read."""
        try:
            fd = os.open(f"{self._prefix}{path}", _TO_READ)
        except OSError:
            return None
        try:
            return os.pread(fd, num_bytes, offset) if signature_of(os.fstat(fd)) == signature else None
        except OSError:
            return None
        finally:
            os.close(fd)


def signature_of(status: os.stat_result) -> Signature:
    """What tells that a file was written since."""
    return status.st_size, status.st_mtime_ns, status.st_ino, status.st_mode, status.st_ctime_ns


def _hashed(file: BinaryIO) -> tuple[str, int]:
    """Name what a file has, and count it, without holding it."""
    state, size_bytes = sha256(), 0
    while block := file.read(HASHED_BYTES):
        state.update(block)
        size_bytes += len(block)
    return state.hexdigest(), size_bytes
