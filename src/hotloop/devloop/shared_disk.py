"""Projects on a disk that other machines write to as well: the system tells only of what is written here.

There all watched folders are looked at once a second too, in a thread: a save on another machine is seen within seconds.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet

    from hotloop.devloop.watch import InotifyWatcher

LOOK_EVERY_S = 1.0
MAX_LOOKING_RATIO = 0.1  # of the time; where looking takes long it is done less often
_SHARED = frozenset((
    "9p", "afs", "beegfs", "ceph", "cifs", "drvfs", "fakeowner", "glusterfs", "gpfs", "lustre", "nfs", "nfs4", "prl_fs", "smb3",
    "smbfs", "vboxsf", "virtiofs", "vmhgfs", "fuse.ceph", "fuse.glusterfs", "fuse.grpcfuse", "fuse.sshfs", "fuse.vmhgfs-fuse",
))  # fmt: skip

_Seen = dict[str, tuple[int, ...]]  # by path: what changes with it; of a folder nothing does


def kind_of(root: Path, mounts: str | None = None) -> str:
    """Name the file system of a folder, if other machines may write to it; else empty.

    Args:
        root: The folder.
        mounts: In place of ``/proc/self/mountinfo``.
    """
    try:
        device = root.stat().st_dev
        if mounts is None:
            mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in mounts.splitlines():
        about, _, kind = line.partition(" - ")
        if about.split()[2:3] == [number]:
            name = kind.partition(" ")[0]
            return name if name in _SHARED else ""
    return ""


class LookingWatcher:
    """A watcher that looks by itself too. It takes its first look when it is made: whoever reads the files then, does so later."""

    def __init__(self, root: Path, watcher: InotifyWatcher, *, look_every_s: float = LOOK_EVERY_S) -> None:
        self._root = root
        self._watcher = watcher
        self._look_every_s = look_every_s
        self._changed: set[str] = set()
        self._has_new_folder = False
        self._ready = asyncio.Event()
        self._seen = _look(root, watcher.folders)
        self._looking = asyncio.create_task(self._look_on(), name="look at a shared disk")

    async def wait(self) -> None:
        """Return when the other watcher saw something, or this one did."""
        waits: list[asyncio.Task[Any]] = [asyncio.create_task(each.wait()) for each in (self._watcher, self._ready)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    def take(self) -> tuple[set[str], bool]:
        """What both saw."""
        self._ready.clear()
        changed, is_lost = self._watcher.take()
        changed |= self._changed
        self._changed = set()
        if self._has_new_folder:
            self._has_new_folder = False
            self._watcher.rescan()
        return changed, is_lost

    def unclosed(self) -> AbstractSet[str]:
        """Of another machine's writers nothing is known."""
        return self._watcher.unclosed()

    def rescan(self) -> None:
        """As the other watcher does."""
        self._watcher.rescan()

    def close(self) -> None:
        """Stop both."""
        self._looking.cancel()
        self._watcher.close()

    async def _look_on(self) -> None:
        took_s = 0.0
        while True:
            await asyncio.sleep(max(self._look_every_s, took_s / MAX_LOOKING_RATIO))
            began_s = time.monotonic()
            before, self._seen = self._seen, await asyncio.to_thread(_look, self._root, self._watcher.folders)
            took_s = time.monotonic() - began_s
            changed = {path for path in before.keys() | self._seen.keys() if before.get(path) != self._seen.get(path)}
            if changed:
                self._changed |= changed
                self._has_new_folder |= any(self._seen.get(path) == () for path in changed)
                self._ready.set()


def _look(root: Path, folders: Iterable[str]) -> _Seen:
    seen: _Seen = {}
    for folder in folders:
        inside = f"{folder}/" if folder else ""
        try:
            with os.scandir(root / folder) as entries:
                for entry in entries:
                    seen[f"{inside}{entry.name}"] = _signature(entry)
        except OSError:  # it went meanwhile
            continue
    return seen


def _signature(entry: os.DirEntry[str]) -> tuple[int, ...]:
    try:
        if entry.is_dir(follow_symlinks=False):
            return ()
        status = entry.stat(follow_symlinks=False)
    except OSError:
        return (0,)
    return status.st_mtime_ns, status.st_size, status.st_ino, status.st_mode
