"""Changes of a project's tree: operations, changesets, revisions. Knows no files and no network."""

from __future__ import annotations

from hashlib import sha256

from hotloop.frozen import frozen

MAX_FILE_BYTES = 8 << 30  # of one synced file: checkpoints are this large
WHOLE_BYTES = 1 << 20  # files up to this size are held in memory, larger ones are read in blocks when they are sent


@frozen
class Put:
    """Write a regular file whole.

    Attributes:
        path: Relative to the project, with ``/``; never absolute, never through ``..``.
        digest: sha256 of the content, 64 hexadecimal digits.
        size_bytes: Length of the content.
        executable: Whether the file's mode is 0755 rather than 0644.
    """

    path: str
    digest: str
    size_bytes: int
    executable: bool = False


@frozen
class Link:
    """Make a symbolic link whose relative target stays inside the project."""

    path: str
    target: str


@frozen
class MakeDirectory:
    """Make a directory, its parents too. Only empty directories need it."""

    path: str


@frozen
class Delete:
    """Remove a file, a link, or a directory that is empty once the changeset's files are gone."""

    path: str


Operation = Put | Link | MakeDirectory | Delete


@frozen
class Changeset:
    """A numbered set of operations, applied whole or not at all.

    Attributes:
        sequence: Counts from 1 in a session, without gaps.
        operations: Deletions first, then what is made.
        contents: The bytes of the distinct digests that a ``Put`` names; not of those that are larger than `WHOLE_BYTES`.
        saved_at_s: Newest write among the files, seconds since 1970.
    """

    sequence: int
    operations: tuple[Operation, ...]
    contents: dict[str, bytes]
    saved_at_s: float


@frozen
class Revision:
    """The state of the workspace after a changeset.

    Attributes:
        number: Grows by one with each changeset that is applied.
        digest: Names the whole tree, see `tree_digest`.
    """

    number: int
    digest: str


def content_digest(content: bytes) -> str:
    """Name content by its sha256, in hexadecimal."""
    return sha256(content).hexdigest()


def tree_digest(entries: dict[str, str]) -> str:
    """Name a whole tree: sha256 over its sorted paths and what each holds.

    Args:
        entries: Path to a content digest, ``link:`` and the target, or ``directory``.
    """
    state = sha256()
    for path in sorted(entries):
        state.update(f"{path}\0{entries[path]}\n".encode("utf-8", "surrogateescape"))
    return state.hexdigest()
