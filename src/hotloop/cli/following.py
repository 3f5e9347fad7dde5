"""A running session seen from here: through the `dev serve` on this machine that holds it, else through its agent."""

from __future__ import annotations

import contextlib
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from hotloop.cli.on import onlooking, runner_for

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from hotloop.devloop.attached import SessionFeed
    from hotloop.remote_runner.way import Way

ROLES = ("serve", "run")


@contextlib.asynccontextmanager
async def held_here(project: Path, on: str | None) -> AsyncGenerator[SessionFeed | None]:
    """Watch the session through the `dev serve` here that holds it; None if none does, or it is on another runner."""
    from hotloop.devloop import control
    from hotloop.devloop.attached import HolderGoneError, attached

    state, feed = control.state_folder(), None
    async with contextlib.AsyncExitStack() as stack:
        for role in ROLES:
            socket = control.control_path(state, control.project_id(project, role=role))
            status = control.ask(socket, {"name": "status"})
            if status is not None and (on is None or status.get("runner") == runner_for(project, on).name):
                with contextlib.suppress(HolderGoneError):  # it ended since it answered
                    feed = await stack.enter_async_context(attached(socket))
                    break
        yield feed


async def find(way: Way, project: Path, *, is_looking: bool = False) -> dict[str, Any]:
    """Give what the agent says of a project's session.

    Args:
        way: To the agent.
        project: Its folder here.
        is_looking: Nothing is changed there: if on another machine none is of this folder, that of the only folder with
            its name is meant, which is another machine's copy of the project.

    Raises:
        UsageError: None is open.
    """
    from hotloop.devloop import control
    from hotloop.errors import UsageError
    from hotloop.remote_runner import onlooker
    from hotloop.remote_runner.runners import LOCAL
    from hotloop.remote_runner.way import NoAgentError

    wanted = [control.project_id(project, role=role) for role in ROLES]
    sessions: list[dict[str, Any]] = []
    with contextlib.suppress(NoAgentError):
        sessions = (await onlooker.ask(way, "status"))["sessions"]
    for session in sorted(sessions, key=lambda session: session["project_id"] != wanted[0]):
        if session["project_id"] in wanted:
            return session
    alike = [session for session in sessions if PurePath(session["project"]).name == project.name]
    if is_looking and way.name != LOCAL and len(alike) == 1:
        return alike[0]
    msg = f"no session of {project} is open on {way.name}"
    raise UsageError(
        msg, hint="start one with: dev serve, or say with --on where it runs; see all with: hotloop status"
    )


@contextlib.asynccontextmanager
async def found(
    project: Path, on: str | None, *, is_looking: bool = False
) -> AsyncGenerator[tuple[Way, dict[str, Any]]]:
    """Give the way to a project's session, and what its agent says of it. Raises as `find`."""
    async with onlooking(project, on) as way:
        yield way, await find(way, project, is_looking=is_looking)
