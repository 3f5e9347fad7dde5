"""File operations that cannot leave a folder: each component of a path is opened from the root without following links."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hotloop.errors import WorkspaceError

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


MAX_PATH_BYTES = 3800  # Linux takes 4096, with the workspace's own folder before it
MAX_NAME_BYTES = 255
MAX_BYTES_PER_CHARACTER = 4
_NO_NAMES = frozenset(("", ".", ".."))


class PathRefusedError(WorkspaceError):
    """A path can't be written.

    Attributes:
        path: As the changeset names it.
        why: The reason alone.
    """

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path!r} can't be synced: {why}.")
        self.path = path
        self.why = why


def components(path: str) -> list[str]:
    """Cut a path of a changeset into its names.

    Raises:
        PathRefusedError: It is absolute, empty, leaves the tree, or is no text that a file can be called.
    """
    names = path.split("/")
    if not _NO_NAMES.isdisjoint(names):  # a path from the root on begins with an empty one
        raise PathRefusedError(path, "it must be relative and stay inside the project")
    is_long = len(path) > MAX_NAME_BYTES // MAX_BYTES_PER_CHARACTER
    if "\0" in path or (is_long and any(len(os.fsencode(name)) > MAX_NAME_BYTES for name in names)):
        raise PathRefusedError(path, "no file can have this name")
    if is_long and len(os.fsencode(path)) > MAX_PATH_BYTES:
        raise PathRefusedError(path[:80] + "…", f"it is longer than {MAX_PATH_BYTES:,} bytes")
    return names


def check_link(path: str, target: str) -> None:
    """Refuse a symbolic link that is absolute or leads out of the tree.

    After a name in the target ``..`` is refused: if that name is a link itself, it leads above where the link points.

    Raises:
        PathRefusedError: It does.
    """
    depth, has_gone_down = path.count("/"), False
    if not target or len(os.fsencode(target)) > MAX_PATH_BYTES or target.startswith("/") or "\0" in target:
        raise PathRefusedError(path, f"its target {target!r} is not a relative path")
    for name in target.split("/"):
        is_up = name == ".."
        if is_up and (has_gone_down or depth == 0):
            raise PathRefusedError(path, f"its target {target!r} leaves the project, or goes up again after a name")
        depth -= is_up
        has_gone_down = has_gone_down or name not in ("", ".", "..")


class Beneath:
    """A folder, by a descriptor that stays on it whatever happens to its name."""

    def __init__(self, root: Path) -> None:
        self.fd = os.open(root, _DIRECTORY)

    def close(self) -> None:
        """Let go of the folder."""
        os.close(self.fd)
        self.fd = -1  # whoever comes late must not find another folder of that number

    @contextmanager
    def parent(self, path: str, *, create: bool = False) -> Generator[tuple[int, str]]:
        """Open the folder that holds ``path``; gives its descriptor and the last name.

        Raises:
            FileNotFoundError: It is not there, and ``create`` is off.
            PathRefusedError: A component is a link or no folder, or the path is not allowed.
        """
        *above, name = components(path)
        fd = os.dup(self.fd)
        try:
            for component in above:
                below = _step(fd, component, path, create=create)
                os.close(fd)
                fd = below
            yield fd, name
        finally:
            os.close(fd)

    def status(self, path: str) -> os.stat_result | None:
        """What ``lstat`` says, None if nothing is there."""
        try:
            with self.parent(path) as (fd, name):
                return status_in(fd, name)
        except FileNotFoundError:
            return None

    def open(self, path: str) -> int:
        """Open a regular file to read; the caller closes the descriptor."""
        with self.parent(path) as (fd, name):
            opened = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=fd)
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            os.close(opened)
            raise FileNotFoundError(errno.ENOENT, "not a regular file", path)
        return opened

    def remove(self, path: str) -> None:
        """Remove a file, a link or an empty folder.

        Nothing happens if it is gone, if the folder has something inside, or if a component is no folder any more.
        """
        with contextlib.suppress(FileNotFoundError, PathRefusedError), self.parent(path) as (fd, name):
            try:
                os.unlink(name, dir_fd=fd)
            except (IsADirectoryError, PermissionError):  # macOS says EPERM for a folder
                with contextlib.suppress(OSError):
                    os.rmdir(name, dir_fd=fd)

    def make_folder(self, path: str) -> None:
        """Make a folder and those above it."""
        with self.parent(path, create=True) as (fd, name):
            os.close(_step(fd, name, path, create=True))


def status_in(fd: int, name: str) -> os.stat_result | None:
    """What ``lstat`` says of a name in a folder, None if nothing is there."""
    try:
        return os.stat(name, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _step(fd: int, name: str, path: str, *, create: bool) -> int:
    try:
        return os.open(name, _DIRECTORY, dir_fd=fd)
    except FileNotFoundError:
        if not create:
            raise
        os.mkdir(name, 0o755, dir_fd=fd)
        return os.open(name, _DIRECTORY, dir_fd=fd)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.EMLINK):
            raise PathRefusedError(path, f"{name!r} in it is a link or a file on the runner, not a folder") from error
        raise
