"""How a line of the log looks: pure, from a record to styled pieces."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style

from hotloop.tui.panels.lines import ASCII

if TYPE_CHECKING:
    from hotloop.tui.log.buffer import Record
    from hotloop.tui.log.filter import Search
    from hotloop.tui.palette import Palette

SOURCE_WIDTH = 8
THEIRS = frozenset({"app", "tests"})  # sources whose lines are as the user's code wrote them
FULL_TIME_FROM = 100  # columns; below, the milliseconds go first, then the time
TIME_FROM = 60
# How an iteration ended, as `telling` writes it: ``#42 ✓ 1.35 s  code  app.py``.
_END = re.compile(
    r"(?P<name>#\d+ |started )(?P<outcome>[✓✗·])(?P<took> .*?  )(?P<cause>code|model|environment|cold)(?P<paths>|  .*)"
)


@dataclass(frozen=True)
class Look:
    """Everything that lines have in common.

    Attributes:
        width: Of the widget, in cells.
        search: What is marked in the lines.
    """

    palette: Palette
    width: int
    search: Search

    @cached_property
    def styles(self) -> dict[str, Style]:
        """By meaning, and by level."""
        colors = self.palette
        return {
            "muted": Style.parse(colors.muted),
            "text": Style.parse(colors.text),
            "strong": Style.parse(colors.strong),
            "good": Style.parse(colors.good),
            "bad": Style.parse(colors.bad),
            "track": Style.parse(colors.track),
            "D": Style.parse(colors.muted),
            "I": Style.parse(colors.code),
            "W": Style.parse(colors.warning),
            "E": Style.parse(colors.bad) + Style(bold=True),
            "code": Style.parse(colors.code),
            "model": Style.parse(colors.model),
            "environment": Style.parse(colors.environment),
            "cold": Style.parse(colors.cold),
        }

    @property
    def is_time_shown(self) -> bool:
        """Whether there is room for it."""
        return self.width >= TIME_FROM


def source_label(record: Record) -> str:
    """Say who wrote a line: ``app g42``, ``loop``."""
    return f"{record.source} g{record.generation}" if record.generation else record.source


def segments(record: Record, look: Look) -> list[Segment]:
    """Lay a line out. It may be wider than the widget; a separator is as wide."""
    if record.level == "-":
        return _separator(record, look)
    styles = look.styles
    pieces: list[Segment] = []
    if look.is_time_shown:
        pieces.append(Segment(f"{_time(record.at_s, look.width)} ", styles["muted"]))
    pieces.append(Segment(record.level, styles[record.level]))
    pieces.append(Segment(f" {source_label(record):<{SOURCE_WIDTH}} ", styles["muted"]))
    text = record.text.translate(ASCII) if look.palette.is_ascii and record.source not in THEIRS else record.text
    return pieces + _marked(text, styles["muted" if record.level == "D" else "text"], look.search)


def restyled(pieces: list[Segment], start: int, end: int, style: Style) -> list[Segment]:
    """Draw the characters from `start` to `end` in a style of their own; -1 is the end of the line."""
    changed: list[Segment] = []
    at = 0
    for text, old, _ in pieces:
        low = min(max(start - at, 0), len(text))
        high = len(text) if end == -1 else min(max(end - at, low), len(text))
        parts = ((text[:low], old), (text[low:high], (old or Style()) + style), (text[high:], old))
        changed += [Segment(part, part_style) for part, part_style in parts if part]
        at += len(text)
    return changed


def plain(record: Record, look: Look) -> str:
    """Give a line as it is shown, for what is selected and copied."""
    return "".join(piece.text for piece in segments(record, look)).rstrip()


def written(record: Record) -> str:
    """Give a line as it is written to a file."""
    if record.level == "-":
        return f"{_time(record.at_s, FULL_TIME_FROM)} - {'-' * SOURCE_WIDTH} {record.text}".rstrip()
    return f"{_time(record.at_s, FULL_TIME_FROM)} {record.level} {source_label(record):<{SOURCE_WIDTH}} {record.text}"


def _separator(record: Record, look: Look) -> list[Segment]:
    styles, bar = look.styles, "=" if look.palette.is_ascii else "━"
    match = _END.fullmatch(record.text)
    cause = match["cause"] if match else "track"
    pieces = [Segment(f"{bar * 2} ", styles[cause])]
    if match is None or look.search.spans(record.text):
        pieces += _marked(record.text, styles["strong"], look.search)
    else:
        outcome = styles[{"✓": "good", "✗": "bad"}.get(match["outcome"], "muted")]
        mark = {"✓": "+", "✗": "x"}.get(match["outcome"], "-") if look.palette.is_ascii else match["outcome"]
        pieces += [Segment(match["name"], styles["strong"]), Segment(mark, outcome)]
        pieces += [Segment(match["took"], styles["strong"]), Segment(match["cause"], styles[cause])]
        pieces.append(Segment(match["paths"], styles["muted"]))
    width = sum(cell_len(piece.text) for piece in pieces)
    return [*pieces, Segment(f" {bar * max(look.width - width - 2, 2)}", styles["track"])]


def _marked(text: str, style: Style, search: Search) -> list[Segment]:
    pieces: list[Segment] = []
    done = 0
    for start, end in search.spans(text):
        if start > done:
            pieces.append(Segment(text[done:start], style))
        pieces.append(Segment(text[start:end], style + Style(reverse=True)))
        done = end
    return [*pieces, Segment(text[done:], style)]


def _time(at_s: float, width: int) -> str:
    second = _second(int(at_s))
    return f"{second}.{int(at_s % 1 * 1000):03d}" if width >= FULL_TIME_FROM else second


@lru_cache(maxsize=1024)
def _second(at_s: int) -> str:
    return dt.datetime.fromtimestamp(at_s).astimezone().strftime("%H:%M:%S")
