"""What is looked at before a workspace is changed: nothing is changed by halves for a reason that could be seen before."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from hotloop.changes import Delete, Link, MakeDirectory, Operation, Put
from hotloop.errors import WorkspaceError
from hotloop.remote_runner.beneath import PathRefusedError, check_link, components
from hotloop.remote_runner.tree import ancestors

if TYPE_CHECKING:
    from hotloop.remote_runner.beneath import Beneath
    from hotloop.remote_runner.stage import Limits
    from hotloop.remote_runner.tree import Tree


def check_sizes(target: Tree, limits: Limits) -> None:
    """See that a tree is not too large.

    Raises:
        WorkspaceError: It is, or one of its files.
    """
    puts = [entry for entry in target if isinstance(entry, Put)]
    for put in puts:
        if put.size_bytes > limits.file_bytes:
            msg = f"{put.size_bytes >> 20:,} MiB are more than the runner takes ({limits.file_bytes >> 20:,} MiB)"
            raise PathRefusedError(put.path, msg)
    size_bytes = sum(put.size_bytes for put in puts)
    if size_bytes > limits.tree_bytes:
        msg = f"The project has {size_bytes >> 20:,} MiB, the runner takes {limits.tree_bytes >> 20:,}."
        raise WorkspaceError(msg, hint="list what the app does not need in .hotloopignore")


def check_operations(operations: tuple[Operation, ...], beneath: Beneath) -> None:
    """See that a changeset can be applied, as far as its paths go.

    Raises:
        WorkspaceError: It makes a path twice, or one that can't be.
    """
    deleted = {operation.path for operation in operations if isinstance(operation, Delete)}
    checked: set[str] = set()
    made = {operation.path: operation for operation in operations if not isinstance(operation, Delete)}
    if len(made) + sum(isinstance(operation, Delete) for operation in operations) != len(operations):
        msg = "A changeset makes the same path twice."
        raise WorkspaceError(msg, hint="use the same version of hotloop on both sides")
    for operation in operations:
        components(operation.path)
        is_made = not isinstance(operation, Delete)
        if is_made and any(isinstance(made.get(above), Put | Link) for above in ancestors(operation.path)):
            raise PathRefusedError(operation.path, "a folder above it is made a file or a link")
        if isinstance(operation, Link):
            check_link(operation.path, operation.target)
        if is_made:
            _check_above(operation, beneath, deleted, checked)


def _check_above(operation: Operation, beneath: Beneath, deleted: set[str], checked: set[str]) -> None:
    """The folder that will hold the path must be one, writable, and no link, once the deletions are done."""
    is_folder = isinstance(operation, MakeDirectory)
    above = operation.path if is_folder else operation.path.rpartition("/")[0]
    if above in checked or above in deleted or any(ancestor in deleted for ancestor in ancestors(operation.path)):
        return
    checked.add(above)
    try:
        with beneath.parent(f"{operation.path}/x" if is_folder else operation.path) as (fd, _):
            if not os.access(".", os.W_OK | os.X_OK, dir_fd=fd):
                raise PathRefusedError(operation.path, "its folder on the runner is not writable")
    except FileNotFoundError:
        return
