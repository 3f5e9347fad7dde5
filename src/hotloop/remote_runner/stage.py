"""Contents on their way into the workspace: beside the tree, on the same filesystem, under names of our own."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import threading
import time
from hashlib import sha256
from typing import TYPE_CHECKING

from hotloop.changes import MAX_FILE_BYTES, content_digest
from hotloop.errors import WorkspaceError
from hotloop.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from hotloop.remote_runner.ledger import Signature

_BLOCK_BYTES = 1 << 20
_MODE = 0o644
_PARTS = "parts/"
_DIGEST_LENGTH = 64
_MAX_UNUSED_S = 24 * 3600.0  # of a content that was sent, in part or whole, and that no tree wanted any more
_TO_WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


def signature_of(status: os.stat_result) -> Signature:
    """What tells that a file was written since: size, time of the last write, inode."""
    return status.st_size, status.st_mtime_ns, status.st_ino


class MismatchError(WorkspaceError):
    """What came is not what was expected: its file was written while it was sent, or the parts before it were used up."""


@frozen
class Staged:
    """A file in the stage that is about to be renamed into the tree."""

    name: str
    signature: Signature


@frozen
class Limits:
    """What a client may put on a runner.

    Attributes:
        file_bytes: Largest file.
        tree_bytes: All files of a tree.
        free_bytes: What stays free on the disk.
    """

    file_bytes: int = MAX_FILE_BYTES
    tree_bytes: int = 64 << 30
    free_bytes: int = 128 << 20


class Partial:
    """A content of which some is here, hashed as it comes: at the end nothing is to be read again."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.here_bytes = 0
        self.state = sha256()

    def add(self, data: bytes) -> None:
        """Count what was appended."""
        self.here_bytes += len(data)
        self.state.update(data)


