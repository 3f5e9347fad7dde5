"""`dev data`: what hotloop keeps of a project on this machine; to see, to hand out, to remove."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hotloop.devloop.data import Stored

Project = Annotated[Path, typer.Argument(help="The project's folder.", show_default="this folder")]

data = typer.Typer(help="See, export or delete what hotloop has measured of a project.", no_args_is_help=True)

PROMISE = (
    "Nothing of it leaves this machine. The history holds no code, no prompts, no outputs and no messages of errors."
)


@data.command()
def show(
    path: Project = Path(), json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False
) -> None:
    """Say what is stored, where, since when, and who can read it."""
    import json as json_
    from dataclasses import asdict

    from hotloop import config
    from hotloop.devloop import control, history
    from hotloop.devloop import data as stored

    project = config.find_project(path)
    folder, state = project / ".hotloop", control.state_folder()
    with history.reading(project) as kept:
        tables = stored.tables(kept) if kept is not None else []
    files = stored.files(folder)
    if json:
        found = {"folder": str(folder), "state_folder": str(state), "leaves_the_machine": False}
        lists = {"files": [asdict(each) for each in files], "tables": [asdict(each) for each in tables]}
        typer.echo(json_.dumps({"schema": 1, **found, **lists}))
        return
    for line in _lines(folder, state, files, tables):
        typer.echo(line)


def _lines(folder: Path, state: Path, files: list[Stored], tables: list[Stored]) -> list[str]:
    from hotloop.devloop import words

    if not files:
        return [f"nothing is stored: there is no {folder}"]
    said = [f"{folder}  only you can read the history, and git ignores the folder"]
    said += [f"  {each.name:<14}{words.size(each.size_bytes or 0):>8}  {each.holds}" for each in files]
    if tables:
        said += ["", "the history's tables"]
        said += [f"  {each.name:<14}{each.num_rows or 0:>8}  {each.holds}{_when(each)}" for each in tables]
    said += [
        "",
        f"{state}  of all projects: sessions, their event logs, synced copies; hotloop stop ends a session",
        "",
    ]
    return [*said, PROMISE, "dev data export writes it to a file, dev data delete removes it"]


def _when(table: Stored) -> str:
    if table.oldest_s is None or table.newest_s is None:
        return ""
    oldest, newest = _day(table.oldest_s), _day(table.newest_s)
    return f" ({oldest})" if oldest == newest else f" ({oldest} to {newest})"


def _day(at_s: float) -> str:
    from hotloop.devloop.metrics.summary import day_of

    return day_of(at_s)


@data.command()
def export(
    target: Annotated[Path, typer.Argument(help="A new file that ends in .json, or a new folder for CSV files.")],
    path: Annotated[Path, typer.Option("--project", help="The project's folder.", show_default="this folder")] = Path(),
) -> None:
    """Write all tables to a JSON file, or to a folder with a CSV file each."""
    from hotloop import config
    from hotloop.devloop import data as stored
    from hotloop.devloop import history
    from hotloop.errors import HotloopError

    with history.reading(config.find_project(path)) as kept:
        if kept is None:
            msg = "nothing was measured in this project yet"
            raise HotloopError(msg, hint="run dev serve and save a file")
        if target.suffix == ".json":
            stored.write_private(target, stored.as_json(kept))
        else:
            files = stored.as_csv(kept)
            _make_folder(target)
            for name, text in files.items():
                stored.write_private(target / f"{name}.csv", text)
    typer.echo(f"wrote {target}", err=True)


def _make_folder(target: Path) -> None:
    from hotloop.errors import HotloopError

    try:
        target.mkdir(mode=0o700)
    except OSError as error:
        msg = f"the folder {target} can't be made: {error.strerror}"
        raise HotloopError(msg, hint="name one that is not there, or a file that ends in .json") from error


@data.command()
def delete(
    path: Project = Path(),
    before: Annotated[str, typer.Option("--before", metavar="DATE", help="Only what is older: 2026-11-26.")] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove what was measured, and the logs of sessions, for good. Pins and settings stay."""
    from hotloop import config
    from hotloop.devloop import data as stored
    from hotloop.devloop import history, words
    from hotloop.errors import UsageError

    before_s = _moment(before) if before else None
    project = config.find_project(path)
    with history.reading(project) as kept:
        if kept is None:
            typer.echo("nothing is stored", err=True)
            return
        what = f"what was measured and logged before {before}" if before else "all that was measured and logged"
        if not yes and not _is_asked():
            msg = f"delete {what}? It can't be undone, and nobody can be asked here"
            raise UsageError(msg, hint="say it with --yes")
        if not yes and not typer.confirm(f"delete {what} in this project? It can't be undone", err=True):
            raise typer.Abort
        count = stored.delete(kept, before_s)
    num_logs = _delete_logs(project / ".hotloop", before_s)
    logs = f" and {words.count(num_logs, 'log')}" if num_logs else ""
    typer.echo(f"deleted {words.count(count, 'row')}{logs}", err=True)


def _delete_logs(folder: Path, before_s: float | None) -> int:
    from hotloop.devloop import data as stored
    from hotloop.errors import HotloopError

    try:
        return stored.delete_logs(folder, before_s)
    except OSError as error:
        msg = f"a log in {folder / stored.LOGS} can't be deleted: {error.strerror}"
        raise HotloopError(msg, hint="remove the folder yourself") from error


def _is_asked() -> bool:
    import sys

    return sys.stdin.isatty() and sys.stderr.isatty()


def _moment(text: str) -> float:
    import datetime as dt

    from hotloop.errors import UsageError

    try:
        return dt.datetime.fromisoformat(text).astimezone().timestamp()
    except ValueError as error:
        msg = f"--before is {text!r}, a date was expected"
        raise UsageError(msg, hint="such as: dev data delete --before 2026-11-26") from error
