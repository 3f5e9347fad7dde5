"""`hotloop stop`: end a project's session, whoever holds it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hotloop.cli.on import On, way_to_onlook

if TYPE_CHECKING:
    from hotloop.remote_runner.way import Way


def stop(
    path: Annotated[Path, typer.Argument(help="The project's folder.", show_default="this folder")] = Path(),
    on: On = None,
) -> None:
    """End a running session: its app, its models, its client if it has one."""
    import asyncio

    from hotloop import config

    project = config.find_project(path)
    asyncio.run(_stop(way_to_onlook(project, on), project))
    typer.echo(f"stopped {project}", err=True)


async def _stop(way: Way, project: Path) -> None:
    from hotloop.cli.following import find
    from hotloop.remote_runner import onlooker
    from hotloop.remote_runner.client import who_am_i

    session = await find(way, project)
    await onlooker.ask(way, "end", project_id=session["project_id"], who=who_am_i())