class Stage:
    """A folder of files to come. ``parts`` holds large contents by digest, which survive a lost connection."""

    def __init__(self, folder: Path, limits: Limits | None = None) -> None:
        self.folder = folder
        self._limits = limits or Limits()
        self._partials: dict[str, Partial] = {}
        self._lock = threading.Lock()  # parts are written in threads
        self._parts = folder / _PARTS
        self._parts.mkdir(parents=True, exist_ok=True)
        self.fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._whole: dict[str, Signature] = {}
        self._taken: set[str] = set()  # whole, and about to be renamed into the tree
        for path in list(self._parts.iterdir()):
            if _is_left(path):
                path.unlink(missing_ok=True)
            elif len(path.name) == _DIGEST_LENGTH:
                self._find(path)

    def close(self) -> None:
        """Let go of the folder, between two parts: what comes later is refused."""
        with self._lock:
            os.close(self.fd)
            self.fd = -1

    def write(self, name: str, content: bytes, *, executable: bool) -> Staged:
        """Stage a content that came inline."""
        mode = 0o755 if executable else 0o644
        fd = os.open(name, _TO_WRITE, mode, dir_fd=self.fd)
        try:
            _write_all(fd, content)
            return Staged(name, _finish(fd, mode))
        finally:
            os.close(fd)

    def copy_part(self, name: str, digest: str, *, executable: bool) -> Staged:
        """Stage a content that came in parts; the parts stay until `forget`, another path may have the same."""
        target = self.folder / name
        shutil.copyfile(self._parts / digest, target)
        fd = os.open(target, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return Staged(name, _finish(fd, 0o755 if executable else _MODE))
        finally:
            os.close(fd)

    def take_part(self, digest: str, *, executable: bool) -> Staged:
        """Stage a content that came in parts and that nothing else needs: it stays where it is, until `forget`."""
        name = _PARTS + digest
        if executable:
            os.chmod(name, 0o755, dir_fd=self.fd)  # noqa: S103 - as executables are
        with self._lock:
            self._taken.add(digest)
            return Staged(name, self._whole.pop(digest))

    def discard(self, names: list[str]) -> None:
        """Remove what was staged for a changeset that is refused; what came in parts is kept for another."""
        self.release(names)
        for name in names:
            if not name.startswith(_PARTS):
                (self.folder / name).unlink(missing_ok=True)

    def release(self, names: Iterable[str]) -> None:
        """Let others use what was staged of parts and is not in the tree."""
        with self._lock:  # else a thread that gets the same content meanwhile writes it while it is looked at
            for digest in self._taken.intersection(name.removeprefix(_PARTS) for name in names):
                self._taken.discard(digest)
                self._find(self._parts / digest)

    def clear(self) -> None:
        """Remove all that is staged for changesets; parts stay."""
        self.discard([entry.name for entry in os.scandir(self.folder) if entry.is_file(follow_symlinks=False)])

    # --- parts

    def has(self, digest: str) -> bool:
        """Whether the whole content came in parts and was verified."""
        return digest in self._whole

    @property
    def is_empty(self) -> bool:
        """Whether no content is here, nor a part of one."""
        return not self._whole and not self.partials()

    def partials(self) -> dict[str, int]:
        """Bytes already here of contents that are not whole, by digest."""
        return {
            path.name.removesuffix(".part"): path.stat().st_size
            for path in self._parts.iterdir()
            if path.name.endswith(".part") and len(path.name) == 64 + len(".part")
        }

    def check_room(self, num_bytes: int) -> None:
        """Find out before anything is sent whether the disk has room for it.

        Raises:
            WorkspaceError: It has not.
        """
        status = os.fstatvfs(self.fd)
        free_bytes = status.f_bavail * status.f_frsize
        if num_bytes > free_bytes - self._limits.free_bytes:
            msg = (
                f"The runner's disk has {free_bytes >> 20:,} MiB free at {self.folder}: {num_bytes:,} bytes are to "
                f"come, and {self._limits.free_bytes >> 20:,} MiB are to stay free."
            )
            hint = "free some space there, list what the app does not need in .hotloopignore, or take another folder: docs/runners.md"
            raise WorkspaceError(msg, hint=hint)

    def add_part(self, digest: str, offset: int, size_bytes: int, data: bytes) -> bool:
        """Append one part; what is here already of it is passed over.

        Returns:
            Whether the content is whole now.

        Raises:
            WorkspaceError: It is outside of the content, one is missing before it, the content would be too large, or is
                not what its digest says.
        """
        with self._lock:
            if self.fd < 0:
                raise WorkspaceError("The session has ended.")  # noqa: EM101
            if digest in self._whole or digest in self._taken:
                return True
            is_all = offset == 0 and len(data) == size_bytes <= self._limits.file_bytes and len(digest) == 64
            if is_all and digest not in self._partials:
                return self._add_small(digest, data)
            partial = self._partial(digest, size_bytes)
            check_part(digest, offset, len(data), partial, size_bytes)
            self._append(digest, partial, data[partial.here_bytes - offset :])
            return partial.here_bytes == size_bytes and self._complete(digest, partial.state.hexdigest())

    def _partial(self, digest: str, size_bytes: int) -> Partial:
        known = self._partials.get(digest)
        if known is not None and known.size_bytes == size_bytes:
            return known
        if len(digest) != 64 or known is not None or size_bytes > self._limits.file_bytes:
            limit = self._limits.file_bytes >> 20
            msg = f"A part is of a content {digest[:12]!r} of {size_bytes:,} bytes, which can't be (at most {limit:,} MiB)."
            raise WorkspaceError(msg, hint="list the file in .hotloopignore, or use the same version of hotloop")
        path = self._parts / f"{digest}.part"
        partial = Partial(size_bytes)
        if path.exists():
            with path.open("rb") as file:
                while block := file.read(_BLOCK_BYTES):
                    partial.add(block)
        if size_bytes > _BLOCK_BYTES:
            self.check_room(size_bytes - partial.here_bytes)
        return partial

    def _append(self, digest: str, partial: Partial, data: bytes) -> None:
        with (self._parts / f"{digest}.part").open("r+b" if partial.here_bytes else "wb") as file:
            file.seek(partial.here_bytes)
            file.write(data)
            file.truncate()
        partial.add(data)
        self._partials[digest] = partial

    def put_file(self, digest: str, source_fd: int) -> bool:
        """Take a content from a file that is said to have it; False if it does not."""
        name = f"{digest}.own"
        with os.fdopen(os.dup(source_fd), "rb") as source, (self._parts / name).open("wb") as file:
            shutil.copyfileobj(source, file, _BLOCK_BYTES)
        is_it = file_digest(self._parts / name) == digest
        if is_it:
            (self._parts / name).rename(self._parts / digest)
            self._note(digest, self._parts / digest)
        else:
            (self._parts / name).unlink()
        return is_it

    def link_file(self, name: str, source_fd: int, source_name: str, *, executable: bool) -> Staged:
        """Stage a file of the tree that is about to be removed there: under its new path it is the same file, not a copy."""
        os.link(source_name, name, src_dir_fd=source_fd, dst_dir_fd=self.fd, follow_symlinks=False)
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.fd)
        try:
            return Staged(name, _finish(fd, 0o755 if executable else 0o644))
        finally:
            os.close(fd)

    def forget(self, digests: set[str]) -> None:
        """Remove whole contents that a changeset has used."""
        self._taken -= digests
        for digest in digests & self._whole.keys():
            (self._parts / digest).unlink(missing_ok=True)
            del self._whole[digest]

    def _add_small(self, digest: str, data: bytes) -> bool:
        if content_digest(data) != digest:
            raise _mismatch(digest)
        fd = os.open(_PARTS + digest, _TO_WRITE, _MODE, dir_fd=self.fd)
        try:
            _write_all(fd, data)
            self._whole[digest] = _finish(fd, _MODE)
        except OSError:  # no room: half of it must not be taken for the whole
            os.unlink(_PARTS + digest, dir_fd=self.fd)
            raise
        finally:
            os.close(fd)
        return True

    def _find(self, path: Path) -> None:
        """Know a whole content that is here from before; a small one whose writing was cut short is none."""
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_size <= _BLOCK_BYTES and file_digest(path) != path.name:
                path.unlink()
            else:
                self._note(path.name, path)

    def _note(self, digest: str, path: Path) -> None:
        status = path.stat()
        if stat.S_IMODE(status.st_mode) != _MODE:
            path.chmod(_MODE)
        self._whole[digest] = signature_of(status)

    def _complete(self, digest: str, found: str) -> bool:
        path = self._parts / f"{digest}.part"
        self._partials.pop(digest, None)
        if found != digest:
            path.unlink()
            raise _mismatch(digest)
        path.rename(self._parts / digest)
        self._note(digest, self._parts / digest)
        return True


