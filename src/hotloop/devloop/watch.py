"""See saves as they happen: which paths to look at again, as soon as their writer has closed them.

On Linux inotify says when a file is closed, so nothing is waited for and nothing half-written is read (0.16 ms);
elsewhere watchfiles. Events only name paths: what happened to them is found out when they are read.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import sys
import time
from typing import TYPE_CHECKING, Protocol

from hotloop.devloop import inotify, shared_disk
from hotloop.devloop.git import Git
from hotloop.devloop.ignore import RULE_FILES
from hotloop.devloop.shared_disk import LookingWatcher
from hotloop.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Container, Iterable
    from collections.abc import Set as AbstractSet
    from pathlib import Path

    from hotloop.devloop.ignore import Ignore

HOLD_CAP_S = 5.0
HOLD_POLL_S = 0.005
REBASE_QUIET_S = 0.1  # a rebase lets go of the lock between two commits
NEW_NAME_GRACE_S = 0.02  # edits of known files are not held for it
UNCLOSED_S = 1.0  # a writer that keeps its file open this long after a write is not waited for any longer
GONE_POLL_S = 0.5  # how often a project's folder that is gone is looked for
_FREED = -1  # an inode whose number another folder may have by now


@frozen
class Batch:
    """Paths to read again.

    Attributes:
        paths: Relative to the project. A folder stands for all that is in it.
        is_full_rescan: Everything may have changed: events were lost, or the ignore rules changed.
        is_vcs_operation: Whether it waited for git to finish.
        seen_at_s: When the first of it was seen, CLOCK_MONOTONIC.
        lock: A file of git's that it waited for in vain, and that is not waited for again; empty if there is none.
    """

    paths: frozenset[str]
    is_full_rescan: bool
    is_vcs_operation: bool
    seen_at_s: float
    lock: str = ""


class Watcher(Protocol):
    """A source of changed paths; ignored ones may be among them."""

    async def wait(self) -> None:
        """Return when something may have changed."""
        ...

    def take(self) -> tuple[set[str], bool]:
        """All paths that changed since the last call, and whether events were lost."""
        ...

    def unclosed(self) -> AbstractSet[str]:
        """Paths that are being written: they are given again when their writer is done."""
        ...

    def rescan(self) -> None:
        """Watch folders that are kept now and were not before."""
        ...

    def close(self) -> None:
        """Stop watching."""
        ...


def make_watcher(root: Path, ignore: Ignore) -> Watcher:
    """The best watcher that this system has.

    Raises:
        WatchError: The system does not allow to watch so many folders.
    """
    if sys.platform == "linux":
        watcher = InotifyWatcher(root, ignore)
        return LookingWatcher(root, watcher) if shared_disk.kind_of(root) else watcher
    from hotloop.devloop.polled import WatchfilesWatcher

    return WatchfilesWatcher(root, ignore)


async def watch(
    root: Path, ignore: Ignore, known: Container[str], *, watcher: Watcher | None = None
) -> AsyncIterator[Batch]:
    """Give batches of changed paths until the caller stops. While the caller is busy, changes gather for the next.

    Args:
        root: The project.
        ignore: Its rules.
        known: Paths that are synced already (an `Index`): changes of others count if no rule ignores them.
        watcher: What to ask; `make_watcher` by default. It is closed at the end.
    """
    source = watcher if watcher is not None else make_watcher(root, ignore)
    git = Git(ignore.git_folder)
    try:
        while True:
            await source.wait()
            seen_at_s = time.monotonic()
            paths, is_lost = source.take()
            is_held = False
            while (paths or is_lost) and not (is_held := git.is_at_work):
                more, is_lost_too = source.take()  # what git wrote between two looks, before it let go of its lock
                paths |= more
                is_lost |= is_lost_too
                if not (more or is_lost_too):
                    break
            if is_held:
                is_lost |= await _hold(git, source, paths)
            elif paths:
                is_lost |= await _await_second_half(root, source, paths, known)
            paths -= source.unclosed()
            is_lost |= any(path.rpartition("/")[2] in RULE_FILES for path in paths)
            if is_lost:
                ignore.forget()  # what was lost may have been about the rules
                source.rescan()
            kept = frozenset(path for path in paths if _counts(root, path, ignore, known))
            if kept or is_lost:
                yield Batch(kept, is_lost, is_held, seen_at_s, git.lock if is_held and git.is_left else "")
    finally:
        source.close()


async def _await_second_half(root: Path, source: Watcher, paths: set[str], known: Container[str]) -> bool:
    """Unless a known file was written, wait a little for it; what changes meanwhile joins ``paths``.

    A new name, or a known one that is gone, may be the first half of a save: many programs write beside the file, then
    rename over it.

    Returns:
        Whether events were lost meanwhile.
    """
    is_lost = False
    until_s = time.monotonic() + NEW_NAME_GRACE_S
    while not _has_edit(root, paths, known) and (left_s := until_s - time.monotonic()) > 0:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(left_s):
                await source.wait()
        more, is_lost_too = source.take()
        paths |= more
        is_lost |= is_lost_too
    return is_lost


def _has_edit(root: Path, paths: set[str], known: Container[str]) -> bool:
    return any(path in known and os.path.lexists(root / path) for path in paths)


def _counts(root: Path, path: str, ignore: Ignore, known: Container[str]) -> bool:
    """Whether a path is synced: known names are, new ones if they are (still) there and not ignored."""
    return path in known or (os.path.lexists(root / path) and not ignore.is_ignored(path))


async def _hold(git: Git, source: Watcher, paths: set[str]) -> bool:
    """Wait while git changes the tree, so that a checkout is one batch; what changes meanwhile joins ``paths``.

    A lock that a crashed git left is waited for until nothing changed for `HOLD_CAP_S`, once.

    Returns:
        Whether events were lost meanwhile.
    """
    is_lost = False
    changed_at_s = busy_at_s = time.monotonic()
    while (now_s := time.monotonic()) - changed_at_s < HOLD_CAP_S:
        if git.is_busy:
            busy_at_s = now_s
        elif not git.is_amid or now_s - busy_at_s > REBASE_QUIET_S:
            break
        await asyncio.sleep(HOLD_POLL_S)
        more, is_lost_too = source.take()
        paths |= more
        is_lost |= is_lost_too
        if more:
            changed_at_s = now_s
    else:
        git.stop_waiting()
    more, is_lost_too = source.take()  # what came between the last look and the lock's end
    paths |= more
    return is_lost or is_lost_too


class InotifyWatcher:
    """Watches each kept folder. A new folder is watched first and read then, so nothing made between is lost.

    Watches stay with a folder, not with its name: if another folder takes the project's place, that one is watched.
    """

    def __init__(self, root: Path, ignore: Ignore, *, source: inotify.Inotify | None = None) -> None:
        self._root = root
        self._ignore = ignore
        self._inotify = source if source is not None else inotify.Inotify()
        self._inode = 0  # of the project's folder; 0 while it is gone
        self._folder_by_watch: dict[int, str] = {}
        self._watch_by_folder: dict[str, int] = {}
        self._unclosed: dict[str, float] = {}
        self._waiting: list[inotify.RawEvent] = []
        self._ready = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._inotify.fd, self._readable)
        self.rescan()

    @property
    def folders(self) -> list[str]:
        """The watched folders."""
        return list(self._watch_by_folder)

    def close(self) -> None:
        """Stop watching."""
        self._loop.remove_reader(self._inotify.fd)
        self._inotify.close()

    def rescan(self) -> None:
        """Watch every kept folder that is not watched yet."""
        self._inode = self._inode_now()
        self._add("")
        for path, is_folder in self._ignore.walk():
            if is_folder:
                self._add(path)

    async def wait(self) -> None:
        """Return when events wait, when a file stays open for long after it was written, or to look for a folder that is gone."""
        dues_s = [since_s + UNCLOSED_S - time.monotonic() for since_s in self._unclosed.values()]
        if not self._inode:
            dues_s.append(GONE_POLL_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(min(dues_s), 0.001) if dues_s else None):
                await self._ready.wait()

    def take(self) -> tuple[set[str], bool]:
        """Take what was read, and all that waits in the kernel."""
        self._ready.clear()
        changed: set[str] = set()
        is_lost = False
        events, self._waiting = self._waiting, []
        while events or (events := self._inotify.read()):
            for event in events:
                is_lost |= bool(event.mask & inotify.OVERFLOWED)
                self._take_one(event, changed)
            events = []
        is_lost |= self._is_replaced()
        now_s = time.monotonic()
        for path in [path for path, since_s in self._unclosed.items() if now_s - since_s >= UNCLOSED_S]:
            del self._unclosed[path]
            changed.add(path)
        return changed, is_lost

    def _is_replaced(self) -> bool:
        """Whether the project's folder is another one than was watched, or is gone; what is there now is watched from here on."""
        inode = self._inode_now()
        if inode == self._inode:
            return False
        for watch in self._folder_by_watch:
            self._inotify.remove(watch)
        self._folder_by_watch.clear()
        self._watch_by_folder.clear()
        self._unclosed.clear()
        self._inode = inode  # whoever asks scans it again
        return True

    def _inode_now(self) -> int:
        try:
            return os.stat(self._root).st_ino  # noqa: PTH116  at each save
        except OSError:
            return 0

    def _readable(self) -> None:
        # At once: the loop would find it readable again, and wake whoever waits a second time for nothing.
        self._waiting += self._inotify.read()
        self._ready.set()

    def unclosed(self) -> AbstractSet[str]:
        """Paths that were written and not closed since."""
        return self._unclosed.keys()

    def _take_one(self, event: inotify.RawEvent, changed: set[str]) -> None:
        folder = self._folder_by_watch.get(event.watch)
        if folder is None:
            return
        if event.mask & inotify.UNWATCHED:
            del self._folder_by_watch[event.watch]
            if self._watch_by_folder.get(folder) == event.watch:
                del self._watch_by_folder[folder]
            if not folder:
                self._inode = _FREED
        elif event.name:
            path = f"{folder}/{event.name}" if folder else event.name
            take = self._take_folder if event.mask & inotify.IS_FOLDER else self._take_file
            take(path, event.mask, changed)

    def _take_file(self, path: str, mask: int, changed: set[str]) -> None:
        if mask & inotify.MODIFIED or (mask & inotify.CREATED and not self._is_complete(path)):
            self._unclosed.setdefault(path, time.monotonic())  # its writer will close it
        elif not (mask & inotify.ATTRIBUTES and path in self._unclosed):
            self._unclosed.pop(path, None)
            changed.add(path)

    def _take_folder(self, path: str, mask: int, changed: set[str]) -> None:
        if mask & inotify.ATTRIBUTES:
            return
        changed.add(path)
        if mask & inotify.MOVED_FROM:
            self._forget_below(path)
        elif mask & (inotify.CREATED | inotify.MOVED_TO) and not self._ignore.is_ignored(path):
            self._add(path)
            for below, is_folder in self._ignore.walk(path):
                if is_folder:
                    self._add(below)

    def _is_complete(self, path: str) -> bool:
        """Links, hard or symbolic, are whole when they appear; nobody closes them."""
        try:
            status = (self._root / path).lstat()
        except OSError:
            return True
        return not stat.S_ISREG(status.st_mode) or status.st_nlink > 1

    def _add(self, folder: str) -> None:
        watch = self._inotify.add(self._root / folder)
        if watch is None:
            return
        stale = self._folder_by_watch.get(watch)
        if stale is not None and stale != folder and self._watch_by_folder.get(stale) == watch:
            del self._watch_by_folder[stale]  # the folder moved here
        self._folder_by_watch[watch] = folder
        self._watch_by_folder[folder] = watch

    def _forget_below(self, folder: str) -> None:
        gone: Iterable[str] = [
            path for path in self._watch_by_folder if path == folder or path.startswith(folder + "/")
        ]
        for path in gone:
            watch = self._watch_by_folder.pop(path)
            if self._folder_by_watch.get(watch) == path:
                del self._folder_by_watch[watch]
                self._inotify.remove(watch)
