"""`dev sync`: what is synced and why, and the answer to a loop that waits."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer


def sync(
    why: Annotated[Path | None, typer.Option("--why", metavar="PATH", help="Say why a path is synced or not.")] = None,
    confirm: Annotated[
        bool, typer.Option("--confirm", help="Let dev serve delete what was deleted here, when it waits for that.")
    ] = False,
    project: Annotated[
        Path, typer.Option("--project", help="The project's folder.", show_default="this folder")
    ] = Path(),
) -> None:
    """Explain which files are synced, or confirm a large deletion."""
    from hotloop import config
    from hotloop.errors import UsageError

    root = config.find_project(project)
    if why is not None:
        _explain(root, why)
    elif confirm:
        _confirm(root)
    else:
        msg = "dev sync needs --why PATH or --confirm"
        raise UsageError(msg, hint="dev serve syncs by itself")


def _explain(root: Path, path: Path) -> None:
    from hotloop.devloop.ignore import Ignore
    from hotloop.errors import UsageError

    absolute = Path(os.path.abspath(path))  # noqa: PTH100  links are kept: they are synced as links
    if not absolute.is_relative_to(root):
        msg = f"{absolute} is outside of the project {root}"
        raise UsageError(msg, hint="only what is inside is synced")
    name = absolute.relative_to(root).as_posix()
    if not os.path.lexists(absolute):
        msg = f"{name} is not there"
        raise UsageError(msg, hint="give the path of a file or folder of the project")
    typer.echo(f"{name}: {Ignore(root).explain(name)}")


def _confirm(root: Path) -> None:
    from hotloop.devloop import control
    from hotloop.errors import UsageError

    answer = control.ask(control.control_path(control.state_folder(), control.project_id(root)), {"name": "confirm"})
    if answer is None:
        msg = f"no dev serve runs for {root}"
        raise UsageError(msg, hint="nothing waits, so there is nothing to confirm")
    typer.echo("confirmed" if answer["was_held"] else "nothing was waiting", err=True)
