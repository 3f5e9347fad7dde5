"""What `dev bench` prints: a table, distributions, ratios; or JSON. Measures nothing."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hotloop.cli import plots
from hotloop.devloop.load import bootstrap, runs
from hotloop.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

    from hotloop.devloop.load.bootstrap import Ratio
    from hotloop.devloop.load.histogram import Histogram
    from hotloop.devloop.load.tally import Tally

PLAIN_WIDTH = 160  # where there is no terminal, nothing is cut off
MAX_PLOT_WIDTH = 72
_RATIOS = ((0.5, "p50"), (0.9, "p90"), (0.99, "p99"))


@frozen
class Row:
    """One line of the table."""

    name: str
    tally: Tally


@frozen
class Comparison:
    """One load at two addresses.

    Attributes:
        names: What the two sides are called.
    """

    load: runs.Load
    rounds: runs.Rounds
    names: tuple[str, str]

    def rows(self) -> list[Row]:
        """Give each side's sum."""
        sides = (runs.merged(self.rounds.ours), runs.merged(self.rounds.theirs))
        return [Row(f"{self.load.name} {name}", tally) for name, tally in zip(self.names, sides, strict=True)]

    def ratios(self) -> dict[str, Ratio | None]:
        """Give first over second, for throughput and times."""
        ours, theirs = self.rounds.ours, self.rounds.theirs
        found = {
            "requests_per_s": bootstrap.ratio(
                [tally.requests_per_s for tally in ours], [tally.requests_per_s for tally in theirs]
            )
        }
        for share, name in _RATIOS:
            found[name] = bootstrap.ratio(_times_s(ours, share), _times_s(theirs, share))
        return found


def _times_s(tallies: Sequence[Tally], share: float) -> list[float]:
    times = [tally.latency.percentile_s(share) for tally in tallies]
    return [0.0 if math.isnan(time_s) else time_s for time_s in times]


# --- for people -----------------------------------------------------------------------------------------------------


def console(out: TextIO) -> Console:
    """Make a console that fits its stream: colours and width of a terminal, else none and wide."""
    return Console(
        file=out, highlight=False, emoji=False, markup=False, width=None if out.isatty() else PLAIN_WIDTH
    )  # fmt: skip


def ramp_for(out: TextIO) -> str:
    """Choose the characters to draw with: blocks on a terminal that can show them."""
    return plots.BLOCKS if out.isatty() and "utf" in (out.encoding or "").lower() else plots.ASCII


def show(rows: Sequence[Row], comparisons: Sequence[Comparison], out: TextIO | None = None) -> None:
    """Print the table, the distributions below it, and what the two sides differ by."""
    stream = out or sys.stdout
    screen = console(stream)
    has_server = any(row.tally.compute.num or row.tally.queue.num or row.tally.batch_sizes for row in rows)
    screen.print(_table(rows, has_server=has_server))
    note = "times in ms" + ("; queue and compute: p50, as the server says" if has_server else "")
    screen.print(Text(note, style="dim"))
    for text in _distributions(rows, screen.width, ramp_for(stream)):
        screen.print(text, no_wrap=True, overflow="crop")
    for comparison in comparisons:
        screen.print()
        for text in _ratio_lines(comparison):
            screen.print(text)
    for text in _error_lines(rows):
        screen.print(text)


def _table(rows: Sequence[Row], *, has_server: bool) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("load", no_wrap=True)
    numbers = ("req/s", "p50", "p90", "p99", "max", "errors", *(("batch", "queue", "compute") if has_server else ()))
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*_cells(row, has_server=has_server))
    return table


def _cells(row: Row, *, has_server: bool) -> list[str | Text]:
    tally = row.tally
    errors = Text(f"{tally.num_errors:,}", style="bold red" if tally.num_errors else "")
    cells: list[str | Text] = [
        row.name,
        f"{tally.requests_per_s:,.0f}" if tally.requests_per_s >= 99.5 else f"{tally.requests_per_s:.1f}",
        *(milliseconds(tally.latency.percentile_s(share)) for share, _ in _RATIOS),
        milliseconds(tally.latency.percentile_s(1)),
        errors,
    ]
    if has_server:
        mean = mean_batch(tally)
        cells.append("-" if mean is None else f"{mean:.1f}")
        cells += [milliseconds(tally.queue.percentile_s(0.5)), milliseconds(tally.compute.percentile_s(0.5))]
    return cells


