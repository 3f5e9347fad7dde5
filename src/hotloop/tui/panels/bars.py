"""Bars, sparklines and columns of block glyphs, an eighth of a cell precise; with ``=#.`` where there is ASCII alone."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from rich.style import Style
from rich.text import Text

from hotloop.tui.panels.lines import line

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hotloop.tui.palette import Palette

EIGHTHS = " ▏▎▍▌▋▊▉█"
LEVELS = " ▁▂▃▄▅▆▇█"
_ASCII_LEVELS = " ..==="
_ASCII_STACK = "#=+-"
_MONO_STACK = "█▓▒░"  # told apart without colours


class Span(NamedTuple):
    """A part of an axis that is drawn, in eighths of a cell, and how."""

    begin: int
    end: int
    style: str


def boundaries(parts: Iterable[float], whole: float, width: int) -> list[int]:
    """Place contiguous parts on an axis so that each begins where the one before ends, in eighths of a cell.

    Returns:
        One boundary more than there are parts, from 0, none beyond the axis.
    """
    marks, total = [0], 0.0
    for part in parts:
        total += max(part, 0.0)
        marks.append(min(round(total / whole * width * 8) if whole > 0 else 0, width * 8))
    return marks


def spans(pieces: Iterable[Span], width: int, palette: Palette) -> Text:
    """Draw pieces that don't overlap on an axis of so many cells; the shortest one still shows as a hairline."""
    cells: list[tuple[str, str | Style]] = [(" ", "")] * width
    for piece in pieces:
        begin = min(piece.begin, width * 8 - 1)
        end = max(piece.end, begin + 1)
        for index in range(begin // 8, min((end + 7) // 8, width)):
            low, high = max(begin - index * 8, 0), min(end - index * 8, 8)
            glyph = _ascii_cell(low, high, end - begin) if palette.is_ascii else _cell(low, high)
            if cells[index][0] == " " or high - low >= 4:
                cells[index] = (glyph[0], _styled(piece.style, is_reversed=glyph[1]))
    return in_runs(cells)


def _cell(low: int, high: int) -> tuple[str, bool]:
    """Give a cell's glyph and whether it is reversed: the blocks of Unicode all begin at the left edge."""
    if low > 0 and (high == 8 or low >= 4):
        return EIGHTHS[8 - (high - low)], True
    return EIGHTHS[high - low], False


def _ascii_cell(low: int, high: int, length: int) -> tuple[str, bool]:
    return ("|" if length < 4 else "=" if high - low >= 4 or length < 8 else " "), False


def _styled(style: str, *, is_reversed: bool) -> str | Style:
    return Style.parse(style) + Style(reverse=True) if is_reversed else style


def in_runs(cells: Sequence[tuple[str, str | Style]]) -> Text:
    """Put cells together, one piece for those beside each other with the same style."""
    made, begin = line(), 0
    for index in range(1, len(cells) + 1):
        if index == len(cells) or cells[index][1] != cells[begin][1]:
            made.append("".join(glyph for glyph, _ in cells[begin:index]), cells[begin][1])
            begin = index
    return made


def meter(ratio: float, width: int, style: str, palette: Palette) -> Text:
    """A thin bar, half a cell precise."""
    halves = round(min(max(ratio, 0.0), 1.0) * width * 2)
    if palette.is_ascii:
        full = halves // 2
        return line(("#" * full, style), ("." * (width - full), palette.track))
    full, odd = divmod(halves, 2)
    rest = width - full - odd
    return line(("━" * full + "╸" * odd, style), (_track(palette) * rest, palette.track))


def _track(palette: Palette) -> str:
    return "." if palette.is_ascii else "─" if palette.is_mono else "━"


def stacked(parts: Sequence[tuple[float, str]], width: int, palette: Palette) -> Text:
    """A thin bar of parts, each a share of the whole and its style; what they leave is the track."""
    marks = [min(round(mark / 8), width) for mark in boundaries([ratio for ratio, _ in parts], 1.0, width)]
    glyphs = _ASCII_STACK if palette.is_ascii else _MONO_STACK if palette.is_mono else "━"
    made = line()
    for index, ((begin, end), (_, style)) in enumerate(zip(pairwise(marks), parts, strict=True)):
        made.append(glyphs[index % len(glyphs)] * (end - begin), style)
    return line(made, (_track(palette) * (width - marks[-1]), palette.track))


def sparkline(values: Sequence[float | None], width: int, style: str, palette: Palette) -> Text:
    """The last values as columns from zero up, at the right; None leaves a gap."""
    shown = values[-width:] if width > 0 else ()
    top = max((value for value in shown if value is not None), default=0.0)
    glyphs = "".join(_level(value, top, palette) for value in shown)
    return line(" " * (width - len(glyphs)), (glyphs, style))


def _level(value: float | None, top: float, palette: Palette) -> str:
    if value is None:
        return " "
    levels = _ASCII_LEVELS if palette.is_ascii else LEVELS
    if value <= 0 or top <= 0:
        return "." if palette.is_ascii else "▁"
    return levels[min(max(math.ceil(value / top * (len(levels) - 1)), 1), len(levels) - 1)]


class LogScale(NamedTuple):
    """A logarithmic axis between two values above zero."""

    low: float
    high: float

    def ratio(self, value: float) -> float:
        """Say where a value lies, 0 to 1; what is outside is at the edge."""
        share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        return min(max(share, 0.0), 1.0)


def columns(
    values: Sequence[float], styles: Sequence[str], height: int, scale: LogScale, palette: Palette
) -> list[Text]:
    """One column a value, an eighth of a row precise; gives the rows from the top."""
    eighths = [max(round(scale.ratio(value) * height * 8), 1) for value in values]
    rows: list[Text] = []
    for row in range(height - 1, -1, -1):
        covers = [min(max(each - row * 8, 0), 8) for each in eighths]
        glyphs = [_ascii_column(cover) if palette.is_ascii else LEVELS[cover] for cover in covers]
        rows.append(in_runs(list(zip(glyphs, styles, strict=True))))
    return rows


def _ascii_column(cover: int) -> str:
    return " " if cover == 0 else "." if cover < 4 else "#"
