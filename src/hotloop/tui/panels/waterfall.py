"""The phases of an iteration as bars on one time axis, each beginning where the one before ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotloop.devloop import words
from hotloop.frozen import frozen
from hotloop.tui.panels.bars import Span, boundaries, spans
from hotloop.tui.panels.lines import fitting, line, padded
from hotloop.tui.panels.meanings import arrow, change, phase_name, phase_style

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.text import Text

    from hotloop.tui.palette import Palette
    from hotloop.tui.state import Phase, Trip

LONG_RATIO = 0.3  # of the whole: its number is written bold
_MARK, _DURATION, _DELTA = 2, 8, 6
_MIN_BAR = 6
_NOTES_FROM = 56  # cells; below, names, bars and times only


@frozen
class Step:
    """A phase with what is known of its length now.

    Attributes:
        lasts_s: How long it took, or has taken so far, or should take.
        rest_s: What it should still take; 0 if it ended or nothing is known.
    """

    phase: Phase
    lasts_s: float
    rest_s: float = 0.0

    @property
    def is_ahead(self) -> bool:
        """Whether it is yet to begin."""
        return self.phase.took_s is None and not self.phase.is_live


def elapsed_s(trip: Trip, now_s: float) -> float:
    """How long an iteration took, or takes so far."""
    return trip.feedback_s if trip.feedback_s is not None else max(now_s - trip.began_s, 0.0)


def steps_of(trip: Trip, now_s: float) -> tuple[Step, ...]:
    """Lay the phases out in time: those that ended, the one under way until now, those ahead as expected."""
    done_s = sum(phase.took_s for phase in trip.phases if phase.took_s is not None)
    steps: list[Step] = []
    for phase in trip.phases:
        if phase.took_s is not None:
            steps.append(Step(phase, phase.took_s))
        elif phase.is_live:
            so_far_s = max(elapsed_s(trip, now_s) - done_s, 0.0)
            steps.append(Step(phase, so_far_s, max((phase.expected_s or 0.0) - so_far_s, 0.0)))
        else:
            steps.append(Step(phase, (phase.expected_s or 0.0) if trip.feedback_s is None else 0.0))
    return tuple(steps)


@frozen
class _Columns:
    """Widths of what stands beside each other; 0 leaves a column out."""

    name: int
    bar: int
    delta: int
    note: int


def _columns(steps: Sequence[Step], width: int) -> _Columns:
    name = max((len(phase_name(step.phase.name)) for step in steps), default=0) + 1
    delta = _DELTA if width >= 40 else 0
    note = min(max(width // 3, 18), 60) if width >= _NOTES_FROM and any(_note(step) for step in steps) else 0
    bar = width - _MARK - name - _DURATION - delta - note
    if bar < _MIN_BAR:
        name = max(min(name, width - _MARK - _DURATION), 1)
        return _Columns(name, max(width - _MARK - name - _DURATION, 0), 0, 0)
    return _Columns(name, bar, delta, note)


def name_cells(trip: Trip) -> int:
    """Give the cells before the bars: what is written below lines up with them."""
    return _MARK + max((len(phase_name(phase.name)) for phase in trip.phases), default=12) + 1


def rows(trip: Trip, width: int, palette: Palette, now_s: float) -> list[Text]:
    """Draw one row a phase."""
    steps = steps_of(trip, now_s)
    whole_s = sum(step.lasts_s + step.rest_s for step in steps)
    columns = _columns(steps, width)
    marks = boundaries([part for step in steps for part in (step.lasts_s, step.rest_s)], whole_s, columns.bar)
    made: list[Text] = []
    for index, step in enumerate(steps):
        begin, now, end = marks[2 * index : 2 * index + 3]
        bar = _bar(step, (begin, now, end), columns.bar, palette) if columns.bar else line()
        made.append(_row(step, bar, columns, whole_s, palette))
    return made


def _bar(step: Step, marks: tuple[int, int, int], width: int, palette: Palette) -> Text:
    begin, now, end = marks
    if step.is_ahead:
        return spans([Span(begin, now, palette.ghost)] if step.lasts_s else [], width, palette)
    pieces = [Span(now, end, palette.ghost)] if end > now else []
    if step.lasts_s > 0:
        pieces.append(Span(begin, now, phase_style(step.phase.name, palette)))
    return spans(pieces, width, palette)


def _row(step: Step, bar: Text, columns: _Columns, whole_s: float, palette: Palette) -> Text:
    phase = step.phase
    style = palette.muted if step.is_ahead else palette.text
    mark = ("▸ ", f"bold {phase_style(phase.name, palette)}") if phase.is_live else "  "
    name = line((phase_name(phase.name), f"bold {palette.strong}" if phase.is_live else style))
    is_long = not step.is_ahead and whole_s > 0 and step.lasts_s > LONG_RATIO * whole_s
    took = line((_took(step), f"bold {palette.strong}" if is_long else style))
    parts = [mark, padded(name, columns.name), bar, padded(took, _DURATION, is_right=True)]
    if columns.delta:
        ratio = None if step.is_ahead else change(step.lasts_s, phase.expected_s)
        if phase.is_live and ratio is not None and ratio < 0:
            ratio = None  # it is not over
        parts.append(padded(arrow(ratio, palette), columns.delta, is_right=True))
    if columns.note:
        parts += [" ", padded(line((_note(step), palette.muted)), columns.note - 1)]
    return line(*parts)


def _took(step: Step) -> str:
    if step.is_ahead:
        return f"~{words.duration(step.lasts_s)}" if step.lasts_s else ""
    return words.duration(step.lasts_s) if step.lasts_s else "0 ms"


def _note(step: Step) -> str:
    phase = step.phase
    if phase.is_live and phase.expected_s:
        expected = f"of ~{words.duration(phase.expected_s)}"
        return f"{expected} · {phase.note}" if phase.note else expected
    return phase.note


def summary(trip: Trip, width: int, palette: Palette, now_s: float) -> list[Text]:
    """Draw all phases in two rows: one bar, and the times of as many as fit, the longest first."""
    steps = steps_of(trip, now_s)
    whole_s = sum(step.lasts_s + step.rest_s for step in steps)
    bar = strip(trip, width, palette, now_s)
    lengthy = sorted(range(len(steps)), key=lambda index: -steps[index].lasts_s)
    named = [
        line(
            ("■ ", palette.ghost if steps[index].is_ahead else phase_style(steps[index].phase.name, palette)),
            (f"{phase_name(steps[index].phase.name)} ", palette.muted),
            (_took(steps[index]), palette.text),
        )
        for index in lengthy
        if whole_s > 0 and steps[index].lasts_s > 0
    ]
    return [bar, fitting(named, width)]


def strip(trip: Trip, width: int, palette: Palette, now_s: float) -> Text:
    """Draw all phases in one bar, whole cells each."""
    steps = steps_of(trip, now_s)
    parts = [part for step in steps for part in (step.lasts_s, step.rest_s)]
    marks = [round(mark / 8) for mark in boundaries(parts, sum(parts), width)]
    made = line()
    for index, step in enumerate(steps):
        begin, now, end = marks[2 * index : 2 * index + 3]
        style = palette.ghost if step.is_ahead else phase_style(step.phase.name, palette)
        letter = phase_name(step.phase.name)[0] if palette.is_ascii or palette.is_mono else "━"
        made.append(letter * (now - begin), style)
        made.append((".." if palette.is_ascii else "━━")[0] * (end - now), palette.ghost)
    return line(made, " " * (width - made.cell_len))
