"""The report on a terminal: the same page in Rich, readable without colours, from 60 columns on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.columns import Columns
from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hotloop.devloop import advice
from hotloop.devloop.metrics import day_of
from hotloop.devloop.report import axes, html
from hotloop.devloop.report.words import axis, harmless

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import RenderableType

    from hotloop.devloop.report.data import Point, Report
    from hotloop.devloop.report.tiles import Tile

BAR_WIDTH = 18
TILE_WIDTH = 34
_TONES = {"good": "green", "warning": "yellow", "": "dim"}
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_LEVELS = "▁▂▃▄▅▆▇█"


def render(report: Report) -> RenderableType:
    """Lay the page out."""
    parts: list[RenderableType] = [
        Text(harmless(report.title), style="bold"),
        Text(harmless(report.about), style="dim"),
        Text(),
        Text(harmless(" ".join(report.sentences))),
        Text(),
        Columns([_tile(tile) for tile in report.tiles], equal=True, padding=(0, 2)),
    ]
    if report.points:
        parts += [*_headed("Time to feedback, every edit"), _strip(report.points), _table(*html.days(report))]
    if report.shares:
        parts += [*_headed("Where the waiting went"), _waiting(report)]
    for each in report.advice:
        if each.code == "first_start":
            parts.append(Text(f"Beside the edits: {harmless(advice.sentence(each))}"))
    if report.current.feedback_s:
        parts += [*_headed("Within how long?"), _table(*html.limits(report))]
    parts += _headed("Felt and measured")
    parts += [_table(*html.answers(report))] if report.felt.answers else []
    parts.append(
        Text(harmless(report.felt.reading or report.felt.tile.about), style="" if report.felt.reading else "dim")
    )
    parts += [*_headed("Delivery"), Text(report.delivery, style="dim")]
    if report.cost:
        parts += [*_headed("What it cost"), _table((), report.cost)]
    parts += [Text(), *(Text(line, style="dim") for line in (report.method, *report.stored))]
    return Group(*parts)


def _headed(title: str) -> list[RenderableType]:
    return [Text(), Text(title, style="bold")]


def _tile(tile: Tile) -> RenderableType:
    lines = Text.assemble((tile.name, "dim"), "\n", (tile.figure, "bold"), "\n", (harmless(tile.about), "dim"))
    if tile.change:
        lines.append(f"\n{harmless(tile.change)}", style=_TONES[tile.tone])
    return Padding(_wrapped(lines), (0, 0, 1, 0))


def _wrapped(text: Text) -> Table:
    """A text of a fixed width, so that tiles stand in columns."""
    table = Table.grid()
    table.add_column(width=TILE_WIDTH)
    table.add_row(text)
    return table


def _strip(points: Sequence[Point]) -> Text:
    """Edits in their order, each as high as its time on a logarithmic axis; failed ones are marked ✗."""
    scale = axes.log_axis((point.feedback_s for point in points), 1.0)
    line = Text(f"{axis(scale.low_s)} to {axis(scale.high_s)}, ✗ failed, · overtaken  ", style="dim")
    days = ""
    for point in points:
        if days and day_of(point.saved_at_s) != days:
            line.append(" ")
        days = day_of(point.saved_at_s)
        if point.outcome == "failed":
            line.append("✗", style="red")
        elif point.outcome == "superseded":
            line.append("·", style="dim")
        else:
            level = min(int(scale.at(point.feedback_s) * len(_LEVELS)), len(_LEVELS) - 1)
            line.append(_LEVELS[level], style=_STYLES.get(point.cause, "cyan"))
    return line


_STYLES = {"code": "cyan", "model": "magenta", "environment": "green", "cold": "yellow"}


def _waiting(report: Report) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, expand=False)
    table.add_column("Cause", overflow="fold", ratio=1)
    table.add_column("Edits", justify="right")
    table.add_column("Waited", justify="right", no_wrap=True)
    table.add_column("", width=BAR_WIDTH)
    largest_s = max(each.waited_s for each in report.shares) or 1.0
    for each in report.shares:
        cause = Text(harmless(each.cause))
        if each.fix:
            cause.append(f"\n{harmless(each.fix)}", style="green")
        bar = Text(_bar(each.waited_s / largest_s), style="blue", no_wrap=True)
        table.add_row(cause, f"{each.num_edits:,}", advice.minutes(each.waited_s), bar)
    return table


def _bar(ratio: float) -> str:
    eighths = max(round(ratio * BAR_WIDTH * 8), 1)
    return _EIGHTHS[8] * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    known = list(rows)
    table = Table(box=box.SIMPLE_HEAD if head else None, show_header=bool(head), show_edge=False, pad_edge=False)
    for number in range(len(head or (known[0] if known else ()))):
        table.add_column(head[number] if head else "", justify="right" if number else "left", overflow="fold")
    for row in known:
        table.add_row(*(Text(harmless(cell)) for cell in row))
    return table
