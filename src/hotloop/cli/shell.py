"""`hotloop shell`: a shell where the app runs, in its environment."""

from __future__ import annotations

from pathlib import Path

import typer

from hotloop.cli.exec import ProjectOption
from hotloop.cli.on import On


def shell(on: On = None, project: ProjectOption = Path()) -> None:
    """Open a shell in the workspace, with the app's environment first on PATH."""
    from hotloop.cli.beside_app import run_beside
    from hotloop.devloop.terminal import Terminal

    raise typer.Exit(run_beside(project, on, [], Terminal()))
