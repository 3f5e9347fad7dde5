"""The report as Markdown, to be pasted where people write to each other."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hotloop.devloop import advice
from hotloop.devloop.report import html
from hotloop.devloop.report.words import harmless

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hotloop.devloop.report.data import Report

MAX_NUMBER = 18  # characters
_SPECIAL = re.compile(r"([\\`*_\[\]<>|#~!])")


def escape(text: str) -> str:
    """Make a text show as itself, on one line."""
    return _SPECIAL.sub(r"\\\1", harmless(text)).replace("&", "&amp;")


def render(report: Report) -> str:
    """Write the page."""
    lines = [f"# {escape(report.title)}", "", escape(report.about), "", escape(" ".join(report.sentences)), ""]
    lines += _table(("", "", ""), [(tile.name, tile.figure, _said(tile.about, tile.change)) for tile in report.tiles])
    if report.points:
        lines += ["## Time to feedback, by day", "", *_table(*html.days(report))]
    if report.shares:
        lines += ["## Where the waiting went", ""]
        rows = [(each.cause, f"{each.num_edits:,}", advice.minutes(each.waited_s), each.fix) for each in report.shares]
        lines += _table(("Cause", "Edits", "Waited", "Fix"), rows)
    lines += [
        f"Beside the edits: {escape(advice.sentence(each))}\n" for each in report.advice if each.code == "first_start"
    ]
    if report.current.feedback_s:
        lines += ["## Within how long?", "", *_table(*html.limits(report))]
    if report.felt.answers:
        lines += ["## Felt and measured", "", *_table(*html.answers(report))]
        lines += [escape(report.felt.reading), ""] if report.felt.reading else []
    lines += ["## Delivery", "", escape(report.delivery), ""]
    if report.cost:
        lines += ["## What it cost", "", *_table(("", ""), report.cost)]
    lines += ["---", *(escape(line) for line in (report.method, *report.stored))]
    return "\n".join(lines) + "\n"


def _said(about: str, change: str) -> str:
    return f"{about}; {change}" if change else about


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Numbers stand at the right; the first column, and what is longer than a number, at the left."""
    known = list(rows)
    is_number = [
        number > 0 and max((len(row[number]) for row in known), default=0) <= MAX_NUMBER for number in range(len(head))
    ]
    lines = [_row(head), f"| {' | '.join('---:' if right else '---' for right in is_number)} |"]
    return [*lines, *(_row(row) for row in known), ""]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(escape(cell) for cell in cells)} |"
