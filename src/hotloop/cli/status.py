"""`hotloop status`: the sessions of a runner, who holds them, and what they keep in memory."""

from __future__ import annotations

import json as json_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hotloop.cli.on import On, way_to_onlook

if TYPE_CHECKING:
    from hotloop.remote_runner.way import Way


def status(
    on: On = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show the sessions that are open, who holds them, and what memory they take."""
    import asyncio

    way = way_to_onlook(Path.cwd(), on)
    answer = asyncio.run(_ask(way))
    if json:
        typer.echo(json_.dumps({"runner": way.name, **answer}))
        return
    for line in lines(way.name, answer):
        typer.echo(line)


async def _ask(way: Way) -> dict[str, Any]:
    from hotloop.remote_runner import onlooker
    from hotloop.remote_runner.way import NoAgentError

    try:
        return await onlooker.ask(way, "status")
    except NoAgentError:
        return {"sessions": []}


def lines(runner: str, answer: dict[str, Any]) -> list[str]:
    """Lay out what an agent answered."""
    from hotloop.cli import words

    if not answer["sessions"]:
        return [f"{runner}: no session is open"]
    head = f"{runner}: hotloop {answer['version']}, agent {answer['pid']}, up {words.duration(answer['up_s'])}"
    return [head, *(line for session in answer["sessions"] for line in _session(session, runner))]


def served(session: dict[str, Any], runner: str) -> str:
    """Say what serves, and where: only this machine's addresses can be opened here, as `dev serve` forwards others."""
    if not session["address"]:
        return "nothing serves"
    is_here = runner == "local"
    where = session["address"] if is_here else f"port {session['address'].rpartition(':')[2]} there"
    return f"generation {session['generation']} at {where}"


def _session(session: dict[str, Any], runner: str) -> list[str]:
    from hotloop.cli import words

    found = [
        f"{session['project']}",
        f"  {served(session, runner)}, revision {session['revision']}",
        f"  {held(session)}",
    ]
    for model in session["models"]:
        size = words.size(model["size_bytes"]) if model["size_bytes"] else "size unknown"
        found.append(f"  model {model['name']}: {size}, {model['home']}")
    if session["gpu_bytes"]:
        found.append(f"  GPU memory: {words.size(session['gpu_bytes'])}")
    return found


def held(session: dict[str, Any]) -> str:
    """Say who holds a session, or since when nobody does and when it ends."""
    from hotloop.cli import words

    who = f"{session['holder']} (pid {session['holder_pid']})"
    if session["is_held"]:
        return f"held by {who} for {words.duration(session['held_s'])}"
    left = max(0.0, session["idle_timeout_s"] - session["idle_s"])
    return f"no client for {words.duration(session['idle_s'])}, last {who}; ends in {words.duration(left)}"
