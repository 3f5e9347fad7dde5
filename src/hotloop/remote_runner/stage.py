"""Contents on their way into the workspace: beside the tree, on the same filesystem, under names of our own."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from hotloop.changes import content_digest
from hotloop.errors import WorkspaceError

if TYPE_CHECKING:
    from pathlib import Path

    from hotloop.remote_runner.ledger import Signature

_BLOCK_BYTES = 1 << 20


def signature_of(status: os.stat_result) -> Signature:
    """What tells that a file was written since: size, time of the last write, inode."""
    return status.st_size, status.st_mtime_ns, status.st_ino


@dataclass(frozen=True, slots=True)
class Staged:
    """A file in the stage that is about to be renamed into the tree."""

    name: str
    signature: Signature


class Stage:
    """A folder of files to come. ``parts`` holds large contents by digest, which survive a lost connection."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._parts = folder / "parts"
        self._parts.mkdir(parents=True, exist_ok=True)
        self.fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._whole = {path.name for path in self._parts.iterdir() if len(path.name) == 64}

    def close(self) -> None:
        """Let go of the folder."""
        os.close(self.fd)

    def write(self, name: str, content: bytes, *, executable: bool) -> Staged:
        """Stage a content that came inline."""
        mode = 0o755 if executable else 0o644
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=self.fd)
        try:
            _write_all(fd, content)
            return Staged(name, _finish(fd, mode))
        finally:
            os.close(fd)

    def copy_part(self, name: str, digest: str, *, executable: bool) -> Staged:
        """Stage a content that came in parts; the parts stay until `forget`, another path may have the same."""
        return self._copy(self._parts / digest, name, executable=executable)

    def _copy(self, source: Path, name: str, *, executable: bool) -> Staged:
        mode = 0o755 if executable else 0o644
        target = self.folder / name
        shutil.copyfile(source, target)
        fd = os.open(target, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return Staged(name, _finish(fd, mode))
        finally:
            os.close(fd)

    def take_part(self, name: str, digest: str, *, executable: bool) -> Staged:
        """Stage a content that came in parts and that nothing else needs: a rename, no copy."""
        (self._parts / digest).rename(self.folder / name)
        self._whole.discard(digest)
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.fd)
        try:
            return Staged(name, _finish(fd, 0o755 if executable else 0o644))
        finally:
            os.close(fd)

    def discard(self, names: list[str]) -> None:
        """Remove what was staged for a changeset that is refused."""
        for name in names:
            (self.folder / name).unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove all that is staged for changesets; parts stay."""
        self.discard([entry.name for entry in os.scandir(self.folder) if entry.is_file(follow_symlinks=False)])

    # --- parts

    def has(self, digest: str) -> bool:
        """Whether the whole content came in parts and was verified."""
        return digest in self._whole

    def partials(self) -> dict[str, int]:
        """Bytes already here of contents that are not whole, by digest."""
        return {
            path.name.removesuffix(".part"): path.stat().st_size
            for path in self._parts.iterdir()
            if path.name.endswith(".part")
        }

    def add_part(self, digest: str, offset: int, size_bytes: int, data: bytes) -> bool:
        """Append one part.

        Returns:
            Whether the content is whole now.

        Raises:
            WorkspaceError: A part is missing before this one, or the content is not what its digest says.
        """
        if digest in self._whole:
            return True
        if offset == 0 and len(data) == size_bytes:
            return self._add_small(digest, data)
        path = self._parts / f"{digest}.part"
        here = path.stat().st_size if path.exists() else 0
        if offset > here or len(digest) != 64:
            msg = f"A part of {digest[:12]} starts at byte {offset}, but only {here} bytes are here."
            raise WorkspaceError(msg, hint="run the command again: the transfer starts over")
        with path.open("r+b" if here else "wb") as file:
            file.seek(offset)
            file.write(data)
            file.truncate()
        return offset + len(data) >= size_bytes and self._complete(digest, path)

    def put_file(self, digest: str, source_fd: int) -> bool:
        """Take a content from a file that is said to have it; False if it does not."""
        path = self._parts / f"{digest}.part"
        with os.fdopen(os.dup(source_fd), "rb") as source, path.open("wb") as file:
            shutil.copyfileobj(source, file, _BLOCK_BYTES)
        try:
            return self._complete(digest, path)
        except WorkspaceError:
            return False

    def forget(self, digests: set[str]) -> None:
        """Remove whole contents that a changeset has used."""
        for digest in digests & self._whole:
            (self._parts / digest).unlink(missing_ok=True)
            self._whole.discard(digest)

    def _add_small(self, digest: str, data: bytes) -> bool:
        if content_digest(data) != digest:
            raise _mismatch(digest)
        (self._parts / digest).write_bytes(data)
        self._whole.add(digest)
        return True

    def _complete(self, digest: str, path: Path) -> bool:
        if file_digest(path) != digest:
            path.unlink()
            raise _mismatch(digest)
        path.rename(self._parts / digest)
        self._whole.add(digest)
        return True


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


def _mismatch(digest: str) -> WorkspaceError:
    return WorkspaceError(f"What came as {digest[:12]} has another digest.", hint="save the file again")


def _write_all(fd: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]


def _finish(fd: int, mode: int) -> Signature:
    status = os.fstat(fd)
    if status.st_mode & 0o7777 != mode:  # the umask took something
        os.fchmod(fd, mode)
    return signature_of(status)
