"""What a whole tree holds, path by path, and the digest that names it. Knows no files.

The client's index and the agent's workspace both keep one, so that equal trees have equal digests on both sides.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from hashlib import sha256
from typing import TYPE_CHECKING

from hotloop.changes import Delete, Link, MakeDirectory, Operation, Put

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Entry = Put | Link | MakeDirectory


def described(entry: Entry) -> str:
    """What `hotloop.changes.tree_digest` hashes for an entry."""
    match entry:
        case Put():
            return entry.digest
        case Link():
            return f"link:{entry.target}"
        case MakeDirectory():
            return "directory"


def ancestors(path: str) -> Iterator[str]:
    """The directories above a path, nearest first, without the root."""
    while (cut := path.rfind("/")) > 0:
        path = path[:cut]
        yield path


class Tree:
    """Entries by path, kept sorted so that the digest after an edit costs one hash and no sort."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._entries: dict[str, Entry] = {entry.path: entry for entry in entries}
        self._order = sorted(self._entries)
        self._lines = {path: _line(entry) for path, entry in self._entries.items()}
        self._directories = {path for path, entry in self._entries.items() if isinstance(entry, MakeDirectory)}

    @property
    def num_directories(self) -> int:
        """Directories that are entries: those with nothing inside."""
        return len(self._directories)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, path: str) -> bool:
        return path in self._entries

    def __iter__(self) -> Iterator[Entry]:
        """All entries, sorted by path."""
        return (self._entries[path] for path in self._order)

    def get(self, path: str) -> Entry | None:
        """The entry of a path, None if there is none."""
        return self._entries.get(path)

    def below(self, path: str) -> list[str]:
        """The paths of all entries inside a directory, sorted. The root is the empty path."""
        if not path:
            return list(self._order)
        first = bisect_left(self._order, path + "/")
        return self._order[first : bisect_left(self._order, path + "0")]  # "0" is what follows "/"

    def has_below(self, path: str) -> bool:
        """Whether a directory has an entry inside."""
        at = bisect_left(self._order, path + "/")
        return at < len(self._order) and self._order[at].startswith(path + "/")

    def apply(self, operations: Iterable[Operation]) -> None:
        """Do what a changeset does. A directory is an entry only while nothing is inside it."""
        for operation in operations:
            if isinstance(operation, Delete):
                self.discard(operation.path)
            elif not (isinstance(operation, MakeDirectory) and self.has_below(operation.path)):
                self.put(operation)

    def put(self, entry: Entry) -> None:
        """Set one entry; the directories above it cease to be empty."""
        for above in ancestors(entry.path):
            if isinstance(self._entries.get(above), MakeDirectory):
                self.discard(above)
        if entry.path not in self._entries:
            insort(self._order, entry.path)
        self._entries[entry.path] = entry
        self._lines[entry.path] = _line(entry)
        (self._directories.add if isinstance(entry, MakeDirectory) else self._directories.discard)(entry.path)

    def discard(self, path: str) -> None:
        """Forget a path, if it is there."""
        if self._entries.pop(path, None) is not None:
            del self._order[bisect_left(self._order, path)]
            del self._lines[path]
            self._directories.discard(path)

    def digest(self) -> str:
        """Name the whole tree, as `hotloop.changes.tree_digest` does."""
        return sha256(b"".join([self._lines[path] for path in self._order])).hexdigest()


def changes_between(old: Tree, new: Tree) -> list[Operation]:
    """The operations that turn one tree into another: deletions first, the deepest first."""
    gone = [entry.path for entry in old if _is_in_the_way(entry, new)]
    emptied = {above for path in gone for above in ancestors(path) if not new.has_below(above) and above not in new}
    deletions: list[Operation] = [Delete(path) for path in sorted({*gone, *emptied}, key=_deepest_first)]
    return deletions + [entry for entry in new if old.get(entry.path) != entry]


def _is_in_the_way(entry: Entry, new: Tree) -> bool:
    if entry.path not in new:
        return not _is_filled(entry, new)
    return isinstance(new.get(entry.path), MakeDirectory) and not isinstance(entry, MakeDirectory)


def _is_filled(entry: Entry, new: Tree) -> bool:
    return isinstance(entry, MakeDirectory) and new.has_below(entry.path)


def _deepest_first(path: str) -> tuple[int, str]:
    return -path.count("/"), path


def _line(entry: Entry) -> bytes:
    return f"{entry.path}\0{described(entry)}\n".encode("utf-8", "surrogateescape")
