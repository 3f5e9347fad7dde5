"""The report as one HTML file that asks nobody for anything: no script, no font, no picture from elsewhere."""

from __future__ import annotations

import re
from importlib import resources
from typing import TYPE_CHECKING

from hotloop.devloop import advice, pulse, words
from hotloop.devloop.metrics import day_of, percentile
from hotloop.devloop.report import svg
from hotloop.devloop.report.svg import escape
from hotloop.devloop.report.words import axis, share

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hotloop.devloop.advice import Share
    from hotloop.devloop.report.data import Report
    from hotloop.devloop.report.figures import Figures
    from hotloop.devloop.report.tiles import Tile

WIDE, HALF, NARROW = 980, 470, 350
LIMITS_S = (0.1, 1.0, 10.0, 60.0)
# Nothing may be fetched, should something of the user's ever look like a tag after all.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_KINDS = {
    "code": "code alone",
    "model": "a model was loaded",
    "environment": "another environment",
    "cold": "cold restart",
    "failed": "failed",
    "superseded": "overtaken by a newer save",
}


def render(report: Report) -> str:
    """Write the page."""
    css = resources.files("hotloop.devloop.report").joinpath("page.css").read_text(encoding="utf-8")
    cards = [
        _edits(report),
        _waiting(report),
        _pair(_within(report), _felt(report)),
        _pair(_delivery(report), _cost(report)),
    ]
    return "".join((
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(report.title)}</title><style>{css}</style></head><body><main>",
        f'<h1>{escape(report.title)}</h1><p class="about">{prose(report.about + " Written by dev report.")}</p>',
        f'<p class="lead">{prose(" ".join(report.sentences))}</p>',
        f'<div class="tiles">{"".join(_tile(tile) for tile in report.tiles)}</div>',
        *cards,
        f"<footer>{''.join(f'<p>{prose(line)}</p>' for line in (report.method, *report.stored))}</footer>",
        "</main></body></html>\n",
    ))  # fmt: skip


_COMMAND = re.compile(r"\bdev (?:data|pulse|report|serve)\b(?: (?:show|delete|\d|--\w+))?")


def prose(text: str) -> str:
    """Escape a text, with our own commands in it set as code, and counts kept on one line."""
    return _COMMAND.sub(r"<code>\g<0></code>", escape(text)).replace("(n ", "(n\u00a0")


def _tile(tile: Tile) -> str:
    change = f'<p class="change {tile.tone}">{prose(tile.change)}</p>' if tile.change else ""
    return (
        f'<section class="card"><h2>{escape(tile.name)}</h2><p class="figure">{escape(tile.figure)}</p>'
        f'<p class="small">{prose(tile.about)}</p>{change}</section>'
    )


def _card(title: str, about: str, body: str) -> str:
    said = f'<p class="small">{prose(about)}</p>' if about else ""
    return f'<section class="card"><h2>{escape(title)}</h2>{said}{body}</section>'


def _pair(one: str, other: str) -> str:
    return f'<div class="two">{one}{other}</div>'


def _both(wide: str, narrow: str) -> str:
    """A chart in two widths, of which the page shows the one that can be read."""
    return f'<div class="wide">{wide}</div><div class="narrow">{narrow}</div>'


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of plain cells: the first is a row's name, the others are numbers."""
    begin = "".join(
        f'<th scope="col"{" class=n" if number else ""}>{escape(name)}</th>' for number, name in enumerate(head)
    )
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>{"".join(f"<td class=n>{escape(cell)}</td>" for cell in row[1:])}</tr>'
        for row in rows
    )
    header = f"<thead><tr>{begin}</tr></thead>" if head else ""
    return f"<table>{header}<tbody>{body}</tbody></table>"


def _as_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return f"<details><summary>as a table</summary>{_table(head, rows)}</details>"


def _edits(report: Report) -> str:
    title = "Time to feedback, every edit"
    if not report.points:
        return _card(title, "It fills as you save.", "")
    about = (
        "From saving a file to the first output of the new code, on a logarithmic axis. Short bars are medians. Dashed lines: "
        "up to 1 s a train of thought holds, past 10 s attention drifts (Nielsen 1993)."
    )
    charts = _both(svg.feedback(report.points, WIDE), svg.feedback(report.points, NARROW))
    return _card(title, about, f"<figure>{charts}</figure>{_key(report)}{_as_table(*days(report))}")


def _key(report: Report) -> str:
    """Every kind of edit that is on the chart, with how many there are."""
    counts = {kind: sum(svg.kind_of(point) == kind for point in report.points) for kind in _KINDS}
    shown = "".join(
        f'<span><svg class="icon" viewBox="-5 -5 10 10" aria-hidden="true">{svg.mark(kind, 0, 0)}</svg>'
        f"{escape(_KINDS[kind])} (n {number})</span>"
        for kind, number in counts.items()
        if number
    )
    return f'<div class="key">{shown}</div>'


