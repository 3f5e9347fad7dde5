"""What a client is told by an agent, as values, and when a change is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotloop.errors import WorkspaceError
from hotloop.frozen import frozen

if TYPE_CHECKING:
    from hotloop import events


class RefusedError(WorkspaceError):
    """A changeset was refused; the workspace is as it was before.

    Attributes:
        path: The file that it was about, empty if it is none's.
    """

    def __init__(self, message: str, *, hint: str = "", path: str = "") -> None:
        super().__init__(message, hint=hint)
        self.path = path


class ResyncError(Exception):
    """The agent can't place the changeset: the whole tree has to be compared."""


@frozen
class SessionInfo:
    """What the agent said when the session was opened.

    Attributes:
        revision: What the workspace holds, 0 if it is new.
        digest: Of the workspace's tree.
        is_running: Whether a runtime runs already: a client left it without `end`.
        last_event: Events up to this number happened before.
        workspace: The tree's folder on the runner.
        seen_event: A client has the events up to this number; without ``after_event`` they are not sent again.
    """

    version: str
    revision: int
    sequence: int
    digest: str
    is_running: bool
    last_event: int
    workspace: str
    seen_event: int


@frozen
class Applied:
    """A changeset is in the workspace.

    Attributes:
        applied_at_s: On this machine's CLOCK_MONOTONIC.
    """

    revision: int
    applied_at_s: float


@frozen
class Started:
    """A runtime runs.

    Attributes:
        was_running: It ran before with this configuration, and goes on.
        last_event: Events up to this number are of a runtime before it.
        ready: Its newest `events.Ready`; None if none was told up to `last_event`.
        failed: The `events.ReloadFailed` after it, likewise.
        started: Its `events.RuntimeStarted`, likewise.
    """

    was_running: bool
    last_event: int
    ready: events.Ready | None = None
    failed: events.ReloadFailed | None = None
    started: events.RuntimeStarted | None = None

    def is_of(self, revision: int) -> bool:
        """Whether this revision serves."""
        return self.ready is not None and self.ready.revision == revision and self.failed is None
