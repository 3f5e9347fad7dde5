"""What `hotloop exec`, `shell` and `logs` have in common: from a project to its session on a runner."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from hotloop import config, events
from hotloop.cli.on import way_beside
from hotloop.cli.plain import PlainConsole, log_line
from hotloop.devloop import command, control, logs
from hotloop.remote_runner.channels import Channels
from hotloop.remote_runner.local import LocalWay

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from pathlib import Path

    from hotloop.devloop.terminal import Terminal

# What another machine's programs need to know of this one's terminal and language, as ssh sends it.
_SENT = ("TERM", "COLORTERM", "NO_COLOR", "LANG")


def run_beside(path: Path, on: str | None, arguments: Sequence[str], terminal: Terminal | None = None) -> int:
    """Run a command beside a project's app. Returns its exit code.

    Raises:
        HotloopError: It can't be run.
    """
    project = config.find_project(path)
    return asyncio.run(_run(project, on, arguments, terminal))


async def _run(project: Path, on: str | None, arguments: Sequence[str], terminal: Terminal | None) -> int:
    async with channels_to(project, on) as channels:
        is_here = channels.runner == LocalWay.name
        environment = dict(os.environ) if is_here else _sent_from(project)
        return await command.run(channels, control.project_id(project), arguments, environment, terminal)


def print_logs(path: Path, on: str | None, since: str, *, is_following: bool, is_json: bool) -> None:
    """Print an app's log lines.

    Raises:
        HotloopError: They can't be had.
    """
    project = config.find_project(path)
    max_age_s = logs.age_of(since, dt.datetime.now().astimezone()) if since else 0.0
    console = PlainConsole(sys.stdout)

    def show(event: dict[str, Any]) -> None:
        if is_json:
            print(json.dumps(event, separators=(",", ":")), flush=True)
            return
        console.print(log_line(events.record_from_json(events.Log, event)), soft_wrap=True)
        sys.stdout.flush()

    def notice(text: str) -> None:
        print(f"hotloop: {text}", file=sys.stderr, flush=True)

    async def run() -> None:
        async with channels_to(project, on) as channels:
            project_id = control.project_id(project)
            await logs.read(channels, project_id, show, notice, max_age_s=max_age_s, is_following=is_following)

    asyncio.run(run())


def _sent_from(project: Path) -> dict[str, str]:
    sent = {name: value for name, value in os.environ.items() if _is_sent(name)}
    return {**sent, **config.passed_variables(config.load(project))}


def _is_sent(name: str) -> bool:
    return name in _SENT or name.startswith("LC_")


@asynccontextmanager
async def channels_to(project: Path, on: str | None) -> AsyncGenerator[Channels]:
    """Reach the runner that was named, or the project's own.

    Raises:
        UsageError: There is no such runner.
    """
    way = way_beside(project, on)
    channels = Channels(way)
    try:
        yield channels
    finally:
        await channels.close()
        await way.close()
