"""Environments on disk: where they are, who uses them, which may go. Knows nothing of how they are made.

``environments/<digest>`` is one, whole once it holds `MARKER`. ``<digest>.lock`` beside it is locked alone by who makes or
removes it, and shared by who uses it; a lock ends with its process, however that ends. An environment is made at its
final place, because the scripts in it name their interpreter.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
from dataclasses import asdict, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hotloop.frozen import frozen
from hotloop.gpu_runtime.user_env.made import MARKER
from hotloop.remote_runner.places import make_private

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_UNUSED_S = 30 * 24 * 3600.0
MAX_BYTES = 40 * (1 << 30)


@frozen
class About:
    """What is known of an environment.

    Attributes:
        source: What asked for it first: ``requirements.txt``.
        packages: Versions by name.
        size_bytes: Of its files, those shared with uv's cache included.
        used_at_s: When it was used last, seconds since 1970.
    """

    digest: str
    source: str
    python: str
    packages: dict[str, str] = field(default_factory=dict[str, str])
    size_bytes: int = 0
    used_at_s: float = 0.0


class Lock:
    """A lock on an environment, held until `release` or the end of the process and of those it gave the descriptor to."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def release(self) -> None:
        """Let go; a second time nothing happens."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Store:
    """The environments in a state folder. Several processes may use one folder."""

    def __init__(self, state: Path) -> None:
        self.folder = state / "environments"

    def open(self) -> None:
        """Make the folders.

        Raises:
            RunnerError: They are another user's.
            OSError: They can't be made.
        """
        make_private(self.folder)
        (self.folder / "locks").mkdir(exist_ok=True)

    def path(self, digest: str) -> Path:
        """Where an environment is, or would be."""
        return self.folder / digest

    def python(self, digest: str) -> Path:
        """Its interpreter."""
        return self.path(digest) / "bin" / "python"

    def resolved(self, request: str) -> Path:
        """The folder that holds what a request was resolved to."""
        return self.folder / "locks" / request

    def about(self, digest: str) -> About | None:
        """What is known of an environment; None unless it is whole and its base interpreter is still there."""
        try:
            data: dict[str, Any] = json.loads((self.path(digest) / MARKER).read_text("utf-8"))
            data["used_at_s"] = (self.path(digest) / MARKER).stat().st_mtime
            about = About(**data)
        except (OSError, ValueError, TypeError):
            return None
        return about if self.python(digest).exists() else None

    def finish(self, about: About) -> None:
        """Declare an environment whole."""
        fresh = self.path(about.digest) / f".{MARKER}"
        fresh.write_text(json.dumps(asdict(about)), "utf-8")
        fresh.replace(self.path(about.digest) / MARKER)

    def touch(self, digest: str) -> None:
        """Note that it is used now."""
        with contextlib.suppress(OSError):
            os.utime(self.path(digest) / MARKER)

    def remove(self, digest: str) -> None:
        """Remove an environment; the caller has its lock alone. The marker goes first: what is left is not whole."""
        with contextlib.suppress(OSError):
            (self.path(digest) / MARKER).unlink()
        shutil.rmtree(self.path(digest), ignore_errors=True)

    def lock(self, digest: str, *, is_shared: bool = False) -> Lock | None:
        """Lock an environment, alone unless shared; None if somebody else holds it."""
        while True:
            name = self.folder / f"{digest}.lock"
            fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                return None
            if _is_still(name, fd):
                return Lock(fd)
            os.close(fd)  # whoever removed the environment removed its lock as well

    def share(self, lock: Lock) -> None:
        """Go on holding a lock together with others; nobody else can take it alone in between, save for an instant."""
        fcntl.flock(lock.fd, fcntl.LOCK_SH)

    def all(self) -> list[About]:
        """The environments that are whole, the one used longest ago first."""
        found = [self.about(path.name) for path in self.folder.glob("[0-9a-f]*") if path.is_dir()]
        return sorted((each for each in found if each is not None), key=lambda each: each.used_at_s)

    def is_in_use(self, digest: str) -> bool:
        """Whether a process holds it."""
        lock = self.lock(digest)
        if lock is not None:
            lock.release()
        return lock is None

    def prune(self, *, max_unused_s: float = MAX_UNUSED_S, max_bytes: int = MAX_BYTES) -> list[About]:
        """Remove what was not used for long, then, the longest unused first, what is too much. Never what is in use.

        Returns:
            What was removed.
        """
        chosen = too_much(self.all(), time.time(), max_unused_s=max_unused_s, max_bytes=max_bytes)
        removed = [about for about in chosen if self._remove_unused(about.digest)]
        for path in self._torn():
            self._remove_unused(path.name)
        return removed

    def forget_locks(self) -> None:
        """Forget what requests were resolved to, save those that are being resolved."""
        for path in (self.folder / "locks").iterdir():
            name = path.name.removesuffix(".new")
            lock = self.lock(name)
            if lock is not None:
                shutil.rmtree(path, ignore_errors=True)
                (self.folder / f"{name}.lock").unlink(missing_ok=True)
                lock.release()

    def _remove_unused(self, digest: str) -> bool:
        lock = self.lock(digest)
        if lock is None:
            return False
        self.remove(digest)
        (self.folder / f"{digest}.lock").unlink(missing_ok=True)
        lock.release()
        return True

    def _torn(self) -> Iterator[Path]:
        """What a build that was killed left."""
        for path in self.folder.glob("[0-9a-f]*"):
            if path.is_dir() and self.about(path.name) is None:
                yield path


def too_much(kept: list[About], now_s: float, *, max_unused_s: float, max_bytes: int) -> list[About]:
    """Choose what to remove of environments that are ordered by last use, oldest first."""
    old = [each for each in kept if now_s - each.used_at_s > max_unused_s]
    rest = [each for each in kept if each not in old]
    excess = sum(each.size_bytes for each in rest) - max_bytes
    for each in rest:
        if excess <= 0:
            break
        old.append(each)
        excess -= each.size_bytes
    return old


def size_of(folder: Path) -> int:
    """Sum the sizes of a folder's files; what vanishes meanwhile counts nothing."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(root, name)).st_size  # noqa: PTH118  tens of thousands of files
    return total


def _is_still(path: Path, fd: int) -> bool:
    try:
        named = path.stat()
    except FileNotFoundError:
        return False
    return (named.st_dev, named.st_ino) == (os.fstat(fd).st_dev, os.fstat(fd).st_ino)
