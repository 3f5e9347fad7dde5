"""`hotloop attach`: a running session in another terminal or a browser, without holding it."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hotloop.cli.on import On
from hotloop.cli.ui import Ui, Wanted, check_looks, chosen, is_in_browser

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from hotloop.cli.summary import Tally
    from hotloop.events import Event
    from hotloop.tui.feed import Feed


def attach(
    path: Annotated[Path, typer.Argument(help="The project's folder.", show_default="this folder")] = Path(),
    on: On = None,
    ui: Wanted = None,
    json: Annotated[bool, typer.Option("--json", help="Print each event as a JSON object, one a line.")] = False,
) -> None:
    """Show what a running session does. Ctrl-C leaves it running; s goes from the dashboard to plain lines and back."""
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
        case _:
            code = _show(project, on, tally, shown)
            if code:
                raise typer.Exit(code)
    if not is_in_browser():
        for line in tally.lines(""):
            print(line, file=sys.stderr)


def _print_json(project: Path, on: str | None) -> None:
    import asyncio

    from hotloop.cli.attached_lines import print_json
    from hotloop.cli.json_lines import JsonLines

    lines = JsonLines(sys.stdout)
    try:
        asyncio.run(print_json(project, on, lines))
    finally:
        lines.close()


def _show(project: Path, on: str | None, tally: Tally, ui: Ui) -> int:
    """Show the dashboard or plain lines, and the other one as long as `s` is pressed. Returns the exit code."""
    import asyncio

    from hotloop.cli.attached_lines import AttachedLines, Counted, Left
    from hotloop.cli.plain import Plain, PlainConsole
    from hotloop.tui.exits import Exit

    counted = Counted(tally)

    async def lines() -> Left:
        plain = Plain(PlainConsole(sys.stdout), project, is_starting=False)
        return await AttachedLines(project, on, plain, counted).run()

    while True:
        if ui is Ui.TUI:
            code = _draw(project, on, counted)
            if code != Exit.PLAIN:
                return code
        if asyncio.run(lines()) is not Left.DASHBOARD:
            return 0
        ui = Ui.TUI


def _draw(project: Path, on: str | None, take: Callable[[Event], None]) -> int:
    """Open the dashboard. Returns an `Exit`, or 1 after a crash."""
    import asyncio

    from hotloop.cli.showing import crashes_file
    from hotloop.tui import running
    from hotloop.tui.exits import Exit

    async def show() -> int:
        async with _feed(project, on) as feed:
            tapped = _Tapped(feed, take)
            return await running.run(tapped, project=project, log=None, crashes=crashes_file(), is_attached=True)

    code = asyncio.run(show())
    if code not in {Exit.CLOSED, Exit.PLAIN}:
        print(f"hotloop: the dashboard crashed; its traceback is in {crashes_file()}", file=sys.stderr)
        return 1
    return code


@contextlib.asynccontextmanager
async def _feed(project: Path, on: str | None) -> AsyncGenerator[Feed]:
    from hotloop.cli.following import found, held_here
    from hotloop.devloop.onlooking import OnlookerFeed

    async with held_here(project, on) as feed:
        if feed is not None:
            yield feed
            return
    async with found(project, on, is_looking=True) as (way, session):
        yield OnlookerFeed(way, session)


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
