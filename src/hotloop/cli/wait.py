"""`dev wait`: for scripts and coding agents, which save and want to know how it went."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

RED, TIMED_OUT = 3, 7
GRACE_S = 0.15  # a save that was made just now has been seen by then
POLL_S = 0.05
_OUTCOMES = {"green": ("ok",), "red": ("failed",), "any": ("ok", "failed")}


def wait(
    path: Annotated[Path, typer.Argument(help="The project's folder.", show_default="this folder")] = Path(),
    for_: Annotated[str, typer.Option("--for", metavar="green|red|any", help="What to wait for.")] = "any",
    timeout: Annotated[float, typer.Option("--timeout", metavar="S", min=0, help="How long at most, seconds.")] = 60.0,
    json: Annotated[bool, typer.Option("--json", help="Print the iteration as one JSON object.")] = False,
) -> None:
    """Wait until the saves made so far are served or have failed, and say how it went.

    Exit codes: 0 what was waited for came (of any: it is green), 3 it is red, 7 not in time.
    """
    import json as json_

    from hotloop import config
    from hotloop.devloop import control
    from hotloop.errors import UsageError

    if for_ not in _OUTCOMES:
        msg = f"--for is {for_!r}, green, red or any was expected"
        raise UsageError(msg, hint="such as: dev wait --for green")
    project = config.find_project(path)
    socket = control.control_path(control.state_folder(), control.project_id(project))

    def ask() -> dict[str, Any]:
        answer = control.ask(socket, {"name": "outcome"})
        if answer is None:
            msg = f"no dev serve runs for {project}"
            raise UsageError(msg, hint="start it in another terminal: dev serve")
        return answer

    iteration = _until(ask, _OUTCOMES[for_], timeout)
    if json:
        typer.echo(json_.dumps({"schema": 1, "is_timed_out": iteration is None, "iteration": iteration}))
    else:
        typer.echo(_line(iteration, for_, timeout))
    if iteration is None:
        raise typer.Exit(TIMED_OUT)
    if iteration["outcome"] == "failed" and for_ == "any":
        raise typer.Exit(RED)


def _until(ask: Callable[[], dict[str, Any]], outcomes: tuple[str, ...], timeout_s: float) -> dict[str, Any] | None:
    """Ask until a settled outcome is one of those; None if it was not in time."""
    import time

    until_s = time.monotonic() + timeout_s
    ask()  # whether there is one to ask
    time.sleep(min(GRACE_S, timeout_s))
    while True:
        iteration = ask()["iteration"]
        if iteration is not None and iteration["outcome"] in outcomes:
            return iteration
        if time.monotonic() > until_s:
            return None
        time.sleep(POLL_S)


def _line(iteration: dict[str, Any] | None, wanted: str, timeout_s: float) -> str:
    from hotloop.devloop import words

    if iteration is None:
        what = "outcome" if wanted == "any" else f"{wanted} outcome"
        return f"no {what} within {words.duration(timeout_s)}"
    name = f"#{iteration['number']}" if iteration["number"] else "first start"
    said = f"{name}  {iteration['outcome']}  {words.duration(iteration['feedback_s'])}"
    problem = iteration["problem"]
    if problem is None:
        return said
    where = next((frame for frame in reversed(problem["frames"]) if frame["is_project"]), None)
    place = f"{where['file']}:{where['line']}: " if where is not None else ""
    return f"{said}  {place}{problem['type']}: {problem['message']}"
