"""When the loop must stop and ask: a project that is gone, or most of it deleted at once. Pure."""

from __future__ import annotations

from hotloop.frozen import frozen

MAX_DELETED_RATIO = 0.5
MIN_DELETED = 5  # below this, half of a project is an ordinary edit


@frozen
class Doubt:
    """Why a change is not sent before the user has said so."""

    reason: str
    hint: str


def doubt_about_deletion(
    num_known: int, num_deleted: int, *, is_root_there: bool = True, is_vcs_operation: bool = False
) -> Doubt | None:
    """Say why a deletion should wait for the user; None if it should not.

    Args:
        num_known: Files the workspace has now.
        num_deleted: How many of them the changeset removes.
        is_root_there: Whether the project's folder exists.
        is_vcs_operation: Whether a checkout, merge or rebase made the change.
    """
    if not num_known:
        return None
    if not is_root_there:
        return Doubt("the project's folder is gone", "bring it back, or stop with Ctrl-C")
    if num_deleted >= num_known:
        return Doubt(f"all {num_known} files are gone", "restore them, or confirm that they are to go")
    if is_vcs_operation or num_deleted < MIN_DELETED or num_deleted <= num_known * MAX_DELETED_RATIO:
        return None
    return Doubt(f"{num_deleted} of {num_known} files were deleted at once", "restore them, or confirm the deletion")
