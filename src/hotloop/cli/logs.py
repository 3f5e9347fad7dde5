"""`hotloop logs`: what the app wrote, wherever it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hotloop.cli.exec import ProjectOption
from hotloop.cli.on import On


def logs(
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with what is written from now on.")] = False,
    since: Annotated[
        str, typer.Option("--since", metavar="TIME", help="Only what is newer: 10m, 14:05, '2026-05-04 14:05'.")
    ] = "",
    json: Annotated[bool, typer.Option("--json", help="Print each line as its JSON event.")] = False,
    on: On = None,
    project: ProjectOption = Path(),
) -> None:
    """Print what the app wrote, with the generation that wrote it; also after dev serve ended."""
    from hotloop.cli.beside_app import print_logs

    print_logs(project, on, since, is_following=follow, is_json=json)
