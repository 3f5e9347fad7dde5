"""The list of keys. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotloop.tui.actions import ACTIONS
from hotloop.tui.panels.lines import finished, fitted, line, padded, spread

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.text import Text

    from hotloop.tui.palette import Palette

TWO_COLUMNS_FROM = 100
_KEY_WIDTH = 8
_MORE = (
    ("Tab", "the next panel; ▌ is at the one with the focus"),
    ("↑ ↓", "lines of the log, iterations of the table"),
    ("n N", "the next and the previous match in the log"),
    ("Esc", "back, or no filter"),
)


def draw_help(keys: Mapping[str, str], width: int, height: int, palette: Palette, *, first: int = 0) -> list[Text]:
    """Draw what every key does, from a line on."""
    made = help_lines(keys, width, palette)
    room = max(height - 2, 1)
    begin = min(max(first, 0), max(len(made) - room, 0))
    below = len(made) - begin - room
    about = "map other keys in [tool.hotloop.keys]; a screen reader is better off with --ui plain"
    head = spread(
        line(("Keys", f"bold {palette.strong}"), (f"  {about}" if width >= TWO_COLUMNS_FROM else "", palette.muted)),
        line((f"{below} below · ↓" if below > 0 else "Esc back", palette.muted)),
        width,
    )
    return finished([head, line(), *made[begin : begin + room]], width, height, palette)


def help_lines(keys: Mapping[str, str], width: int, palette: Palette) -> list[Text]:
    """Give all of it but the title, however high."""
    entries = [(keys[action.id], action.about) for action in ACTIONS] + list(_MORE)
    half = (width - 2) // 2 if width >= TWO_COLUMNS_FROM else width
    made = [_entry(key, about, half, palette) for key, about in entries]
    if half == width:
        return made
    middle = (len(made) + 1) // 2
    rest = [*made[middle:], line()]
    return [line(padded(left, half), "  ", right) for left, right in zip(made[:middle], rest, strict=False)]


def _entry(key: str, about: str, width: int, palette: Palette) -> Text:
    return fitted(line(padded(line((key, f"bold {palette.strong}")), _KEY_WIDTH), (about, palette.text)), width)
