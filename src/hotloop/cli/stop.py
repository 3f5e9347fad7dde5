"""`hotloop stop`: end a project's session, whoever holds it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hotloop.cli.on import On

if TYPE_CHECKING:
    pass


def stop(
    path: Annotated[Path, typer.Argument(help="The project's folder.", show_default="this folder")] = Path(),
    on: On = None,
) -> None:
    """End a running session: its app, its models, its client if it has one."""
    import asyncio

    from hotloop import config
    from hotloop.remote_runner.runners import LOCAL

    project = config.find_project(path)
    runner = asyncio.run(_stop(project, on))
    typer.echo(f"stopped {project}{'' if runner == LOCAL else f' on {runner}'}", err=True)


async def _stop(project: Path, on: str | None) -> str:
    from hotloop.cli.following import found
    from hotloop.remote_runner import onlooker
    from hotloop.remote_runner.who import who_am_i

    async with found(project, on) as (way, session):
        await onlooker.ask(way, "end", project_id=session["project_id"], who=who_am_i())
        return way.name
