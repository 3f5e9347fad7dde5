"""The project's tree on the runner: changesets are applied whole or not at all.

What makes it whole: all contents are staged and verified, all paths are checked, one redo record is written, and only
then come the renames. The revision is announced after the last of them. A file that the app wrote is never
overwritten silently: a copy goes to ``kept``.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import stat
import time
from typing import TYPE_CHECKING

from hotloop.changes import Changeset, Delete, Link, MakeDirectory, Operation, Put, content_digest
from hotloop.errors import WorkspaceError
from hotloop.remote_runner.beneath import Beneath, PathRefusedError, status_in
from hotloop.remote_runner.checks import check_operations, check_sizes
from hotloop.remote_runner.ledger import Ledger, Record
from hotloop.remote_runner.outcome import Applied, ContentMissingError, GapError, Kept
from hotloop.remote_runner.renames import replace
from hotloop.remote_runner.stage import Limits, MismatchError, Stage, Staged, signature_of, stream_digest
from hotloop.remote_runner.tree import Tree, changes_between, described

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path


MAX_COPY_BYTES = 1 << 20  # that one part may name
MAX_SEQUENCE = 1 << 60  # a client that begins behind the last one would leave none to those after it


class Workspace:
    """One tree with one writer. ``folder/tree`` is what the app runs in, ``folder/state`` is ours."""

    def __init__(
        self, folder: Path, *, on_step: Callable[[str], None] = lambda _: None, limits: Limits | None = None
    ) -> None:
        """Open it, make it if needed, and finish what a crash cut short.

        Args:
            folder: Belongs to this workspace alone.
            on_step: Called with the name of each step before it is done; tests crash there.
            limits: What a client may put here.

        Raises:
            WorkspaceError: Another process has it.
        """
        self.root = folder / "tree"
        self._state = folder / "state"
        self._on_step = on_step
        self.root.mkdir(parents=True, exist_ok=True)
        (self._state / "stage").mkdir(parents=True, exist_ok=True)
        self._lock_fd = _lock(self._state / "lock")
        self._beneath = Beneath(self.root)
        self._limits = limits or Limits()
        self.stage = Stage(self._state / "stage", self._limits)
        self._last_owner: tuple[Put, ...] = ()  # the base of the last delta, which comes in many parts
        self._ledger = Ledger(self._state)
        self._torn: set[str] = set()  # the paths of changesets of which a part is in place, and that nobody was told of
        self._redo()
        self.stage.clear()

    def close(self) -> None:
        """Let go of the tree; another process may open it."""
        self._ledger.close()
        self.stage.close()
        self._beneath.close()
        os.close(self._lock_fd)

    @property
    def sequence(self) -> int:
        """The newest changeset applied."""
        return self._ledger.sequence

    @property
    def revision(self) -> int:
        """The tree's revision."""
        return self._ledger.revision

    @property
    def is_empty(self) -> bool:
        """Whether it has never held anything, and no content waits for it."""
        return not self.revision and not len(self._ledger.tree) and self.stage.is_empty

    def digest(self) -> str:
        """Name the tree that the changesets made."""
        return self._ledger.tree.digest()

    def manifest(self) -> dict[str, str]:
        """What each path holds, see `hotloop.changes.tree_digest`."""
        return {entry.path: described(entry) for entry in self._ledger.tree}

    # --- changesets

    def apply(self, changeset: Changeset) -> Applied:
        """Apply one changeset, or do nothing if it was applied before.

        Raises:
            GapError: One before it is missing.
            ContentMissingError: It names a content that is not in it and did not come in parts.
            WorkspaceError: It can't be applied; nothing changed.
        """
        if changeset.sequence <= self.sequence:
            return Applied(changeset.sequence, self.revision, time.monotonic(), {})
        if changeset.sequence != self.sequence + 1 or self._torn:
            msg = f"Changeset {changeset.sequence} follows {self.sequence}, one is missing."
            raise GapError(msg)
        contents = {content_digest(content): content for content in changeset.contents.values()}
        return self._apply(changeset.sequence, changeset.operations, contents)

    def missing(self, target: Tree) -> set[str]:
        """The digests whose contents have to come before `become`; what the workspace has itself is staged now.

        Raises:
            WorkspaceError: The tree, or one of its files, is too large for this runner; or a path can't be.
        """
        check_sizes(target, self._limits)
        self._forget_lost()
        wanted = {entry.digest for entry in changes_between(self._ledger.tree, target) if isinstance(entry, Put)}
        wanted = {digest for digest in wanted if not self.stage.has(digest)}
        for entry in self._ledger.tree:
            if isinstance(entry, Put) and entry.digest in wanted and self._stage_own(entry):
                wanted.discard(entry.digest)
        sizes = {
            entry.digest: entry.size_bytes for entry in target if isinstance(entry, Put) and entry.digest in wanted
        }
        self.stage.check_room(sum(sizes.values()))
        return wanted

    def lacks(self, digests: Iterable[str]) -> list[str]:
        """Those of these contents that neither came in parts nor are in the tree."""
        here = {entry.digest for entry in self._ledger.tree if isinstance(entry, Put)}
        return [digest for digest in digests if digest not in here and not self.stage.has(digest)]

    def read_at(self, digest: str, offset: int, num_bytes: int) -> bytes:
        """Read a piece of a file of the tree.

        Raises:
            WorkspaceError: The tree has no such file, or it ends before.
        """
        entry = self._owner(digest)
        if entry is None or not 0 < num_bytes <= MAX_COPY_BYTES or offset >= entry.size_bytes:
            msg = f"A part is to be copied from {digest[:12]}, which no file here has."
            raise MismatchError(msg, hint="save the file again")
        fd = self._beneath.open(entry.path)
        try:
            data = os.pread(fd, num_bytes, offset)
        finally:
            os.close(fd)
        if len(data) != num_bytes:
            msg = f"A part is to be copied from {entry.path!r} at {offset:,}, behind its end."
            raise MismatchError(msg, hint="save the file again")
        return data

    def _owner(self, digest: str) -> Put | None:
        """A file of the tree that has a content, as it was left."""
        for entry in itertools.chain(self._last_owner, self._ledger.tree):
            if isinstance(entry, Put) and entry.digest == digest and self._ledger.tree.get(entry.path) == entry:
                status = self._status(entry.path)
                if status is not None and signature_of(status) == self._ledger.signatures.get(entry.path):
                    self._last_owner = (entry,)
                    return entry
        return None

    def refuse(self, sequence: int) -> None:
        """Use up a changeset's number without a change: those that are under way behind it can be applied.

        Raises:
            OSError: That can't be written; those behind it meet a gap.
        """
        if sequence == self.sequence + 1 and not self._torn:
            record = Record(sequence, self.revision, ())
            self._ledger.begin(record)
            self._ledger.finish(record)

    def become(self, sequence: int, target: Tree) -> Applied:
        """Make the tree equal to the client's; what the app made beside it stays.

        Raises:
            ContentMissingError: `missing` named a content that did not come.
            WorkspaceError: It can't be applied; nothing changed.
        """
        if sequence > MAX_SEQUENCE:
            msg = f"A tree has the number {sequence:,}, and there are none above {MAX_SEQUENCE:,}."
            raise WorkspaceError(msg, hint="use the same version of hotloop on both sides")
        operations = tuple(changes_between(self._ledger.tree, target))
        return self._apply(max(sequence, self.sequence + 1), operations, {})

    def _apply(self, sequence: int, operations: tuple[Operation, ...], contents: dict[str, bytes]) -> Applied:
        check_operations(operations, self._beneath)
        revision = self.revision + bool(operations or self._torn)
        record = Record(sequence, revision, operations)
        try:
            self._on_step("stage")
            self._stage_all(record, contents)
            self._on_step("begin")
            self._ledger.begin(record)
        except BaseException:
            self.stage.discard(list(record.staged.values()))
            raise
        kept = self._commit(record)
        self.stage.forget({operation.digest for operation in operations if isinstance(operation, Put)})
        changed = {item.path: None if isinstance(item, Delete) else described(item) for item in operations}
        if self._torn:
            changed |= self._mend()
        return Applied(sequence, revision, time.monotonic(), changed, tuple(kept))

    def _mend(self) -> dict[str, str | None]:
        """Give what became of the paths of torn changesets, now that the tree is whole; the log does not know of them."""
        with contextlib.suppress(OSError):  # the next start finds what differs
            self._ledger.compact()
        entries = {path: self._ledger.tree.get(path) for path in self._torn}
        self._torn.clear()
        return {path: described(entry) if entry is not None else None for path, entry in entries.items()}

    def _stage_all(self, record: Record, contents: dict[str, bytes]) -> None:
        puts = [operation for operation in record.operations if isinstance(operation, Put)]
        gone = {operation.path for operation in record.operations if isinstance(operation, Delete)}
        uses_left = dict.fromkeys((put.digest for put in puts), 0)
        for put in puts:
            uses_left[put.digest] += 1
        for number, put in enumerate(puts):
            uses_left[put.digest] -= 1
            name = f"{record.sequence}.{number}"
            record.staged[put.path] = name
            staged = self._stage_one(name, put, contents, gone, is_last_use=not uses_left[put.digest])
            record.staged[put.path] = staged.name
            record.signatures[put.path] = staged.signature

    def _stage_one(
        self, name: str, put: Put, contents: dict[str, bytes], gone: set[str], *, is_last_use: bool
    ) -> Staged:
        content = contents.get(put.digest)
        if content is not None:
            return self.stage.write(name, content, executable=put.executable)
        if self.stage.has(put.digest):
            if is_last_use:
                return self.stage.take_part(put.digest, executable=put.executable)
            return self.stage.copy_part(name, put.digest, executable=put.executable)
        return self._stage_moved(name, put, gone)

    def _stage_moved(self, name: str, put: Put, gone: set[str]) -> Staged:
        """Stage what the tree has under another path. A renamed file is not copied: it is linked, then removed there."""
        owner = self._owner(put.digest)
        if owner is not None and owner.path in gone:
            with self._beneath.parent(owner.path) as (fd, source):
                staged = self.stage.link_file(name, fd, source, executable=put.executable)
            gone.discard(owner.path)  # a second path of this content gets a copy
            if staged.signature == self._ledger.signatures.get(owner.path):
                return staged
            self.stage.discard([name])
        elif owner is not None and self._stage_own(owner):
            return self.stage.take_part(put.digest, executable=put.executable)
        msg = f"The content of {put.path!r} ({put.digest[:12]}) did not come."
        raise ContentMissingError(msg)

    # --- the renames

    def _commit(self, record: Record) -> list[Kept]:
        kept: list[Kept] = []
        try:
            for operation in record.operations:
                self._on_step(f"commit {operation.path}")
                if (copy := self._do(operation, record)) is not None:
                    kept.append(copy)
            self._on_step("finish")
            self._ledger.finish(record)
        except (OSError, PathRefusedError) as error:
            # Part of it is in place: the client is made to compare the whole tree.
            self._torn.update(operation.path for operation in record.operations)
            self._ledger.assume(record)
            self.stage.release(record.staged.values())
            msg = f"Changeset {record.sequence} could not be finished: {error}."
            raise GapError(msg) from error
        return kept

    def _do(self, operation: Operation, record: Record) -> Kept | None:
        """Do one operation; gives what it did not overwrite."""
        if isinstance(operation, Put):
            return self._put(operation, record)
        status = self._status(operation.path)
        kept = self._keep_if_written(operation, status, record) if status is not None else None
        match operation:
            case Delete(path):
                self._beneath.remove(path)
            case MakeDirectory(path):
                self._beneath.make_folder(path)
            case Link(path, target):
                self._make_link(path, target, f"{record.sequence}.link")
        return kept

    def _put(self, put: Put, record: Record) -> Kept | None:
        with self._beneath.parent(put.path, create=True) as (fd, name):
            status = status_in(fd, name)
            kept = self._keep_if_written(put, status, record) if status is not None else None
            is_there = status is not None and kept is None
            replace(record.staged[put.path], name, source_fd=self.stage.fd, target_fd=fd, is_there=is_there)
        return kept

    def _make_link(self, path: str, target: str, staged: str) -> None:
        self.stage.discard([staged])
        os.symlink(target, staged, dir_fd=self.stage.fd)
        with self._beneath.parent(path, create=True) as (fd, name):
            os.rename(staged, name, src_dir_fd=self.stage.fd, dst_dir_fd=fd)

    # --- files that the app wrote

    def _keep_if_written(self, operation: Operation, status: os.stat_result, record: Record) -> Kept | None:
        if isinstance(operation, MakeDirectory):
            return None
        if stat.S_ISDIR(status.st_mode):
            return None if isinstance(operation, Delete) else self._keep(operation.path, record)
        if signature_of(status) == self._ledger.signatures.get(operation.path):
            return None
        if not stat.S_ISREG(status.st_mode) or not self._is_precious(operation):
            return None
        return self._keep(operation.path, record)

    def _is_precious(self, operation: Operation) -> bool:
        """Whether a file holds what neither the last changeset put there nor this one brings."""
        known = self._ledger.tree.get(operation.path)
        digest = self._digest_of(operation.path)
        return digest not in {item.digest for item in (known, operation) if isinstance(item, Put)}

    def _keep(self, path: str, record: Record) -> Kept:
        folder = self._state / "kept"
        folder.mkdir(exist_ok=True)
        copy = folder / f"{record.revision}-{path.replace('/', '%2F')[-200:]}"
        with self._beneath.parent(path) as (fd, name):
            os.rename(name, copy, src_dir_fd=fd)
        return Kept(path, copy)

    def _status(self, path: str) -> os.stat_result | None:
        try:
            return self._beneath.status(path)
        except PathRefusedError:  # a file stands where a folder was: this path is not there
            return None

    def _digest_of(self, path: str) -> str:
        try:
            fd = self._beneath.open(path)
        except OSError:
            return ""
        try:
            return stream_digest(fd)
        finally:
            os.close(fd)

    def _forget_lost(self) -> None:
        """Take out of the tree what the app removed or rewrote, so that it is compared as it is."""
        for entry in list(self._ledger.tree):
            status = self._status(entry.path)
            if isinstance(entry, Put) and status is not None and self._is_as_left(entry, status):
                continue
            if not isinstance(entry, Put) and status is not None and _is_kind(entry, status):
                continue
            self._ledger.tree.discard(entry.path)
            self._ledger.signatures.pop(entry.path, None)

    def _is_as_left(self, entry: Put, status: os.stat_result) -> bool:
        if not stat.S_ISREG(status.st_mode):
            return False
        is_same = signature_of(status) == self._ledger.signatures.get(entry.path)
        return is_same or self._digest_of(entry.path) == entry.digest

    def _stage_own(self, entry: Put) -> bool:
        try:
            fd = self._beneath.open(entry.path)
        except (OSError, PathRefusedError):
            return False
        try:
            return self.stage.put_file(entry.digest, fd)
        finally:
            os.close(fd)

    # --- after a crash

    def _redo(self) -> None:
        record = self._ledger.pending
        if record is None:
            return
        for operation in record.operations:
            if not self._is_done(operation, record):
                self._do(operation, record)
        self._ledger.finish(record)
        self.stage.forget({operation.digest for operation in record.operations if isinstance(operation, Put)})

    def _is_done(self, operation: Operation, record: Record) -> bool:
        """A file that is in place, or is not in the stage any more, was renamed: so its path's deletion was done too."""
        name = record.staged.get(operation.path)
        if name is None:
            return False
        status = self._status(operation.path)
        is_in_place = status is not None and signature_of(status) == record.signatures[operation.path]
        return is_in_place or not (self.stage.folder / name).exists()


def _is_kind(entry: Link | MakeDirectory | Put, status: os.stat_result) -> bool:
    is_link = stat.S_ISLNK(status.st_mode)
    return is_link if isinstance(entry, Link) else stat.S_ISDIR(status.st_mode)


def _lock(path: Path) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        msg = f"Another process writes to the workspace {path.parent.parent}."
        raise WorkspaceError(msg, hint="stop the other agent, or use another state folder") from error
    return fd
