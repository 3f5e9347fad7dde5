"""`dev demo`: a tour of the chat template."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    path: Annotated[Path, typer.Argument(help="The chat project to use; made if it is not there.")] = Path("demo"),
    python: Annotated[str, typer.Option(help="The interpreter that runs the app.", show_default=False)] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Make .venv without asking.")] = False,
    pause: Annotated[float, typer.Option(min=0, help="Seconds to wait before each edit, to read.")] = 1.0,
) -> None:
    """Take the tour: three edits of a chat app, and what each cost. Your files are put back afterwards."""
    from hotloop.cli import tour

    raise typer.Exit(tour.take(path, python, pause, is_agreed=yes))
