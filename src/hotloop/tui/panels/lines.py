"""Lines of text that fit: made harmless, cut with …, aligned, wrapped. Widths are cells of the terminal, not characters."""

from __future__ import annotations

import functools
import re
import unicodedata
from typing import TYPE_CHECKING, NamedTuple

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text

from hotloop.devloop import words

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hotloop.tui.palette import Palette

TAB_CELLS = 4

Part = str | Text | tuple[str, str | Style]

_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|(?:\x1b\]|\x9d)[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"  # OSC: titles, links, the clipboard
    r"|\x1b[PX^_][^\x1b]*\x1b\\"  # DCS and its like
    r"|\x1b[ -/]*[0-Z\\^_`a-~]"  # two-character ones
)
_JOINERS = "\u200d\u200c"  # part of how some scripts and pictures are written
# What stands for a glyph of ours where there is ASCII alone; each as wide as what it replaces.
ASCII = str.maketrans(
    {
        **dict.fromkeys("✓", "+"),
        **dict.fromkeys("✗×", "x"),
        **dict.fromkeys("●◐", "*"),
        **dict.fromkeys("○◔", "o"),
        **dict.fromkeys("▸→", ">"),
        **dict.fromkeys("▲▴↑", "^"),
        **dict.fromkeys("│‖", "|"),
        **dict.fromkeys("·─−–—", "-"),
        **dict.fromkeys("…┄", "."),
        **dict.fromkeys("━", "="),
        **dict.fromkeys("■", "#"),
        **dict.fromkeys("±≈⇅", "~"),
        **dict.fromkeys("⚠", "!"),
        **dict.fromkeys("▼↓", "v"),
    }
)


def clean(text: str) -> str:
    """Make text of the user's harmless in one line: no escape sequences, and control characters as pictures."""
    if text.isprintable():
        return text
    text = _ESCAPES.sub("", text.expandtabs(TAB_CELLS) if "\t" in text else text)
    return "".join(map(_harmless, text))


def _harmless(char: str) -> str:
    if char.isprintable() or char in _JOINERS:
        return char
    code = ord(char)
    if char in "\n\r\u2028\u2029" or unicodedata.category(char) == "Zs":
        return " "
    return chr(0x2400 + code) if code < 0x20 else "\u2421" if code == 0x7F else "\ufffd"


def line(*parts: Part, style: str | Style = "") -> Text:
    """Put a line together from pieces of text, each with its style; all of it is made harmless."""
    made = Text(style=style, no_wrap=True, end="")
    for part in parts:
        if isinstance(part, Text):
            made.append_text(part)
        elif isinstance(part, str):
            made.append(clean(part))
        else:
            made.append(clean(part[0]), part[1])
    return made


def fitted(text: Text, width: int) -> Text:
    """Cut to a width; … says that something is missing."""
    if text.cell_len > width:
        text = text.copy()
        text.truncate(max(width, 1), overflow="ellipsis")
    return text if width > 0 else line()


def padded(text: Text, width: int, *, is_right: bool = False) -> Text:
    """Make it exactly so wide."""
    text = fitted(text, width)
    space = " " * (width - text.cell_len)
    return line(space, text) if is_right else line(text, space)


def spread(left: Text, right: Text, width: int) -> Text:
    """Put one part at each end; the left one is cut where both don't fit, and the right one only if it alone doesn't."""
    right = fitted(right, width)
    room = width - right.cell_len - (1 if right.cell_len else 0)
    return line(padded(left, max(room, 0)), " " * (width - max(room, 0) - right.cell_len), right)


def joined(parts: Iterable[Text], gap: str = "  ") -> Text:
    """Put parts side by side."""
    made = line()
    for part in parts:
        made.append(gap if made.cell_len else "")
        made.append_text(part)
    return made


def fitting(parts: Sequence[Text], width: int, *, gap: str = "  ", counts: str | None = None) -> Text:
    """Put as many of the parts side by side as fit whole, the first one in any case.

    Args:
        parts: What to place, the most important first.
        width: How many cells there are.
        gap: What stands between two.
        counts: The style of a last part that says how many are missing, such as ``+3``; None says nothing.
    """
    for num in range(len(parts), 0, -1):
        rest = len(parts) - num
        more = [line((f"+{rest}", counts))] if rest and counts is not None else []
        made = joined([*parts[:num], *more], gap)
        if made.cell_len <= width:
            return made
    return fitted(parts[0], width) if parts else line()


def wrapped(text: Text, width: int) -> list[Text]:
    """Break into lines, at spaces where there are any."""
    width, plain = max(width, 2), text.plain
    lines: list[Text] = []
    start, cells, after_space = 0, 0, 0
    for index, char in enumerate(plain):
        if cells + cell_len(char) > width and index > start:
            end = after_space if after_space > start else index
            lines.append(_piece(text, start, end))
            start = end
            cells = cell_len(plain[start:index])
        cells += cell_len(char)
        if char == " ":
            after_space = index + 1
    return [*lines, _piece(text, start, len(plain))]


def _piece(text: Text, start: int, end: int) -> Text:
    piece = text[start:end] if end > start else line()
    piece.rstrip()
    piece.no_wrap, piece.end = True, ""
    return piece


class Row(NamedTuple):
    """A line of a panel and how dispensable it is: 0 is never left out, the highest go first."""

    text: Text
    rank: int = 0


def blank(rank: int) -> Row:
    """A line of air."""
    return Row(line(), rank)


def kept(rows: Sequence[Row], height: int) -> list[Text]:
    """Leave out what is most dispensable until the rest fits; of equals the last."""
    order = sorted(range(len(rows)), key=lambda index: (-rows[index].rank, -index))
    dropped = set(order[: max(len(rows) - height, 0)])
    return [row.text for index, row in enumerate(rows) if index not in dropped]


def scrolled(lines: Sequence[Text], first: int, height: int, palette: Palette) -> list[Text]:
    """Show what fits, from a line on; the title stays, and the last line says how many are below."""
    room = max(height - 1, 0)
    begin = min(max(first, 0), max(len(lines) - 1 - room, 0))
    shown = list(lines[1 + begin : 1 + begin + room])
    rest = len(lines) - 1 - begin - len(shown)
    if rest > 0 and shown:
        shown[-1] = line((f"  … {words.count(rest + 1, 'more line')}", palette.muted))
    return [lines[0], *shown]


def finished(lines: Iterable[Text], width: int, height: int, palette: Palette) -> list[Text]:
    """Hold a panel to its size, and to ASCII where that is wanted."""
    made = [fitted(each, width) for each in list(lines)[: max(height, 0)]]
    if palette.is_ascii:
        for each in made:
            each.plain = each.plain.translate(ASCII)
    return made


@functools.cache
def background(style: str) -> Style:
    """Read a palette's background, which may be written as ``on red`` or as ``red``."""
    parsed = Style.parse(style)
    return parsed if parsed.bgcolor is not None or parsed.color is None else Style(bgcolor=parsed.color)
