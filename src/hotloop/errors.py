"""What can go wrong, split by whose doing it is. Knows nothing of terminals."""

from __future__ import annotations


class HotloopError(Exception):
    """A failure to tell the user about: what failed, then what to type next.

    Attributes:
        message: One sentence with the value that failed and what was expected.
        hint: What to do about it, or an empty string.
        exit_code: What the process exits with: 1 the app's or the run's failure, 2 wrong use.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(HotloopError):
    """The user asked for something that can't be: a wrong option, no app, two apps."""

    exit_code = 2


class RunnerError(HotloopError):
    """A runner can't be reached, or its agent failed."""


class DeniedError(RunnerError):
    """The runner does not let this client in: its host key changed, the login failed. Trying again does not help."""


class WorkspaceError(HotloopError):
    """A changeset was refused. The workspace is as it was before."""
