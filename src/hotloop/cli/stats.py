"""`dev stats`: how fast the loop was."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hotloop.devloop.metrics import Spread, Summary, Trip

_SECONDS = {"m": 60, "h": 3600, "d": 86400, "w": 604800}


def stats(
    path: Annotated[Path, typer.Argument(help="The project's folder.", show_default="this folder")] = Path(),
    since: Annotated[str, typer.Option("--since", help="How far back: 30m, 8h, 7d, 4w or all.")] = "7d",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print how long saves took to give feedback, and where the time went."""
    from hotloop import config
    from hotloop.devloop import metrics

    summary = metrics.summarize(_trips(config.find_project(path), since))
    if json:
        _print_json(summary, since)
    else:
        typer.echo("\n".join(summary_lines(summary, since)))


def since_s(text: str, now_s: float) -> float:
    """Turn ``7d`` into a moment, seconds since 1970.

    Raises:
        UsageError: It is written otherwise.
    """
    from hotloop.errors import UsageError

    if text == "all":
        return 0.0
    found = re.fullmatch(r"(\d+)([mhdw])", text)
    if not found:
        msg = f"--since is {text!r}, a number with m, h, d or w was expected, or all"
        raise UsageError(msg, hint="such as: dev stats --since 7d")
    return now_s - int(found[1]) * _SECONDS[found[2]]


def _trips(project: Path, since: str) -> list[Trip]:
    import sqlite3
    import time

    from hotloop.devloop.history import History
    from hotloop.errors import HotloopError

    begin_s = since_s(since, time.time())
    file = project / ".hotloop" / "history.db"
    if not file.exists():
        return []
    try:
        history = History(file)
        try:
            return history.trips(begin_s)
        finally:
            history.close()
    except (sqlite3.Error, OSError) as error:
        msg = f"{file} can't be read: {error}"
        raise HotloopError(msg, hint="move the file away; the next dev serve begins a new one") from error


def _print_json(summary: Summary, since: str) -> None:
    import dataclasses
    import json

    typer.echo(json.dumps({"schema": 1, "since": since, **dataclasses.asdict(summary)}))


def summary_lines(summary: Summary, since: str) -> list[str]:
    """Lay the numbers out; each with how many values it stands on."""
    from hotloop.cli import words

    total = summary.num_ok + summary.num_failed + summary.num_superseded
    if not total and summary.cold is None:
        return [f"no iteration since {since}: run dev serve and save a file"]
    counts = f"{summary.num_ok} ok, {summary.num_failed} failed, {summary.num_superseded} superseded"
    lines = [f"iterations        {total} ({counts})"]
    rows = (
        ("time to feedback", summary.feedback),
        ("time to ready", summary.ready),
        ("time to error", summary.error),
        ("red to green", summary.repairs.spread),
        ("first start", summary.cold),
    )
    lines += [_row(name, spread) for name, spread in rows if spread is not None]
    if summary.phases_p50_s:
        lines.append(f"phases, p50       {words.phases(summary.phases_p50_s)}")
    lines.append(f"models            {summary.num_kept} times kept, {summary.num_loaded} times loaded")
    lines.append(f"waited            {words.duration(summary.waited_s)}")
    if summary.under_1_s_ratio is not None:
        lines.append(f"under 1 s         {summary.under_1_s_ratio:.0%} of the good ones")
    if summary.errors:
        lines.append(f"failures          {', '.join(f'{kind} {number}' for kind, number in summary.errors)}")
    return lines


def _row(name: str, spread: Spread) -> str:
    from hotloop.cli import words

    high = "max" if spread.is_max else "p95"
    return f"{name:<18}p50 {words.duration(spread.p50_s)}, {high} {words.duration(spread.high_s)} (n {spread.n})"