def milliseconds(seconds: float) -> str:
    """Write a time in milliseconds with three digits; a dash if there is none."""
    if math.isnan(seconds):
        return "-"
    value = seconds * 1000
    digits = 3 if value < 0.0995 else 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:,.{digits}f}"


def mean_batch(tally: Tally) -> float | None:
    """Give the size of the batch that the average request was in; None if the server does not say."""
    num = tally.batch_sizes.total()
    return sum(size * count for size, count in tally.batch_sizes.items()) / num if num else None


def _distributions(rows: Sequence[Row], width: int, ramp: str) -> list[Text]:
    indent = max((len(row.name) for row in rows), default=0) + 2
    axis = plots.axis_of([row.tally.latency for row in rows], min(width - indent, MAX_PLOT_WIDTH))
    if axis is None or axis.width < 10:
        return []
    drawn = [
        Text.assemble(f"{row.name:<{indent}}", (plots.line(row.tally.latency, axis, ramp), "cyan")) for row in rows
    ]
    title = Text("how long requests took", style="bold")
    return [Text(""), title, *drawn, Text(" " * indent + plots.labels(axis), style="dim")]


def _ratio_lines(comparison: Comparison) -> list[Text]:
    ours, theirs = comparison.names
    lines = [Text(f"{comparison.load.name}: {ours} / {theirs}", style="bold")]
    for name, ratio in comparison.ratios().items():
        label = "req/s" if name == "requests_per_s" else name
        if ratio is None:
            lines.append(Text(f"  {label:<6} no round has both"))
            continue
        is_better = (ratio.value > 1) == (name == "requests_per_s")
        style = ("green" if is_better else "red") if ratio.is_clear else ""
        interval = f"(95 %: {ratio.low:.3f} to {ratio.high:.3f}, {ratio.num_rounds} rounds)"
        unclear = "  no clear difference" if ratio.num_rounds >= bootstrap.MIN_CLEAR else "  too few rounds to tell"
        verdict = "" if ratio.is_clear else unclear
        lines.append(Text.assemble(f"  {label:<6} ", (f"{ratio.value:.3f}", style), f" {interval}{verdict}"))
    return lines


def _error_lines(rows: Sequence[Row]) -> list[Text]:
    slow = [row.name for row in rows if not row.tally.latency.num and not row.tally.errors()]
    hint = "no call began and was over in the time that counts: give it more with --duration"
    return [Text.assemble((f"{name}: ", "bold"), hint) for name in slow] + [
        Text.assemble((f"{row.name}: ", "bold"), ", ".join(f"{count:,} {what}" for what, count in found.items()))
        for row in rows
        if (found := row.tally.errors())
    ]


# --- for programs ---------------------------------------------------------------------------------------------------


def as_json(load: runs.Load, tally: Tally) -> dict[str, Any]:
    """Describe one run."""
    sizes = tally.batch_sizes
    return {
        "load": load.name,
        "connections": load.num_connections or None,
        "rate_per_s": load.rate_per_s or None,
        "duration_s": tally.duration_s,
        "requests": tally.num_requests,
        "requests_per_s": round(tally.requests_per_s, 3),
        "latency_ms": _spread(tally.latency),
        "late_ms": _spread(tally.late),
        "queue_ms": _spread(tally.queue),
        "compute_ms": _spread(tally.compute),
        "batch_size": {"mean": round(mean_batch(tally) or 0, 3), "max": max(sizes)} if sizes else None,
        "errors": tally.errors(),
    }


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """Describe a comparison."""
    ours, theirs = (runs.merged(side) for side in (comparison.rounds.ours, comparison.rounds.theirs))
    return {
        **as_json(comparison.load, ours),
        "compared_with": as_json(comparison.load, theirs),
        "ratios": {name: _ratio(ratio) for name, ratio in comparison.ratios().items()},
    }


def _ratio(ratio: Ratio | None) -> dict[str, Any] | None:
    if ratio is None:
        return None
    return {"value": ratio.value, "low": ratio.low, "high": ratio.high, "rounds": ratio.num_rounds}


def _spread(histogram: Histogram) -> dict[str, float] | None:
    if not histogram.num:
        return None
    shares = {name: histogram.percentile_s(share) for share, name in _RATIOS}
    found = {"mean": histogram.mean_s, **shares, "max": histogram.max_s}
    return {name: round(value * 1000, 4) for name, value in found.items()}
