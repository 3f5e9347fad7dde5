"""Put a file in the place of another, fast.

A plain rename over an existing file makes ext4 write the new content out first (0.2 ms and, under load, up to 200).
Exchanging the two names does not; the old file is then removed from the stage.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_EXCHANGE = 2  # RENAME_EXCHANGE


def replace(name: str, target: str, *, source_fd: int, target_fd: int, is_there: bool = True) -> None:
    """Rename ``name`` in one folder to ``target`` in another; whoever opens the target sees the old or the new file.

    Args:
        name: The new file.
        target: Its name to be.
        source_fd: The folder that it is in.
        target_fd: The folder that it is to be in.
        is_there: Whether a file of that name was there a moment ago: only then is an exchange tried.
    """
    if not is_there or not _exchange(name, target, source_fd, target_fd):
        os.rename(name, target, src_dir_fd=source_fd, dst_dir_fd=target_fd)
        return
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=source_fd)


@functools.cache
def _renameat2() -> Callable[..., int] | None:
    return getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)


def _exchange(name: str, target: str, source_fd: int, target_fd: int) -> bool:
    """False if there is no target yet, or the system can't."""
    call = _renameat2()
    if call is None:
        return False
    if call(source_fd, os.fsencode(name), target_fd, os.fsencode(target), _EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOENT, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
        return False
    raise OSError(code, os.strerror(code), target)
