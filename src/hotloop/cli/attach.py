"""`hotloop attach`: a running session's events in another terminal, without holding it."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hotloop.cli.on import On, way_to_onlook

if TYPE_CHECKING:
    from collections.abc import Callable

    from hotloop.events import Event
    from hotloop.remote_runner.way import Way


def attach(
    path: Annotated[Path, typer.Argument(help="The project's folder.", show_default="this folder")] = Path(),
    on: On = None,
    json: Annotated[bool, typer.Option("--json", help="Print each event as a JSON object, one a line.")] = False,
) -> None:
    """Show what a running session does, from its last reload on. Ctrl-C leaves it running."""
    import asyncio

    from hotloop import config
    from hotloop.cli.json_lines import JsonLines

    project = config.find_project(path)
    way = way_to_onlook(project, on)
    if json:
        lines = JsonLines(sys.stdout)
        try:
            asyncio.run(_show(way, project, lines, is_json=True))
        finally:
            lines.close()
    else:
        asyncio.run(_show(way, project, _plain(project), is_json=False))


def _plain(project: Path) -> Callable[[Event], None]:
    """Print as `dev serve` does; what a loop adds to the runner's events, such as the diffs of probes, is added here too."""
    from hotloop.cli.plain import Plain, PlainConsole
    from hotloop.devloop import machine

    plain = Plain(PlainConsole(sys.stdout), project, is_starting=False)
    state = machine.State()

    def show(event: Event) -> None:
        nonlocal state
        state, actions = machine.step(state, machine.Happened(event.at_s, event))
        for action in actions:
            if isinstance(action, machine.Emit):
                plain(action.event)

    return show


async def _show(way: Way, project: Path, show: Callable[[Event], None], *, is_json: bool) -> None:
    from hotloop.remote_runner import onlooker
    from hotloop.remote_runner.way import NoAgentError

    session = await find(way, project)
    if not is_json:
        print(head(session, way.name), flush=True)
    with contextlib.suppress(NoAgentError):  # it ended with its last session
        async for _, event in onlooker.follow(way, session["project_id"]):
            show(event)
    if not is_json:
        print("the session ended", flush=True)


async def find(way: Way, project: Path) -> dict[str, Any]:
    """Give what the agent says of a project's session.

    Raises:
        UsageError: None is open.
    """
    from hotloop.devloop import control
    from hotloop.errors import UsageError
    from hotloop.remote_runner import onlooker
    from hotloop.remote_runner.way import NoAgentError

    wanted = [control.project_id(project, role=role) for role in ("serve", "run")]
    sessions: list[dict[str, Any]] = []
    with contextlib.suppress(NoAgentError):
        sessions = (await onlooker.ask(way, "status"))["sessions"]
    for session in sorted(sessions, key=lambda session: session["project_id"] != wanted[0]):
        if session["project_id"] in wanted:
            return session
    msg = f"no session of {project} is open on {way.name}"
    raise UsageError(msg, hint="start one with: dev serve; see all with: hotloop status")


def head(session: dict[str, Any], runner: str) -> str:
    """Say in one line what a session is."""
    from hotloop.cli.status import held, served

    return f"{session['project']}  {served(session, runner)}, revision {session['revision']}; {held(session)}"
