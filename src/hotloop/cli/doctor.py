"""`hotloop runner doctor`: the steps to a runner one by one, each with what to do when it fails."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from hotloop.cli.on import way_to
from hotloop.errors import HotloopError
from hotloop.remote_runner import doctor
from hotloop.remote_runner.doctor import Finding

if TYPE_CHECKING:
    from hotloop.remote_runner.runners import Runner

MARKS = {"ok": "✓", "note": "!", "failed": "✗"}
LABEL_WIDTH = 12


def examine(runner: Runner) -> int:
    """Go through the steps; returns the exit code."""
    return asyncio.run(_examine(runner))


async def _examine(runner: Runner) -> int:
    from hotloop.cli.asking import Terminal
    from hotloop.remote_runner.runners import hosted_way

    told: list[Finding] = []

    def tell(finding: Finding) -> None:
        told.append(finding)
        typer.echo(f"{MARKS[finding.state]} {finding.step:<{LABEL_WIDTH}}{finding.text}")
        if finding.hint:
            typer.echo(f"  {'':<{LABEL_WIDTH}}{finding.hint}")

    way, step = way_to(runner, Path.cwd(), is_starting=False), "connection"
    try:
        if not runner.is_local:
            terminal = Terminal()
            hosted = hosted_way(
                runner, project=Path.cwd(), questions=terminal, note=lambda step, text: tell(Finding(step, text))
            )
            host = await hosted.connect()
            try:
                step = "exec"
                await doctor.look_at_host(host, tell)
            finally:
                await host.close()
        step = "agent"
        await doctor.look_at_agent(way, tell)
    except TimeoutError:
        tell(Finding(step, "no answer in time", "failed", "look at what the machine is busy with"))
    except HotloopError as error:
        tell(Finding.of(step, error))
    finally:
        await way.close()
    return int(any(finding.state == "failed" for finding in told))
