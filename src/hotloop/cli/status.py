"""`hotloop status`: the sessions of a runner, who holds them, and what they keep in memory."""

from __future__ import annotations

import json as json_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hotloop.cli.on import On, onlooking

if TYPE_CHECKING:
    pass


def status(
    on: On = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show the sessions that are open, who holds them, and what memory they take."""
    import asyncio

    runner, answer = asyncio.run(_ask(on))
    if json:
        typer.echo(json_.dumps({"runner": runner, **answer}))
        return
    for line in lines(runner, answer):
        typer.echo(line)


async def _ask(on: str | None) -> tuple[str, dict[str, Any]]:
    from hotloop.remote_runner import onlooker
    from hotloop.remote_runner.way import NoAgentError

    async with onlooking(Path.cwd(), on) as way:
        try:
            return way.name, await onlooker.ask(way, "status")
        except NoAgentError:
            return way.name, {"sessions": []}


def lines(runner: str, answer: dict[str, Any]) -> list[str]:
    """Lay out what an agent answered."""
    from hotloop.devloop import words

    if not answer["sessions"]:
        return [f"{runner}: no session is open"]
    head = f"{runner}: hotloop {answer['version']}, agent {answer['pid']}, up {words.duration(answer['up_s'])}"
    return [head, *(line for session in answer["sessions"] for line in _session(session, runner))]


def _session(session: dict[str, Any], runner: str) -> list[str]:
    from hotloop.devloop import words

    found = [
        f"{session['project']}",
        f"  {serving(session, runner)}, revision {session['revision']}",
        f"  {held(session)}",
    ]
    for model in session["models"]:
        size = words.size(model["size_bytes"]) if model["size_bytes"] else "size unknown"
        found.append(f"  model {model['name']}: {size}, {model['home']}")
    if session["gpu_bytes"]:
        found.append(f"  GPU memory: {words.size(session['gpu_bytes'])}")
    return found + figures(session.get("sample"))


def figures(sample: dict[str, Any] | None) -> list[str]:
    """Say what an app did when it was last looked at, and what it takes; nothing if it never was.

    Args:
        sample: A `RuntimeSampled` as JSON.
    """
    from hotloop.devloop import words

    if sample is None:
        return []
    found = [f"  memory: {words.size(sample['memory_bytes'])}"] if sample["memory_bytes"] else []
    for each in sample["endpoints"]:
        if each["requests_per_s"] or each["num_waiting"] or each["num_running"]:
            slow = f", p95 {words.duration(each['p95_s'])}" if each["p95_s"] is not None else ""
            doing = (
                f"{words.rate(each['requests_per_s'])}, {each['num_waiting']} waiting, {each['num_running']} running"
            )
            found.append(f"  {each['path']}: {doing}{slow}")
    for gauge in sample.get("gauges", ()):  # none from an older runner
        of = f" of {gauge['limit']:,.6g}" if gauge["limit"] is not None else ""
        found.append(f"  {gauge['name']}: {gauge['value']:,.6g}{of}")
    for gpu in sample["gpus"]:
        used, total = words.size(gpu["memory_used_bytes"]), words.size(gpu["memory_total_bytes"])
        busy = f", SM active {gpu['sm_ratio']:.0%}" if gpu["sm_ratio"] is not None else ""
        power = f", {gpu['power_w']:.0f} W" if gpu["power_w"] is not None else ""
        found.append(f"  {gpu['name']}: {used} of {total} used{busy}{power}")
    return found


def serving(session: dict[str, Any], runner: str) -> str:
    """Say what a session serves and where; on another machine the client's address, if it is of this one, is said too."""
    from hotloop.devloop.onlooking import place

    if not session["address"]:
        return "nothing serves"
    where = place(session["address"], runner)
    here = _address_here(session) if where != session["address"] else ""
    return f"generation {session['generation']} at {f'{here} ({where})' if here else where}"


def _address_here(session: dict[str, Any]) -> str:
    """Where the client on this machine that holds a session forwards it; empty if none does."""
    from hotloop.devloop import control
    from hotloop.errors import RunnerError
    from hotloop.remote_runner.who import who_am_i

    if not session["is_held"] or session["holder"] != who_am_i():
        return ""
    try:
        client = control.ask(control.control_path(control.state_folder(), session["project_id"]), {"name": "status"})
    except RunnerError:  # it is busy, or ends
        return ""
    if client is None or client.get("pid") != session["holder_pid"]:
        return ""
    return client.get("address", "")


def held(session: dict[str, Any]) -> str:
    """Say who holds a session, or since when nobody does and when it ends."""
    from hotloop.devloop import words

    who = f"{session['holder']} (pid {session['holder_pid']})"
    if session["is_held"]:
        return f"held by {who} for {words.duration(session['held_s'])}"
    left = max(0.0, session["idle_timeout_s"] - session["idle_s"])
    return f"no client for {words.duration(session['idle_s'])}, last {who}; ends in {words.duration(left)}"
