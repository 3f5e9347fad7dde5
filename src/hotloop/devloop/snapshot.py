"""What was found to be other than it was known, and the changeset that it makes. Reads nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hotloop.changes import Changeset, Delete, MakeDirectory, Put
from hotloop.frozen import frozen
from hotloop.remote_runner.tree import Entry

if TYPE_CHECKING:
    from hotloop.changes import Operation
    from hotloop.devloop.disk import Signature

OLD_SAVE_S = 10.0  # a file whose last write is older was moved here, not saved now
CLOCK_SLACK_S = 0.01


@frozen
class Snapshot:
    """A changeset read from the disk now, and what it is about.

    Attributes:
        is_estimated: Whether `saved_at_s` can't be the save: nothing was written, or the time is in the future or
            long ago. Take the time when the change was seen instead.
        num_deleted: Files that go.
        num_known: Files that were there before.
    """

    changeset: Changeset
    is_estimated: bool
    num_deleted: int
    num_known: int
    before: dict[str, Known | None] = field(repr=False, compare=False)

    @property
    def saved_at_s(self) -> float:
        """The newest write among its files, seconds since 1970; when it was made, if there is none."""
        return self.changeset.saved_at_s

    @property
    def paths(self) -> tuple[str, ...]:
        """What changed, sorted."""
        return tuple(sorted({operation.path for operation in self.changeset.operations}))

    @property
    def size_bytes(self) -> int:
        """Of all contents, also of those that are read when they are sent."""
        puts = {item.digest: item.size_bytes for item in self.changeset.operations if isinstance(item, Put)}
        return sum(puts.values())


@frozen
class Known:
    """One path as it was last read. No signature: it has to be read again to be sure."""

    entry: Entry
    signature: Signature | None


@dataclass(slots=True)
class Draft:
    """What a snapshot has found so far."""

    deleted: set[str] = field(default_factory=set[str])
    made: dict[str, Entry] = field(default_factory=dict[str, Entry])
    contents: dict[str, bytes] = field(default_factory=dict[str, bytes])
    before: dict[str, Known | None] = field(default_factory=dict[str, "Known | None"])
    newest_ns: int = 0


def snapshot_of(draft: Draft, num_known: int, now_s: float) -> Snapshot | None:
    """Make a changeset of what was found; None if nothing changed.

    Args:
        draft: It.
        num_known: Files that were there before.
        now_s: Seconds since 1970.
    """
    operations = _operations(draft)
    if not operations:
        return None
    saved_at_s = draft.newest_ns / 1e9
    is_estimated = not now_s - OLD_SAVE_S <= saved_at_s <= now_s + CLOCK_SLACK_S
    num_deleted = sum(path in draft.before and path not in draft.made for path in draft.deleted)
    changeset = Changeset(0, operations, draft.contents, saved_at_s or now_s)
    return Snapshot(changeset, is_estimated, num_deleted, num_known, draft.before)


def given_back(
    operations: tuple[Operation, ...],
    contents: dict[str, bytes],
    before: dict[str, Known | None],
    num_known: int,
    now_s: float,
) -> Snapshot:
    """Make a changeset that nobody saved; arguments as of `snapshot_of`."""
    num_deleted = sum(isinstance(operation, Delete) for operation in operations)
    changeset = Changeset(0, operations, contents, now_s)
    return Snapshot(changeset, is_estimated=True, num_deleted=num_deleted, num_known=num_known, before=before)


def _operations(draft: Draft) -> tuple[Operation, ...]:
    """The operations of what was found: deletions first, the deepest first."""
    made = [entry for path, entry in sorted(draft.made.items()) if _is_other(draft.before.get(path), entry)]
    gone = {path for path in draft.deleted if path not in draft.made or _changes_kind(draft, path)}
    deletions: list[Operation] = [Delete(path) for path in sorted(gone, key=lambda path: (-path.count("/"), path))]
    return tuple(deletions + made)


def _is_other(before: Known | None, entry: Entry) -> bool:
    return before is None or before.entry != entry


def _changes_kind(draft: Draft, path: str) -> bool:
    """Whether a folder with something in it became a file, or a file an empty folder: it has to be removed before."""
    if isinstance(draft.made[path], MakeDirectory):
        before = draft.before.get(path)
        return before is not None and not isinstance(before.entry, MakeDirectory)
    return any(item.startswith(path + "/") for item in draft.deleted)
