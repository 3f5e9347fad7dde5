"""What came of a changeset in a workspace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotloop.errors import WorkspaceError
from hotloop.frozen import frozen

if TYPE_CHECKING:
    from pathlib import Path


class GapError(WorkspaceError):
    """A changeset before this one is missing: the whole tree has to be compared."""


class ContentMissingError(WorkspaceError):
    """A changeset names a content that never came."""


@frozen
class Kept:
    """A file that the app wrote on the runner and a changeset replaced; where its copy is."""

    path: str
    copy: Path


@frozen
class Applied:
    """What a changeset did.

    Attributes:
        changed: Path to what it holds now (see `hotloop.changes.tree_digest`), None if it is gone. Empty if the
            changeset had been applied before.
    """

    sequence: int
    revision: int
    applied_at_s: float
    changed: dict[str, str | None]
    kept: tuple[Kept, ...] = ()
