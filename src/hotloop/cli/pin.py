"""`dev pin`: requests that are sent again after every reload."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable


def pin(
    path: Annotated[Path, typer.Argument(help="The project's folder.", show_default="this folder")] = Path(),
    name: Annotated[str, typer.Option("--name", help="What to call it; else METHOD and path.")] = "",
    list_: Annotated[bool, typer.Option("--list", help="Print the names of the pinned requests.")] = False,
    remove: Annotated[str, typer.Option("--remove", metavar="NAME", help="Forget a pinned request.")] = "",
) -> None:
    """Make the last request to the served app a probe: it runs after every reload, and its answers are compared."""
    from hotloop import config
    from hotloop.devloop import control

    project = config.find_project(path)
    socket = control.control_path(control.state_folder(), control.project_id(project))

    def ask(request: dict[str, Any]) -> dict[str, Any] | None:
        return control.ask(socket, request)

    if list_:
        _list(ask, project)
    elif remove:
        _remove(ask, project, remove)
    else:
        _pin(ask, project, name)


def _pinned(ask: Callable[[dict[str, Any]], dict[str, Any] | None], project: Path) -> tuple[list[dict[str, Any]], bool]:
    """The pinned requests, and whether a session has them."""
    from hotloop.devloop import pins

    answer = ask({"name": "pins"})
    if answer is not None:
        return answer["pins"], True
    return pins.load(project / ".hotloop"), False


def _list(ask: Callable[[dict[str, Any]], dict[str, Any] | None], project: Path) -> None:
    for request in _pinned(ask, project)[0]:
        typer.echo(request["name"])


def _remove(ask: Callable[[dict[str, Any]], dict[str, Any] | None], project: Path, name: str) -> None:
    from hotloop.devloop import pins
    from hotloop.errors import UsageError

    requests, is_served = _pinned(ask, project)
    if name not in [request["name"] for request in requests]:
        msg = f"no pinned request is called {name!r}"
        raise UsageError(msg, hint="see their names with: dev pin --list")
    if is_served:
        ask({"name": "unpin", "pin": name})
    else:
        pins.save(project / ".hotloop", [request for request in requests if request["name"] != name])
    typer.echo(f"unpinned {name}", err=True)


def _pin(ask: Callable[[dict[str, Any]], dict[str, Any] | None], project: Path, name: str) -> None:
    from hotloop.errors import UsageError

    answer = ask({"name": "pin", "pin": name})
    if answer is None:
        msg = f"no dev serve runs for {project}, so there is no request to pin"
        raise UsageError(msg, hint="start it in another terminal, send a request, then pin it")
    typer.echo(f"pinned {answer['pinned']}", err=True)
