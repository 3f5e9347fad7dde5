"""The client's index: what each kept path of the project holds, so that a save costs one read and a start one stat scan.

A path is read when its change is sent, never when its event came; events only say where to look.
At 400 lines: how a path became another kind of thing needs all of it.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from typing import TYPE_CHECKING

from hotloop.changes import MAX_FILE_BYTES, Link, MakeDirectory, Put
from hotloop.config import is_utf8
from hotloop.devloop import index_file
from hotloop.devloop.disk import Disk, Reading, Signature, signature_of
from hotloop.devloop.snapshot import Draft, Known, Snapshot, given_back, snapshot_of
from hotloop.devloop.spelling import Spelling
from hotloop.remote_runner.beneath import PathRefusedError, check_link
from hotloop.remote_runner.tree import Entry, Tree, ancestors, changes_between

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from hotloop.devloop.ignore import Ignore

HASHED_AHEAD_BYTES = 16 << 20  # hashing a larger file takes longer than whoever waits for the index can


class Index:
    """What the project holds. One per project; not shared between threads.

    Attributes:
        problems: By path, why it is not synced though no rule ignores it.
    """

    def __init__(
        self, root: Path, ignore: Ignore, *, max_file_bytes: int = MAX_FILE_BYTES, spelling: Spelling | None = None
    ) -> None:
        self.root = root
        self._disk = Disk(root)
        self.problems: dict[str, str] = {}
        self._ignore = ignore
        self._max_file_bytes = max_file_bytes
        self._spelling = spelling or Spelling(root)
        self._tree = Tree()
        self._signatures: dict[str, Signature | None] = {}
        self._restless: dict[str, tuple[str, bytes]] = {}  # by path: digest and content; it changed meanwhile
        self._ahead: dict[str, Reading] = {}  # by path: large files that were hashed before their turn
        self._set_back: dict[str, Signature | None] = {}  # by path: how it was here, not in the workspace; None: not

    def __contains__(self, path: str) -> bool:
        """Whether a path, or something inside it, is known."""
        return path in self._tree or self._tree.has_below(path)

    def __len__(self) -> int:
        return len(self._tree)

    @property
    def num_files(self) -> int:
        """Regular files and links."""
        return len(self._tree) - self._tree.num_directories

    def entries(self) -> list[Entry]:
        """All that the workspace is to hold, sorted by path."""
        return list(self._tree)

    def digest(self) -> str:
        """Name the whole tree, see `hotloop.changes.tree_digest`."""
        return self._tree.digest()

    # --- between runs

    def load(self, path: Path) -> None:
        """Take over what an earlier run knew; nothing happens if it can't be read."""
        if known := index_file.read(path, self.root):
            self._tree = Tree(entry for entry, _ in known)
            for entry, _ in known:
                self._spelling.note(entry.path)
            self._signatures = {entry.path: signature for entry, signature in known}

    def save(self, path: Path) -> None:
        """Keep what is known for the next run."""
        index_file.write(path, self.root, ((entry, self._signatures.get(entry.path)) for entry in self._tree))

    # --- scans

    def differences(self) -> list[str]:
        """Paths that are not as they are known, by their stat alone; sorted. Reads no file."""
        found: set[str] = set()
        seen: set[str] = set()
        for path in self._ignore.leaves():
            seen.add(path)
            if self._stat_differs(path):
                found.add(path)
        found.update(path for path in self._tree.below("") if path not in seen and not self._is_set_back(path, None))
        return sorted(found)

    def refresh(self) -> list[str]:
        """Bring the index up to date with the disk, keeping no content in memory; for before the first sync.

        Returns:
            The paths that had changed.
        """
        paths = self.differences()
        self._ignore.trust(paths)
        self._collect(paths, keep_contents=False)
        return paths

    def _stat_differs(self, path: str) -> bool:
        status = self._disk.status(path)
        if path in self._set_back:
            return not self._is_set_back(path, status)
        if status is None:
            return True
        if stat.S_ISDIR(status.st_mode):
            return not isinstance(self._tree.get(path), MakeDirectory) and not self._tree.has_below(path)
        return self._signatures.get(path) != signature_of(status) and path not in self.problems

    # --- contents for the first sync

    def read(self, put: Put) -> bytes | None:
        """A file's content; None if it is another by now: the index has it then."""
        reading = self._disk.read(put.path)
        if reading is not None and reading.digest == put.digest:
            return reading.content
        if (restless := self._restless.get(put.path)) is not None and restless[0] == put.digest:
            return restless[1]
        self._set_back.pop(put.path, None)
        self._keep([put.path])
        return None

    def read_block(self, put: Put, offset: int, num_bytes: int) -> bytes | None:
        """A piece of a large file; None if it is another by now: the index has it then."""
        if self._tree.get(put.path) == put:
            block = self._disk.read_block(put.path, self._signatures.get(put.path), offset, num_bytes)
            if block is not None:
                return block
        self._set_back.pop(put.path, None)
        self._collect([put.path], keep_contents=False)
        return None

    def look_again(self) -> None:
        """Find what changed since the project was looked at, for another attempt to copy it.

        Files that changed while they were copied are kept as they are now: one that is written all the time can be copied.
        """
        restless = set(self._restless)
        paths = self.differences()
        self._ignore.trust(paths)
        self._collect([path for path in paths if path not in restless], keep_contents=False)
        self._keep(restless)

    def _keep(self, paths: Iterable[str]) -> None:
        contents = self._collect(paths, keep_contents=True).contents
        for path in paths:
            entry = self._tree.get(path)
            if isinstance(entry, Put) and entry.digest in contents:
                self._restless[path] = entry.digest, contents[entry.digest]

    # --- large files

    def large(self, paths: Iterable[str]) -> list[str]:
        """Those of these files that take long to hash, and have changed as far as their stat tells."""
        return [path for path in paths if is_utf8(path) and self._is_large(path)]

    def hash_ahead(self, paths: Iterable[str]) -> None:
        """Hash large files, which the next `snapshot` of them need not do if they stay as they are.

        This alone may run in another thread, beside all else.
        """
        for path in paths:
            with contextlib.suppress(OSError):  # whoever looks next says so
                reading = self._disk.read(path)
                if reading is not None and reading.content is None:
                    self._ahead[path] = reading

    def _is_large(self, path: str) -> bool:
        status = self._disk.status(path)
        return (
            status is not None
            and stat.S_ISREG(status.st_mode)
            and HASHED_AHEAD_BYTES < status.st_size <= self._max_file_bytes
            and self._signatures.get(path) != signature_of(status)
            and not self._ignore.is_ignored(path)
        )

    # --- snapshots

    def snapshot(self, paths: Iterable[str]) -> Snapshot | None:
        """Read paths as they are now and say what changed since they were last read; None if nothing did.

        The index takes the changes over. If they are refused, give the snapshot to `revert`.
        """
        num_known = self.num_files
        self._restless.clear()
        return snapshot_of(self._collect(paths, keep_contents=True), num_known, time.time())

    def revert(self, snapshot: Snapshot) -> None:
        """Know again what was known before a snapshot: the workspace did not take it."""
        for path, known in snapshot.before.items():
            self._forget(path)
            if known is not None:
                self._know(known.entry, known.signature)

    # --- what the workspace has otherwise than this disk

    def has_content(self, digest: str) -> bool:
        """Whether the workspace has a file with this content."""
        return any(isinstance(entry, Put) and entry.digest == digest for entry in self._tree)

    def set_back(self, target: Mapping[str, Entry | None], contents: dict[str, bytes]) -> Snapshot:
        """Make a changeset that gives paths of the workspace another content than they have here.

        Only a newer save of such a path is sent, never what it holds here already; the next run starts from the disk.
        The index takes the changes over, as in `snapshot`.

        Args:
            target: What each path is to be; None for nothing.
            contents: By digest: those that the workspace does not have.
        """
        old, num_known = Tree(self._tree), self.num_files
        before = {path: self._known(path) for path in target}
        here = {
            path: self._set_back.get(path, self._signatures.get(path))
            for path in target
            if not any(isinstance(entry, MakeDirectory) for entry in (self._tree.get(path), target[path]))
        }
        for path in target:
            self._forget(path)
        for entry in target.values():
            if entry is not None:
                self._know(entry, None)
        self._set_back.update(here)
        operations = tuple(changes_between(old, self._tree))
        return given_back(operations, contents, before, num_known, time.time())

    def _is_set_back(self, path: str, status: os.stat_result | None) -> bool:
        """Whether the workspace has a path otherwise on purpose: nobody saved it since."""
        is_same = self._set_back.get(path) == (signature_of(status) if status is not None else None)
        return path in self._set_back and is_same

    def _collect(self, paths: Iterable[str], *, keep_contents: bool) -> Draft:
        draft = Draft()
        for path in sorted(set(paths)):
            self._look(path, draft, keep_contents=keep_contents)
        self._close_folders(draft)
        return draft

    def _look(self, path: str, draft: Draft, *, keep_contents: bool) -> None:
        if not is_utf8(path):
            self.problems[path.encode("utf-8", "replace").decode()] = "its name is not UTF-8"
            return
        status = self._disk.status(path)
        if status is not None and not self._takes_name(path, draft):  # before the rules: they know listed names alone
            return
        is_new = path not in self._tree or path in self._ignore.outputs
        if status is None or (is_new and self._ignore.is_ignored(path)):
            self._drop(path, draft)
        elif stat.S_ISDIR(status.st_mode):
            self._look_into(path, draft, keep_contents=keep_contents)
        else:
            for below in self._tree.below(path):  # it was a folder
                self._delete(below, draft)
            if self._tree.has_below(path) or any(item.startswith(path + "/") for item in draft.deleted):
                draft.deleted.add(path)
            self._look_at(path, status, draft, keep_contents=keep_contents)

    def _look_into(self, path: str, draft: Draft, *, keep_contents: bool) -> None:
        self._note_obstacle(path)
        if isinstance(self._tree.get(path), Put | Link):  # it was a file
            self._delete(path, draft)
        files = self._ignore.leaves(path)
        for below in set(self._tree.below(path)) - set(files):
            if not self._is_set_back(below, self._disk.status(below)):
                self._delete(below, draft)
        for below in files:
            status = self._disk.status(below)
            if status is not None and stat.S_ISDIR(status.st_mode):
                self._look_at_empty(below, draft)
            elif status is not None:
                self._look_at(below, status, draft, keep_contents=keep_contents)
            else:
                self._drop(below, draft)
        if not files and path:
            self._look_at_empty(path, draft)

    def _look_at_empty(self, path: str, draft: Draft) -> None:
        self._note_obstacle(path)
        if not self._tree.has_below(path):  # else what is in it was deleted here, and put back in the workspace
            self._make(MakeDirectory(path), None, draft)

    def _look_at(self, path: str, status: os.stat_result, draft: Draft, *, keep_contents: bool) -> None:
        self.problems.pop(path, None)
        if self._is_set_back(path, status) or not self._takes_name(path, draft):
            return
        try:
            self._observe(path, status, draft, keep_contents=keep_contents)
        except FileNotFoundError:
            self._drop(path, draft)
        except OSError as error:
            self._refuse(path, f"it can't be read ({error.strerror})", draft)
        except PathRefusedError as error:
            self._refuse(path, error.why, draft)

    def _takes_name(self, path: str, draft: Draft) -> bool:
        """Whether a path that is there is called so, or is another one's file in a spelling of its own."""
        other = self._spelling.other(path)
        if other is None:
            return True
        if self._spelling.is_listed(path):
            if not self._spelling.is_listed(other):  # it was renamed; else the file system tells these two apart
                self._drop(other, draft)
            return True
        if path not in draft.deleted:
            self._refuse(path, f"this file system takes it and {other} for one file", draft)
        return False

    def _observe(self, path: str, status: os.stat_result, draft: Draft, *, keep_contents: bool) -> None:
        if stat.S_ISLNK(status.st_mode):
            target = os.fspath((self.root / path).readlink())
            check_link(path, target)
            self._make(Link(path, target), status, draft)
        elif not stat.S_ISREG(status.st_mode):
            self._refuse(path, "it is neither a file, a folder nor a link", draft)
        elif status.st_size > self._max_file_bytes:
            size_mib, limit_mib = status.st_size >> 20, self._max_file_bytes >> 20
            self._refuse(path, f"it has {size_mib} MiB, more than the limit of {limit_mib} MiB", draft)
        else:
            self._observe_file(path, draft, keep_contents=keep_contents)

    def _observe_file(self, path: str, draft: Draft, *, keep_contents: bool) -> None:
        read = self._ahead.pop(path, None)
        if read is None or self._disk.has_changed(path, read.status):
            read = self._disk.read(path)
        if read is None:
            self._drop(path, draft)
            return
        put = Put(path, read.digest, read.size_bytes, bool(read.status.st_mode & stat.S_IXUSR))
        if self._make(put, read.status, draft) and keep_contents:
            draft.newest_ns = max(draft.newest_ns, read.status.st_mtime_ns)
            if read.content is not None:
                draft.contents[put.digest] = read.content

    def _note_obstacle(self, path: str) -> None:
        if obstacle := self._disk.obstacle(path):
            self.problems[path] = f"it can't be read ({obstacle})"
        else:
            self.problems.pop(path, None)

    def _refuse(self, path: str, why: str, draft: Draft) -> None:
        self.problems[path] = why
        self._delete(path, draft)

    # --- the index itself

    def _make(self, entry: Entry, status: os.stat_result | None, draft: Draft) -> bool:
        """Know an entry; returns whether it is another than before."""
        old = self._known(entry.path)
        self._signatures[entry.path] = signature_of(status) if status is not None else None
        self._set_back.pop(entry.path, None)
        if old is not None and old.entry == entry and entry.path not in draft.deleted:
            return False
        for above in ancestors(entry.path):
            if isinstance(self._tree.get(above), MakeDirectory):
                draft.before.setdefault(above, self._known(above))
        draft.before.setdefault(entry.path, old)
        draft.made[entry.path] = entry
        self._tree.put(entry)
        self._spelling.note(entry.path)
        return True

    def _drop(self, path: str, draft: Draft) -> None:
        """A path is gone, with all that was inside, or can't be looked at."""
        self._note_obstacle(path)
        inside = self._tree.below(path)
        for below in (*inside, path):
            if not self._is_set_back(below, self._disk.status(below)):
                self._delete(below, draft)
        if inside and not self._tree.has_below(path):
            draft.deleted.add(path)

    def _delete(self, path: str, draft: Draft) -> None:
        if path in self._tree:
            draft.before.setdefault(path, self._known(path))
            draft.deleted.add(path)
            draft.made.pop(path, None)
            self._forget(path)

    def _close_folders(self, draft: Draft) -> None:
        """Folders that went with their last file go too; those that stay empty are kept."""
        for path in list(draft.deleted):
            for above in ancestors(path):
                status = self._disk.status(above)
                if self._tree.has_below(above) or above in self._tree:
                    break
                if status is None or not stat.S_ISDIR(status.st_mode) or not self._spelling.is_listed(above):
                    draft.deleted.add(above)
                elif not self._ignore.is_ignored(above):
                    self._make(MakeDirectory(above), None, draft)
                    break

    def _known(self, path: str) -> Known | None:
        entry = self._tree.get(path)
        return Known(entry, self._signatures.get(path)) if entry is not None else None

    def _know(self, entry: Entry, signature: Signature | None) -> None:
        self._tree.put(entry)
        self._spelling.note(entry.path)
        self._signatures[entry.path] = signature

    def _forget(self, path: str) -> None:
        self._tree.discard(path)
        self._spelling.forget(path)
        self._signatures.pop(path, None)
        self._set_back.pop(path, None)
