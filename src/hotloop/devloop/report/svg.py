"""The report's charts as inline SVG. Colours are the page's: marks have classes, and shapes of their own beside them."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from hotloop.devloop import words
from hotloop.devloop.metrics import percentile
from hotloop.devloop.report import axes
from hotloop.devloop.report.words import axis as axis_text
from hotloop.devloop.report.words import harmless

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hotloop.devloop.report.axes import Column, LogAxis
    from hotloop.devloop.report.data import Point
    from hotloop.devloop.report.felt import Answer

LEFT, RIGHT, TOP, BOTTOM = 46, 10, 8, 24
MIN_LABEL_WIDTH = 48
MAX_STEPS = 240
CAUSES = ("code", "model", "environment", "cold")
OTHERS = ("failed", "superseded")


def escape(text: str) -> str:
    """Make a text harmless between tags and in attributes."""
    return html.escape(harmless(text), quote=True)


def mark(kind: str, x: float, y: float, title: str = "") -> str:
    """Draw one edit; each kind has a shape of its own."""
    shapes = {
        "code": '<circle r="2.8"/>',
        "model": '<path d="M-2.8-2.8h5.6v5.6h-5.6z"/>',
        "environment": '<path d="M0-3.6L3.5 2.8h-7z"/>',
        "cold": '<path d="M0-3.9L3.9 0 0 3.9-3.9 0z"/>',
        "failed": '<path d="M-3-3l6 6m0-6l-6 6"/>',
        "superseded": '<circle r="2.2"/>',
    }
    said = f"<title>{escape(title)}</title>" if title else ""
    return f'<g class="m {kind}" transform="translate({x:.1f} {y:.1f})">{said}{shapes[kind]}</g>'


def kind_of(point: Point) -> str:
    """Say how an edit is drawn: by its outcome if that is not good, else by its cause."""
    return point.outcome if point.outcome in OTHERS else point.cause if point.cause in CAUSES else "code"


def _svg(width: float, height: float, body: Sequence[str], label: str) -> str:
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" role="img" '
        f'aria-label="{escape(label)}">{"".join(body)}</svg>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, anchor: str = "middle", kind: str = "ax") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def feedback(points: Sequence[Point], width: int, height: int = 250) -> str:
    """Every edit: when it was saved against its time to feedback, with the median of each column."""
    scale = axes.log_axis(point.feedback_s for point in points)
    found = axes.columns(points)
    body = [_rule(scale, tick, width, height) for tick in scale.ticks_s]
    step = (width - LEFT - RIGHT) / max(len(found), 1)
    every = max(1, -(-MIN_LABEL_WIDTH * len(found) // (width - LEFT - RIGHT)))
    for number, column in enumerate(found):
        left = LEFT + number * step
        body.append(_line(left, TOP, left, TOP + height, "grid"))
        if number % every == 0:
            body.append(_text(left + step / 2, TOP + height + 16, column.label))
        body += _column(column, left, step, scale, height)
    if len(found) == 1:
        first, last = axes.hours(points)
        body += [_text(LEFT, TOP + height + 16, first, "start"), _text(width - RIGHT, TOP + height + 16, last, "end")]
    label = f"Time to feedback of {words.count(len(points), 'edit')} on a logarithmic axis, in {words.count(len(found), 'column')}"
    return _svg(width, TOP + height + BOTTOM, body, label)


def _rule(scale: LogAxis, tick_s: float, width: int, height: int) -> str:
    y = TOP + (1 - scale.at(tick_s)) * height
    kind = "rule" if tick_s in axes.THRESHOLDS_S else "grid"
    return _line(LEFT, y, width - RIGHT, y, kind) + _text(LEFT - 6, y + 4, axis_text(tick_s), "end")


def _column(column: Column, left: float, step: float, scale: LogAxis, height: int) -> list[str]:
    drawn: list[str] = []
    for point, place in column.edits:
        kind = kind_of(point)
        title = f"{column.label}: {words.duration(point.feedback_s)}, {kind}"
        x, y = left + 6 + place * max(step - 12, 1), TOP + (1 - scale.at(point.feedback_s)) * height
        drawn.append(mark(kind, x, y, title))
    good = [point.feedback_s for point, _ in column.edits if point.outcome == "ok"]
    if good:
        y = TOP + (1 - scale.at(percentile(good, 0.5))) * height
        drawn.append(_line(left + 3, y, left + step - 3, y, "median"))
    return drawn


def within(current: Sequence[float], previous: Sequence[float], width: int, height: int = 170) -> str:
    """The share of edits that came back within a time; both are given sorted."""
    scale = axes.log_axis([*current, *previous, 0.5], 10.0)
    across = width - LEFT - RIGHT
    body: list[str] = []
    for percent in (0, 25, 50, 75, 100):
        y = TOP + (1 - percent / 100) * height
        body.append(_line(LEFT, y, width - RIGHT, y, "grid") + _text(LEFT - 6, y + 4, f"{percent} %", "end"))
    ticks = scale.ticks_s
    every = max(1, -(-MIN_LABEL_WIDTH * len(ticks) // across))
    shift = ticks.index(axes.THRESHOLDS_S[0])  # that one has a label at any width
    for number, tick_s in enumerate(ticks):
        x = LEFT + scale.at(tick_s) * across
        kind = "rule" if tick_s in axes.THRESHOLDS_S else "grid"
        body.append(_line(x, TOP, x, TOP + height, kind))
        if (number - shift) % every == 0:
            body.append(_text(x, TOP + height + 16, axis_text(tick_s)))
    for values, kind in ((previous, "before"), (current, "now")):
        if values:
            body.append(f'<polyline class="{kind}" points="{_steps(values, scale, across, height)}"/>')
    label = (
        f"Share of edits that came back within a time: {len(current)} in this period, {len(previous)} in the one before"
    )
    return _svg(width, TOP + height + BOTTOM, body, label)


def _steps(values: Sequence[float], scale: LogAxis, across: float, height: int) -> str:
    """The distribution's steps; of very many values some, the last always."""
    every = max(1, len(values) // MAX_STEPS)
    chosen = sorted({*range(0, len(values), every), len(values) - 1})
    points = [(LEFT + scale.at(values[0]) * across, float(TOP + height))]
    points += [
        (LEFT + scale.at(values[number]) * across, TOP + (1 - (number + 1) / len(values)) * height) for number in chosen
    ]
    points.append((LEFT + across, points[-1][1]))
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def felt(answers: Sequence[Answer], width: int, height: int = 170, *, has_trend: bool) -> str:
    """Answers against the median time to feedback of their weeks, the fast ones at the right."""
    known = [(answer, answer.p50_s) for answer in answers if answer.p50_s]
    scale = axes.close_axis([p50_s for _, p50_s in known])
    across = width - LEFT - RIGHT
    body: list[str] = []
    for score in range(1, 6):
        y = _score_y(score, height)
        body.append(_line(LEFT, y, width - RIGHT, y, "grid") + _text(LEFT - 6, y + 4, str(score), "end"))
    every = max(1, -(-MIN_LABEL_WIDTH * len(scale.ticks_s) // across))
    body += [
        _text(LEFT + (1 - scale.at(tick_s)) * across, TOP + height + 16, axis_text(tick_s))
        for tick_s in scale.ticks_s[::every]
    ]
    places = [(LEFT + (1 - scale.at(p50_s)) * across, _score_y(answer.score, height)) for answer, p50_s in known]
    if has_trend and len(places) > 1:
        body.append(f'<polyline class="before" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in places)}"/>')
    for number, ((answer, p50_s), (x, y)) in enumerate(zip(known, places, strict=True)):
        title = f"{answer.week}: answered {answer.score}, median {words.duration(p50_s)}"
        is_crowded = any(abs(x - other) < MIN_LABEL_WIDTH and y == above for other, above in places[:number])
        label_y = y + 16 if is_crowded and number % 2 else y - 8
        body.append(
            mark("code", x, y, title) + _text(min(max(x, LEFT + 12), width - 22), label_y, answer.week[-3:], kind="nt")
        )
    label = f"{words.count(len(known), 'answer')} from 1 to 5 against the speed of their weeks"
    return _svg(width, TOP + height + BOTTOM, body, label)


def _score_y(score: int, height: int) -> float:
    return TOP + height - (score - 0.5) / 5 * height
