"""`dev report`: the last days in feedback, on one page."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hotloop.devloop.report.data import Kept, Report

BEFORE, NOTHING = "before", "nothing"


def report(
    path: Annotated[Path, typer.Argument(help="The project's folder.", show_default="this folder")] = Path(),
    since: Annotated[str, typer.Option("--since", help="How far back: 30m, 8h, 7d, 4w or all.")] = "7d",
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write one self-contained HTML file.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    md: Annotated[bool, typer.Option("--md", help="Print Markdown.")] = False,
    compare: Annotated[
        str, typer.Option("--compare", metavar="PREV", help="With what: before, nothing, or a file of --json.")
    ] = BEFORE,
) -> None:
    """Show how fast the loop was, where the waiting went, what would help, and how it felt. Nothing leaves this machine."""
    from hotloop import config
    from hotloop.errors import UsageError

    if bool(html) + json + md > 1:
        msg = "--html, --json and --md are three forms of one page"
        raise UsageError(msg, hint="give one of them")
    made = _make(config.find_project(path), since, compare)
    if html is not None:
        _write(html, made)
    elif json:
        from hotloop.devloop.report import document

        typer.echo(document.render(made))
    elif md:
        from hotloop.devloop.report import markdown

        typer.echo(markdown.render(made), nl=False)
    else:
        _print(made)


def _make(project: Path, since: str, compare: str) -> Report:
    from hotloop.cli.stats import since_s
    from hotloop.devloop.report import data, document

    now_s = time.time()
    previous = document.read_figures(Path(compare)) if compare not in {BEFORE, NOTHING} else None
    kept = _kept(project, since_s(since, now_s), now_s)
    return data.make(kept, now_s, previous, is_compared=compare != NOTHING)


def _kept(project: Path, begin_s: float, now_s: float) -> Kept:
    """Read the period and the one before.

    Raises:
        HotloopError: The history can't be read.
    """
    import contextlib

    from hotloop.devloop.answers import Answers
    from hotloop.devloop.control import state_folder
    from hotloop.devloop.history import FILE, History
    from hotloop.devloop.pulse import WEEK_S
    from hotloop.devloop.report.data import Kept
    from hotloop.errors import HotloopError

    file = project / ".hotloop" / FILE
    if not file.exists():
        return Kept(project.name, begin_s, ())
    from_s = max(begin_s - (now_s - begin_s), 0.0)
    try:
        with contextlib.closing(History(file)) as history, contextlib.closing(Answers(file, state_folder())) as answers:
            asked = answers.asked()
            first_s = min([from_s, *(each.at_s - WEEK_S for each in asked[:1])])
            return Kept(project.name, begin_s, tuple(history.trips(first_s)), history.records(from_s), asked)
    except (sqlite3.Error, OSError) as error:
        msg = f"{file} can't be read: {error}"
        raise HotloopError(msg, hint="move the file away; the next dev serve begins a new one") from error


def _write(file: Path, made: Report) -> None:
    """Write the page for this user alone: it says when they worked.

    Raises:
        HotloopError: The file can't be written.
    """
    import os

    from hotloop.devloop.report import html
    from hotloop.errors import HotloopError

    page = html.render(made)
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as out:
            out.write(page)
    except OSError as error:
        msg = f"{file} can't be written: {error.strerror}"
        raise HotloopError(msg, hint="name another file after --html") from error
    typer.echo(f"{file}, {len(page) / 1000:.0f} kB: open it in a browser", err=True)


def _print(made: Report) -> None:
    from rich.console import Console

    from hotloop.devloop.report import terminal

    Console(highlight=False, emoji=False, markup=False).print(terminal.render(made))