def check_part(digest: str, offset: int, num_bytes: int, partial: Partial, size_bytes: int) -> None:
    """Refuse a part that does not go on where the content ends, or goes beyond it.

    Raises:
        WorkspaceError: It does not.
    """
    hint = "run the command again: the transfer starts over"
    if offset + num_bytes > size_bytes:
        msg = f"A part of {digest[:12]} ends at byte {offset + num_bytes:,}, but the content has {size_bytes:,}."
        raise WorkspaceError(msg, hint=hint)
    if offset > partial.here_bytes:
        msg = f"A part of {digest[:12]} starts at byte {offset:,}, but only {partial.here_bytes:,} bytes are here."
        raise MismatchError(msg, hint=hint)


def _is_left(path: Path) -> bool:
    """Whether nobody comes for a file of the parts any more: a save that another one overtook, a copy that a kill cut short."""
    is_content = len(path.name.removesuffix(".part")) == _DIGEST_LENGTH
    return not is_content or time.time() - path.stat().st_mtime > _MAX_UNUSED_S


def file_digest(path: Path) -> str:
    """Name a file's content without holding all of it."""
    with path.open("rb") as file:
        return stream_digest(file.fileno())


def stream_digest(fd: int) -> str:
    """Name what a descriptor reads from here on."""
    state = sha256()
    while block := os.read(fd, _BLOCK_BYTES):
        state.update(block)
    return state.hexdigest()


def _mismatch(digest: str) -> MismatchError:
    return MismatchError(f"What came as {digest[:12]} has another digest.", hint="save the file again")


def _write_all(fd: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]


def _finish(fd: int, mode: int) -> Signature:
    status = os.fstat(fd)
    if status.st_mode & 0o7777 != mode:  # the umask took something
        os.fchmod(fd, mode)
    return signature_of(status)
