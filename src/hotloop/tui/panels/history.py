"""The last iterations as columns on a logarithmic axis, coloured by what their time went to."""

from __future__ import annotations

import math
from itertools import chain
from typing import TYPE_CHECKING

from hotloop.devloop import metrics, words
from hotloop.tui.panels.bars import LogScale, columns, in_runs
from hotloop.tui.panels.lines import finished, fitting, line, spread
from hotloop.tui.panels.meanings import CAUSES, cause_style

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.text import Text

    from hotloop.tui.palette import Palette
    from hotloop.tui.state import State, Trip

_AXIS = 7  # cells for the labels
_MIN_DECADES = 2
_TICKS = ((0.001, "1 ms"), (0.01, "10 ms"), (0.1, "100 ms"), (1.0, "1 s"), (10.0, "10 s"), (100.0, "100 s"))


def draw(state: State, width: int, height: int, palette: Palette, now_s: float) -> list[Text]:
    """Draw as many of the last iterations as there are columns."""
    trips = [trip for trip in state.trips if trip.feedback_s is not None]
    head = _title(trips, width, palette)
    if not any(trip.number for trip in trips):
        empty = line(("  no iterations yet: the chart fills as you save", palette.muted))
        return finished([head, *([line()] if height > 3 else []), empty], width, height, palette)
    axis = _AXIS if width >= 30 else 0
    step = 2 if len(trips) * 2 <= width - axis else 1
    shown = trips[-max((width - axis) // step, 1) :]
    rows = height - 1 - (1 if height >= 3 else 0) - (1 if height >= 5 else 0)
    lines = [head, *_chart(shown, max(rows, 0), axis, step, width, palette)]
    if height >= 3:
        lines.append(_marks(shown, axis, step, state, palette))
    if height >= 5:
        lines.append(_legend(trips, axis, width, palette))
    return finished(lines, width, height, palette)


def _title(trips: Sequence[Trip], width: int, palette: Palette) -> Text:
    edits = [trip for trip in trips if trip.number]
    count = words.count(len(edits), "iteration")
    left = line((f"Last {count}" if len(edits) > 1 else "Iterations", f"bold {palette.strong}"))
    parts: list[Text] = []
    feedback = metrics.spread(feedbacks_s(trips))
    if feedback is not None:
        high = "max" if feedback.is_max else "p95"
        parts.append(line(("p50 ", palette.muted), (words.duration(feedback.p50_s), f"bold {palette.strong}")))
        parts.append(line((f"{high} ", palette.muted), (words.duration(feedback.high_s), palette.text)))
    if edits:
        num_failed = sum(trip.outcome == "failed" for trip in edits)
        parts.append(line((f" {sum(trip.outcome == 'ok' for trip in edits)} ok", palette.muted)))
        parts.append(line((f"{num_failed} failed", palette.bad if num_failed else palette.muted)))
    return spread(left, fitting(parts, max(width - left.cell_len - 2, 0)), width)


def feedbacks_s(trips: Sequence[Trip]) -> list[float]:
    """Give the times to feedback that count: of good saves that waited for no environment and no cold start."""
    return [
        trip.feedback_s
        for trip in trips
        if trip.number and trip.outcome == "ok" and trip.cause in {"code", "model"} and trip.feedback_s is not None
    ]


def _took_s(trip: Trip) -> float:
    return trip.feedback_s or 0.0


def style_of(trip: Trip, palette: Palette) -> str:
    """Give an iteration's colour: its cause's, or that it failed, or that it came to nothing."""
    if trip.outcome == "failed":
        return palette.bad
    return palette.muted if trip.outcome == "superseded" else cause_style(trip.cause, palette)


def _scale(values: Sequence[float]) -> LogScale:
    """Whole decades around the values, so that the axis rests while columns come and go."""
    low = math.floor(math.log10(max(min(values), 0.001)) + 1e-9)
    high = math.ceil(math.log10(max(*values, 0.002)) - 1e-9)
    return LogScale(10.0**low, 10.0 ** max(high, low + _MIN_DECADES))


def _chart(shown: Sequence[Trip], height: int, axis: int, step: int, width: int, palette: Palette) -> list[Text]:
    if height < 1:
        return []
    scale = _scale([_took_s(trip) for trip in shown])
    styles = [style_of(trip, palette) for trip in shown]
    bars = columns([_took_s(trip) for trip in shown], styles, height, scale, palette)
    ticks = _ticks(scale, height) if axis else {}
    rule = ("." if palette.is_ascii else "┄", palette.track)
    made: list[Text] = []
    for index, row in enumerate(bars):
        label = ticks.get(index)
        empty = rule if label else (" ", "")
        cells = chain.from_iterable(
            ((glyph, style) if glyph != " " else empty, *([empty] * (step - 1)))
            for glyph, style in zip(row.plain, styles, strict=True)
        )
        body = in_runs(list(cells))
        made.append(line((f"{label or '':>{axis - 1}} " if axis else "", palette.muted), body))
    return made


def _ticks(scale: LogScale, height: int) -> dict[int, str]:
    """Give a label to the row in which a column of that value ends; crowded ones leave out the lower."""
    marks: dict[int, str] = {}
    for value, label in reversed(_TICKS):
        if scale.low < value < scale.high:
            row = height - max(math.ceil(scale.ratio(value) * height - 1e-9), 1)
            if not any(abs(row - other) < 1 for other in marks):
                marks[row] = label
    return marks


def _marks(shown: Sequence[Trip], axis: int, step: int, state: State, palette: Palette) -> Text:
    """A row under the columns: what failed, what is selected, and causes as letters where there are no colours."""
    marks = ((_mark(trip, state, palette), *([(" ", "")] * (step - 1))) for trip in shown)
    return line(" " * axis, in_runs(list(chain.from_iterable(marks))))


def _mark(trip: Trip, state: State, palette: Palette) -> tuple[str, str]:
    if trip.number == state.selected:
        return "▴", f"bold {palette.strong}"
    if trip.outcome == "failed":
        return "×", f"bold {palette.bad}"
    if trip.outcome == "superseded":
        return "·", palette.muted
    return (letter_of(trip.cause) if palette.is_mono or palette.is_ascii else " "), palette.muted


def letter_of(cause: str) -> str:
    """Give the letter that stands for a cause where there are no colours; cold is capital beside code."""
    return {"cold": "C"}.get(cause, cause[:1])


def _legend(trips: Sequence[Trip], axis: int, width: int, palette: Palette) -> Text:
    edits = [trip for trip in trips if trip.outcome == "ok"]
    parts: list[Text] = []
    for cause in CAUSES:
        count = sum(trip.cause == cause for trip in edits)
        if count:
            mark = letter_of(cause) if palette.is_mono or palette.is_ascii else "■"
            parts.append(line((f"{mark} ", cause_style(cause, palette)), (f"{cause} {count}", palette.muted)))
    if any(trip.outcome == "failed" for trip in trips):
        parts.append(line(("× failed", palette.bad)))
    if any(trip.outcome == "superseded" for trip in trips):
        parts.append(line(("· superseded", palette.muted)))
    return line(" " * axis, fitting(parts, width - axis))
