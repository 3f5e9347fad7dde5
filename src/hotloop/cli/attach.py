"""`hotloop attach`: a running session in another terminal or a browser, without holding it."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hotloop.cli.on import On, way_to_onlook
from hotloop.cli.ui import Ui, Wanted, check_looks, chosen, is_in_browser

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from hotloop.cli.summary import Tally
    from hotloop.events import Event
    from hotloop.remote_runner.way import Way
    from hotloop.tui.feed import Feed


def attach(
    path: Annotated[Path, typer.Argument(help="The project's folder.", show_default="this folder")] = Path(),
    on: On = None,
    ui: Wanted = None,
    json: Annotated[bool, typer.Option("--json", help="Print each event as a JSON object, one a line.")] = False,
) -> None:
    """Show what a running session does. Ctrl-C leaves it running."""
    import asyncio

    from hotloop import config
    from hotloop.cli.summary import Tally

    project = config.find_project(path)
    tally = Tally()
    shown = chosen(ui, json, config.load(project).ui)
    check_looks(shown, project)
    match shown:
        case Ui.JSON:
            _print_json(project, on)
        case Ui.WEB:
            asyncio.run(_serve_web(project, on))
        case Ui.TUI:
            code = _draw(project, on, tally)
            if code:
                raise typer.Exit(code)
        case _:
            asyncio.run(_print(project, on, tally))
    if not is_in_browser():
        for line in tally.lines(""):
            print(line, file=sys.stderr)


def _print_json(project: Path, on: str | None) -> None:
    import asyncio

    from hotloop.cli.json_lines import JsonLines

    lines = JsonLines(sys.stdout)
    try:
        asyncio.run(_follow(way_to_onlook(project, on), project, lines, is_said=False))
    finally:
        lines.close()


async def _print(project: Path, on: str | None, tally: Tally) -> None:
    """Print as `dev serve` does."""
    from hotloop.cli.plain import Plain, PlainConsole
    from hotloop.devloop.onlooking import Narrator

    way = way_to_onlook(project, on)
    plain, narrator = Plain(PlainConsole(sys.stdout), project, is_starting=False), Narrator(way.name)

    def show(event: Event) -> None:
        for told in narrator.tell(event):
            plain(told)
            tally(told)

    await _follow(way, project, show, is_said=True)


async def _follow(way: Way, project: Path, show: Callable[[Event], None], *, is_said: bool) -> None:
    from hotloop.remote_runner import onlooker
    from hotloop.remote_runner.way import NoAgentError

    session = await find(way, project)
    if is_said:
        print(head(session, way.name), flush=True)
    with contextlib.suppress(NoAgentError):  # it ended with its last session
        async for _, event in onlooker.follow(way, session["project_id"]):
            show(event)
    if is_said:
        print("the session ended", flush=True)


def _draw(project: Path, on: str | None, tally: Tally) -> int:
    """Open the dashboard; go on with plain lines if that is asked for in it. Returns the exit code."""
    import asyncio

    from hotloop.cli.showing import crashes_file
    from hotloop.tui import running
    from hotloop.tui.exits import Exit

    async def show() -> int:
        async with _feed(project, on) as feed:
            tapped = _Tapped(feed, tally)
            return await running.run(tapped, project=project, log=None, crashes=crashes_file(), is_attached=True)

    code = asyncio.run(show())
    if code == Exit.PLAIN:
        asyncio.run(_print(project, on, tally))
    elif code != Exit.CLOSED:
        print(f"hotloop: the dashboard crashed; its traceback is in {crashes_file()}", file=sys.stderr)
        return 1
    return 0


@contextlib.asynccontextmanager
async def _feed(project: Path, on: str | None) -> AsyncGenerator[Feed]:
    """Reach the session: through the `dev serve` here that holds it, else through its agent."""
    from hotloop.devloop import control
    from hotloop.devloop.attached import attached
    from hotloop.devloop.onlooking import OnlookerFeed

    state = control.state_folder()
    for role in ("serve", "run"):
        socket = control.control_path(state, control.project_id(project, role=role))
        if on is None and control.ask(socket, {"name": "status"}) is not None:
            async with attached(socket) as feed:
                yield feed
            return
    way = way_to_onlook(project, on)
    yield OnlookerFeed(way, await find(way, project))


class _Tapped:
    """A feed whose events are listened to, for the summary."""

    def __init__(self, feed: Feed, take: Callable[[Event], None]) -> None:
        self._feed = feed
        self._take = take
        self.ask = feed.ask

    async def events(self) -> AsyncIterator[Event]:
        async for event in self._feed.events():
            self._take(event)
            yield event


async def _serve_web(project: Path, on: str | None) -> None:
    from hotloop.cli.web import tab_command
    from hotloop.tui import web

    await web.serve(
        tab_command(project, on), f"hotloop {project.name}", lambda url: print(f"dashboard {url}", flush=True)
    )


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
    from hotloop.cli.status import held, serving

    return f"{session['project']}  {serving(session, runner)}, revision {session['revision']}; {held(session)}"
