"""The line above the log: what is shown of it, how much, and whether it follows. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hotloop.devloop import words
from hotloop.tui.log.buffer import SOURCES
from hotloop.tui.panels.lines import finished, joined, line, spread

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.text import Text

    from hotloop.tui.log.filter import Filter, Search
    from hotloop.tui.palette import Palette

_LEVEL_NAMES = {"D": "", "I": "no debug", "W": "warnings, errors", "E": "errors"}


class Title(NamedTuple):
    """What it says.

    Attributes:
        search: What is looked for; not part of what is wanted while it only marks lines.
        is_in_context: It only marks them.
        num_shown: Lines.
        counts: Of those that are kept, by level.
        num_kept: Lines.
        num_below: Lines below those in sight; None while it follows.
    """

    wanted: Filter
    search: Search
    is_in_context: bool
    num_shown: int
    counts: Mapping[str, int]
    num_kept: int
    num_below: int | None


def draw(title: Title, width: int, palette: Palette) -> Text:
    """Lay it out in so many cells; what matters least goes first."""
    num_errors, num_warnings = title.counts.get("E", 0), title.counts.get("W", 0)
    left = line(("Logs", f"bold {palette.strong}"), (f"  {_scope(title)}", palette.muted))
    parts = [
        line((words.count(num_errors, "error"), palette.bad if num_errors else palette.muted)),
        line((words.count(num_warnings, "warning"), palette.warning if num_warnings else palette.muted)),
        line((_amount(title), palette.muted)),
        _place(title.num_below, palette),
    ]
    while len(parts) > 1 and left.cell_len + sum(part.cell_len + 2 for part in parts) > width:
        parts.pop(-2)  # the place is said last, and longest
    return (finished([spread(left, joined(parts), width)], width, 1, palette) or [line()])[0]


def _scope(title: Title) -> str:
    parts = [_sources(title.wanted.hidden), _LEVEL_NAMES[title.wanted.level]]
    if title.search:
        parts.append(f"/{title.search.typed}" + (" in context" if title.is_in_context else ""))
    return " · ".join(part for part in parts if part)


def _amount(title: Title) -> str:
    kept = words.count(title.num_kept, "line")
    return kept if title.num_shown == title.num_kept else f"{title.num_shown:,} of {kept}"


def _place(num_below: int | None, palette: Palette) -> Text:
    if num_below is None:
        return line(("▼ following", palette.good))
    below = f" · {num_below:,} below" if num_below else ""
    return line((f"‖ paused{below} · End", palette.warning))


def _sources(hidden: frozenset[str]) -> str:
    """Say which sources are shown: those, or those that are not, whichever are fewer."""
    shown = [source for source in SOURCES if source not in hidden]
    if not hidden or not shown:
        return "no source" if hidden else "all sources"
    return (
        ", ".join(shown)
        if len(shown) < len(hidden)
        else f"without {', '.join(each for each in SOURCES if each in hidden)}"
    )
