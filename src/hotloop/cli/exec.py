"""`hotloop exec`: a command where the app runs, in its environment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hotloop.cli.on import On

ProjectOption = Annotated[Path, typer.Option("--project", help="The project's folder.", show_default="this folder")]


def exec_(
    command: Annotated[list[str], typer.Argument(metavar="COMMAND...", help="What to run, after --.")],
    on: On = None,
    project: ProjectOption = Path(),
) -> None:
    """Run a command in the workspace, with the app's environment first on PATH: dev exec -- python -m pytest."""
    from hotloop.cli.beside_app import run_beside

    raise typer.Exit(run_beside(project, on, command))
