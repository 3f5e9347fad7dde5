"""`dev stats`: how fast the loop was."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hotloop.devloop.history import Bench
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

    trips, benches = _kept(config.find_project(path), since)
    summary = metrics.summarize(trips)
    if json:
        _print_json(summary, benches, since)
    else:
        typer.echo("\n".join([*summary_lines(summary, since), *bench_lines(benches)]))


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


def _kept(project: Path, since: str) -> tuple[list[Trip], list[Bench]]:
    import sqlite3
    import time

    from hotloop.devloop.history import History
    from hotloop.errors import HotloopError

    begin_s = since_s(since, time.time())
    file = project / ".hotloop" / "history.db"
    if not file.exists():
        return [], []
    try:
        history = History(file)
        try:
            return history.trips(begin_s), history.benches(begin_s)
        finally:
            history.close()
    except (sqlite3.Error, OSError) as error:
        msg = f"{file} can't be read: {error}"
        raise HotloopError(msg, hint="move the file away; the next dev serve begins a new one") from error


def _print_json(summary: Summary, benches: list[Bench], since: str) -> None:
    import dataclasses
    import json

    kept = [dataclasses.asdict(bench) for bench in benches]
    typer.echo(json.dumps({"schema": 1, "since": since, **dataclasses.asdict(summary), "benches": kept}))


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


def bench_lines(benches: Sequence[Bench]) -> list[str]:
    """Lay out what the benches of each endpoint came to: the first, and where it is now."""
    by_endpoint: dict[str, list[Bench]] = {}
    for bench in benches:
        by_endpoint.setdefault(bench.endpoint, []).append(bench)
    return [
        f"{f'bench {endpoint}':<18}first {_bench(found[0])}; last {_bench(found[-1])} (n {len(found)})"
        for endpoint, found in by_endpoint.items()
    ]


def _bench(bench: Bench) -> str:
    from hotloop.cli import words

    return f"{words.rate(bench.requests_per_s)}, p99 {words.duration(bench.p99_s)}"


def _row(name: str, spread: Spread) -> str:
    from hotloop.cli import words

    high = "max" if spread.is_max else "p95"
    return f"{name:<18}p50 {words.duration(spread.p50_s)}, {high} {words.duration(spread.high_s)} (n {spread.n})"
