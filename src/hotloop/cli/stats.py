"""`dev stats`: how fast the loop was, and where the time went."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from hotloop.devloop.history import Bench
    from hotloop.devloop.metrics import Records, Trip

_SECONDS = {"m": 60, "h": 3600, "d": 86400, "w": 604800}


def stats(
    path: Annotated[Path, typer.Argument(help="The project's folder.", show_default="this folder")] = Path(),
    since: Annotated[str, typer.Option("--since", help="How far back: 30m, 8h, 7d, 4w or all.")] = "7d",
    by: Annotated[str, typer.Option("--by", metavar="day|cause", help="A row for each day or cause.")] = "",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print how long saves took to give feedback, and where the time went."""
    from hotloop import config
    from hotloop.cli import stats_lines
    from hotloop.devloop import metrics
    from hotloop.errors import UsageError

    if by not in {"", "day", "cause"}:
        msg = f"--by is {by!r}, day or cause was expected"
        raise UsageError(msg, hint="such as: dev stats --by day")
    trips, records, benches = _kept(config.find_project(path), since)
    summary = metrics.summarize(trips, records)
    if json:
        _print_json(trips, records, benches, since, by)
    elif not trips:
        typer.echo(f"no iteration since {since}: run dev serve and save a file")
    elif by == "day":
        typer.echo("\n".join(stats_lines.days(metrics.by_day(trips, records))))
    elif by == "cause":
        typer.echo("\n".join(stats_lines.causes(summary.causes)))
    else:
        lines = [*stats_lines.summary(summary), *stats_lines.spent(records.costs)]
        lines += [*stats_lines.benches(benches), *stats_lines.advice(trips)]
        lines[1:1] = stats_lines.recent(trips, is_ascii=not _can_print("▁✗·"))
        typer.echo("\n".join(lines))


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
    return max(now_s - int(found[1]) * _SECONDS[found[2]], 0.0)


def _kept(project: Path, since: str) -> tuple[list[Trip], Records, list[Bench]]:
    import time

    from hotloop.devloop import history
    from hotloop.devloop.metrics import Records

    begin_s = since_s(since, time.time())
    with history.reading(project) as kept:
        if kept is None:
            return [], Records(), []
        return kept.trips(begin_s), kept.records(begin_s), kept.benches(begin_s)


def _can_print(text: str) -> bool:
    import sys

    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def _print_json(trips: list[Trip], records: Records, benches: list[Bench], since: str, by: str) -> None:
    import json

    from hotloop.devloop import metrics

    data: dict[str, Any] = {"schema": 1, "since": since, **asdict(metrics.summarize(trips, records))}
    data["costs"] = [asdict(cost) for cost in records.costs]
    data["benches"] = [asdict(bench) for bench in benches]
    if by == "day":
        data["days"] = [{"day": day, **asdict(summary)} for day, summary in metrics.by_day(trips, records)]
    typer.echo(json.dumps(data))
