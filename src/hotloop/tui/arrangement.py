"""Which panels are where on a screen of some size: the whole layout, as rectangles. Pure, knows no Textual.

Two columns where there is room, else one; where there are few rows the log gives way last but two lines of it.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

View = Literal["loop", "logs", "runtime", "iterations", "metrics", "why", "diff", "locals", "help"]

WIDE_FROM, TALL_FROM = 104, 32
NARROW_FROM, MEDIUM_FROM = 56, 20
MIN_WIDTH, MIN_HEIGHT = 40, 10
RIGHT_WIDTH = 43
# The panel that a view shows alone, above the strip.
ALONE: dict[View, str] = {
    "runtime": "runtime", "iterations": "iterations", "metrics": "metrics", "why": "why", "diff": "probe", "locals": "locals", "help": "help",
}  # fmt: skip


class Box(NamedTuple):
    """A rectangle of the screen, in cells."""

    x: int
    y: int
    width: int
    height: int


def is_too_small(width: int, height: int) -> bool:
    """Whether there is no room for a dashboard."""
    return width < MIN_WIDTH or height < MIN_HEIGHT


def arrange(width: int, height: int, view: View = "loop", zoomed: str = "") -> dict[str, Box]:
    """Give each panel that is shown its place.

    Args:
        width: The screen's, in cells.
        height: The screen's.
        view: What is looked at.
        zoomed: A panel to show alone; empty for none.
    """
    if is_too_small(width, height):
        row = {"strip": Box(0, height - 1, width, 1)} if height > 1 else {}  # q asks there
        return {"too_small": Box(0, 0, width, height - len(row)), **row}
    frame = {
        "status": Box(0, 0, width, 1),
        "strip": Box(0, height - 2, width, 1),
        "keys": Box(0, height - 1, width, 1),
    }
    is_airy = height >= MEDIUM_FROM
    top = 2 if is_airy and height >= TALL_FROM else 1
    inner = Box(0, top, width, height - 2 - top)
    alone = zoomed or ("logs" if view == "logs" else ALONE.get(view, ""))
    if alone:
        return {**frame, alone: inner}
    if width >= WIDE_FROM and height >= TALL_FROM:
        return {**frame, **_two_columns(inner)}
    return {**frame, **_one_column(inner, is_airy=is_airy)}


def _two_columns(inner: Box) -> dict[str, Box]:
    left = inner.width - RIGHT_WIDTH - 1
    upper = min(21 + max(inner.height - 32, 0) // 2, 30)
    iteration = 13 + (upper - 21) // 2
    probe = 10 + (upper - 21) // 2
    y = inner.y
    return {
        "iteration": Box(0, y, left, iteration),
        "history": Box(0, y + iteration + 1, left, upper - iteration - 1),
        "probe": Box(left + 1, y, RIGHT_WIDTH, probe),
        "runtime": Box(left + 1, y + probe + 1, RIGHT_WIDTH, upper - probe - 1),
        "logs": Box(0, y + upper + 1, inner.width, inner.height - upper - 1),
    }


def _one_column(inner: Box, *, is_airy: bool) -> dict[str, Box]:
    if not is_airy:
        iteration = min(7, inner.height - 2)
        return {
            "iteration": inner._replace(height=iteration),
            "logs": Box(0, inner.y + iteration, inner.width, inner.height - iteration),
        }
    iteration = 10 if inner.height < 24 else 13
    y = inner.y + iteration + 1
    return {
        "iteration": inner._replace(height=iteration),
        "runtime_strip": Box(0, y, inner.width, 2),
        "logs": Box(0, y + 3, inner.width, inner.y + inner.height - y - 3),
    }
