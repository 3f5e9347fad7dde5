"""How the app's environment is told: one line while it is made, one when it is there, the cause if it can't be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from hotloop.cli import words
from hotloop.cli.problems import problem_lines

if TYPE_CHECKING:
    from pathlib import Path

    from hotloop import events

MAX_CHANGES = 6
_PHASES = {
    "wait": "waiting for another session that makes the same",
    "python": "looking for a Python",
    "resolve": "resolving",
    "download": "downloading",
    "build": "building",
    "install": "installing",
}


def progress_line(event: events.EnvironmentProgress) -> Text:
    """Say how far it is."""
    line = Text.assemble(("  environment  ", "yellow"), _PHASES[event.phase])
    if event.phase == "download" and event.total:
        line.append(f" {words.count(event.total, 'large package')}, {words.size(event.size_bytes)}, {event.done} done")
    elif event.phase == "install" and event.total:
        line.append(f" {words.count(event.total, 'package')}")
    if event.doing:
        line.append(f": {words.paths(event.doing)}", style="dim")
    else:
        line.append(f"  {event.source}", style="dim")
    return line


def ready_lines(event: events.EnvironmentReady) -> list[Text]:
    """Say what the app has now, and what became of what it had."""
    took = "made before" if event.was_cached else f"made in {words.duration(event.took_s)}"
    about = f"Python {event.version}, {words.count(event.num_packages, 'package')} from {event.source}"
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
    if not event.serving:
        tail = "there is no environment yet; the next save tries again"
    else:
        serving = f"still serving generation {generation}" if generation is not None else "still"
        tail = f"{serving} with the environment of {event.serving_source}; change what is asked for, or type r, to try again"
    return [*problem_lines(event.problem, project), Text(f"  {tail}", style="dim")]