def days(report: Report) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Each day's figures: what they are called, and the rows."""
    by_day: dict[str, list[float]] = {}
    counts: dict[str, list[int]] = {}
    for point in report.points:
        name = day_of(point.saved_at_s)
        by_day.setdefault(name, [])
        both = counts.setdefault(name, [0, 0])
        both[0] += 1
        both[1] += point.outcome == "failed"
        if point.outcome == "ok":
            by_day[name].append(point.feedback_s)
    rows = [
        (
            name,
            f"{counts[name][0]:,}",
            f"{counts[name][1]:,}",
            words.duration(percentile(good, 0.5)) if good else "",
            words.duration(max(good)) if good else "",
        )
        for name, good in by_day.items()
    ]
    return ("Day", "Edits", "Failed", "Median of the good", "Slowest good"), rows


def _waiting(report: Report) -> str:
    title = "Where the waiting went"
    if not report.shares:
        return _card(title, "No edit was waited for.", "")
    largest_s = max(each.waited_s for each in report.shares) or 1.0
    rows = "".join(_share_row(each, largest_s) for each in report.shares)
    head = (
        '<thead><tr><th scope="col">Cause</th><th scope="col" class="n">Edits</th><th scope="col" class="n">Waited</th>'
        '<th class="bar"></th></tr></thead>'
    )
    starts = "".join(
        f'<p class="small">Beside the edits: {escape(each.cause)}.<span class="fix">{escape(each.fix)}</span></p>'
        for each in report.advice
        if each.code == "first_start"
    )
    about = "Each edit counts once, for what took most of its time."
    return _card(title, about, f"<table>{head}<tbody>{rows}</tbody></table>{starts}")


def _share_row(each: Share, largest_s: float) -> str:
    fix = f'<span class="fix">{escape(each.fix)}</span>' if each.fix else ""
    width = max(each.waited_s / largest_s * 100, 1)
    return (
        f'<tr><th scope="row">{escape(each.cause)}{fix}</th><td class="n">{each.num_edits:,}</td>'
        f'<td class="n">{escape(advice.minutes(each.waited_s))}</td>'
        f'<td class="bar"><i style="width:{width:.0f}%"></i></td></tr>'
    )


def _within(report: Report) -> str:
    title = "Within how long?"
    current, previous = report.current, report.previous
    before = previous.feedback_s if previous is not None else ()
    if not current.feedback_s:
        return _card(title, "No good edit yet.", "")
    charts = _both(svg.within(current.feedback_s, before, HALF), svg.within(current.feedback_s, before, NARROW))
    key = f'<span><i class="dash"></i>{escape(_named(current))}</span>'
    if previous is not None and before:
        key += f'<span><i class="dash old"></i>{escape(_named(previous))}</span>'
    body = f'<figure>{charts}</figure><div class="key">{key}</div>{_as_table(*limits(report))}'
    return _card(title, "Share of good edits that came back within a time.", body)


def _named(each: Figures) -> str:
    return f"{each.name} (n {len(each.feedback_s)})"


def limits(report: Report) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The share of good edits within each time: what the columns are called, and the rows."""
    periods = [each for each in (report.current, report.previous) if each is not None and each.feedback_s]
    rows = [(axis(limit_s), *(share(each.within(limit_s) or 0.0) for each in periods)) for limit_s in LIMITS_S]
    return ("Within", *(_named(each) for each in periods)), rows


def _felt(report: Report) -> str:
    title, felt = "Felt and measured", report.felt
    if not felt.answers:
        return _card(title, "No answer yet: dev pulse 4 says how it feels, dev pulse --on has it ask now and then.", "")
    chart = ""
    if any(answer.p50_s for answer in felt.answers):
        wide = svg.felt(felt.answers, HALF, has_trend=felt.has_trend)
        chart = f"<figure>{_both(wide, svg.felt(felt.answers, NARROW, has_trend=felt.has_trend))}</figure>"
    about = "Answers from 1 (no) to 5 (yes) against the median time to feedback of their week."
    few = "" if felt.has_trend else f"Fewer than {pulse.MIN_FOR_TREND} answers: no line is drawn between them. "
    reading = f'<p class="small">{escape(few + felt.reading)}</p>' if few or felt.reading else ""
    return _card(title, about, chart + reading + _as_table(*answers(report)))


def answers(report: Report) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The answers: what the columns are called, and the rows."""
    rows = [
        (
            f"{answer.week} {pulse.TEXTS[answer.item]}",
            str(answer.score),
            f"{words.duration(answer.p50_s)} (n {answer.num_edits})" if answer.p50_s is not None else "no edit",
        )
        for answer in report.felt.answers
    ]
    return ("Question", "Answer", "Median of the week"), rows


def _delivery(report: Report) -> str:
    return _card("Delivery", report.delivery, "")


def _cost(report: Report) -> str:
    if not report.cost:
        return _card("What it cost", "No cost was recorded: the price of the runner is not known.", "")
    return _card("What it cost", "", _table((), report.cost))
