"""What was found to be other than it was known, and the changeset that it makes. Reads nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hotloop.changes import Changeset, Delete, MakeDirectory, Put
from hotloop.remote_runner.tree import Entry

if TYPE_CHECKING:
    from hotloop.changes import Operation
    from hotloop.devloop.disk import Signature

OLD_SAVE_S = 10.0  # a file whose last write is older was moved here, not saved now
CLOCK_SLACK_S = 0.01


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A changeset read from the disk now, and what it is about.

    Attributes:
        saved_at_s: The newest write among its files, seconds since 1970; now, if there is none.
        is_estimated: Whether `saved_at_s` can't be the save: nothing was written, or the time is in the future or
            long ago. Take the time when the change was seen instead.
        paths: What changed, sorted.
        size_bytes: Of all contents, also of those that are read when they are sent.
        num_deleted: Files that go.
        num_known: Files that were there before.
    """

    changeset: Changeset
    saved_at_s: float
    is_estimated: bool
    paths: tuple[str, ...]
    size_bytes: int
    num_deleted: int
    num_known: int
    before: dict[str, Known | None] = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
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
    made = Changeset(0, operations, draft.contents, saved_at_s or now_s)
    return _about(made, draft.before, num_deleted, num_known, is_estimated=is_estimated)


def given_back(
    operations: tuple[Operation, ...],
    contents: dict[str, bytes],
    before: dict[str, Known | None],
    num_known: int,
    now_s: float,
) -> Snapshot:
    """Make a changeset that nobody saved; arguments as of `snapshot_of`."""
    num_deleted = sum(isinstance(operation, Delete) for operation in operations)
    return _about(Changeset(0, operations, contents, now_s), before, num_deleted, num_known, is_estimated=True)


def _about(
    changeset: Changeset, before: dict[str, Known | None], num_deleted: int, num_known: int, *, is_estimated: bool
) -> Snapshot:
    sizes = {item.digest: item.size_bytes for item in changeset.operations if isinstance(item, Put)}
    paths = tuple(sorted({operation.path for operation in changeset.operations}))
    return Snapshot(
        changeset, changeset.saved_at_s, is_estimated, paths, sum(sizes.values()), num_deleted, num_known, before
    )


def _operations(draft: Draft) -> tuple[Operation, ...]:
    """The operations of what was found: deletions first, the deepest first."""
    made = [
        entry for path, entry in sorted(draft.made.items()) if draft.before.get(path) is None or _is_other(draft, path)
    ]
    gone = {path for path in draft.deleted if path not in draft.made or _changes_kind(draft, path)}
    deletions: list[Operation] = [Delete(path) for path in sorted(gone, key=lambda path: (-path.count("/"), path))]
    return tuple(deletions + made)


def _is_other(draft: Draft, path: str) -> bool:
    before = draft.before.get(path)
    return before is None or before.entry != draft.made[path]


def _changes_kind(draft: Draft, path: str) -> bool:
    """Whether a folder with something in it became a file, or a file an empty folder: it has to be removed before."""
    if isinstance(draft.made[path], MakeDirectory):
        before = draft.before.get(path)
        return before is not None and not isinstance(before.entry, MakeDirectory)
    return any(item.startswith(path + "/") for item in draft.deleted)
