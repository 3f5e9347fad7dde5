"""How the app's environment is told: one line while it is made, one when it is there, the cause if it can't be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from hotloop.cli.problems import problem_lines
from hotloop.devloop import wording, words

if TYPE_CHECKING:
    from pathlib import Path

    from hotloop import events

MAX_CHANGES = 6


def progress_line(event: events.EnvironmentProgress) -> Text:
    """Say how far it is."""
    line = Text.assemble(("  environment  ", "yellow"), wording.environment_progress(event))
    if event.doing:
        line.append(f": {words.paths(event.doing)}", style="dim")
    else:
        line.append(f"  {event.source}", style="dim")
    return line


def ready_lines(event: events.EnvironmentReady) -> list[Text]:
    """Say what the app has now, and what became of what it had."""
    about, took = wording.environment_ready(event), wording.made(event)
    lines = [Text.assemble(("  environment  ", "green"), about, (f"  {took}", "dim"))]
    rest = len(event.changes) - MAX_CHANGES
    lines += [Text(f"    {change}", style="dim") for change in event.changes[:MAX_CHANGES]]
    if rest > 0:
        lines.append(Text(f"    and {rest} more", style="dim"))
    if event.overruled:
        lines.append(Text(f"    {event.overruled} is not read: {event.source} comes first", style="dim"))
    return lines


def failed_lines(event: events.EnvironmentFailed, project: Path, generation: int | None) -> list[Text]:
    """Say why there is none, and what goes on."""
    tail = Text(f"  {wording.environment_serving(event, generation)}", style="dim")
    return [*problem_lines(event.problem, project), tail]
