"""Which painter draws which panel now: the main panel is the error, the start, or the waterfall, as the state asks. Pure."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

from hotloop.devloop.metrics import summarize
from hotloop.frozen import frozen
from hotloop.tui import frame, rows
from hotloop.tui.actions import USUAL_KEYS
from hotloop.tui.arrangement import ALONE, MIN_HEIGHT, MIN_WIDTH
from hotloop.tui.help import draw_help, help_lines
from hotloop.tui.journey import is_out_of_memory
from hotloop.tui.panels import (
    cold,
    compare,
    dx,
    empty,
    error,
    explain,
    history,
    iteration,
    machine,
    oom,
    probe,
    runtime,
    table,
    variables,
)
from hotloop.tui.panels.lines import finished, line, scrolled, wrapped

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rich.text import Text

    from hotloop.devloop.metrics import Summary
    from hotloop.tui.arrangement import View
    from hotloop.tui.palette import Palette
    from hotloop.tui.rows import Row
    from hotloop.tui.state import State
    from hotloop.variables import Locals

    Drawer = Callable[[int, int], list[Text]]

SCROLLED = frozenset({"iteration", "probe", "runtime", "metrics"})  # besides those that always are
MANY = 10_000  # lines


@frozen
class Look:
    """What is looked at, which no event says.

    Attributes:
        figures: Of today.
        zoomed: The panel that is shown alone; empty for none.
        came_from: The view to go back to from one that is only looked at in passing.
        compared: The iteration that another is compared with; None if none was chosen.
        is_comparing: Whether both are shown beside each other.
        first: The first line that is shown of what is longer than the screen.
        keys: What to press, by action.
        locals: What the session answered about a failure's local variables; None before it was asked.
    """

    view: View = "loop"
    came_from: View = "loop"
    zoomed: str = ""
    compared: int | None = None
    is_comparing: bool = False
    first: int = 0
    row: Row | None = None
    figures: Summary = field(default_factory=lambda: summarize(()))
    experience: dx.Experience | None = None
    keys: Mapping[str, str] = field(default_factory=lambda: USUAL_KEYS)
    locals: Locals | None = None


def draw(panel: str, state: State, look: Look, width: int, height: int, palette: Palette, now_s: float) -> list[Text]:
    """Draw a panel: at most ``height`` lines of at most ``width`` cells."""
    match panel:
        case "status":
            return frame.draw_status(state, width, palette, now_s)
        case "strip":
            return rows.draw(look.row, width, palette) if look.row else frame.draw_figures(look.figures, width, palette)
        case "keys":
            is_away = look.view != "loop" or bool(look.zoomed)
            return frame.draw_keys(frame.keys_for(state, look.keys, is_away=is_away), width, palette)
        case "too_small":
            return _too_small(width, height, palette, look.keys)
        case "help":
            return draw_help(look.keys, width, height, palette, first=look.first)
        case _:
            lines = _long(panel, state, look, width, height, palette, now_s)
            if lines is not None:
                return finished(scrolled(lines, look.first, height, palette), width, height, palette)
            return _panel(panel, state, look, width, height, palette, now_s)


def _long(
    panel: str, state: State, look: Look, width: int, height: int, palette: Palette, now_s: float
) -> list[Text] | None:
    """Give all lines of a panel that is shown alone and does not fit all the same; else it leaves out what it can do without."""
    if panel not in SCROLLED or panel not in {look.zoomed, ALONE.get(look.view)}:
        return None
    lines = _panel(panel, state, look, width, MANY, palette, now_s)
    lines = lines[:1] + [each for each in lines[1:] if each.plain.strip()]
    return lines if len(lines) > height else None


def last_first(
    panel: str, state: State, look: Look, width: int, height: int, palette: Palette, now_s: float
) -> int | None:
    """Give the highest line that a panel may begin at, so that its last one is seen; None for those that all fit."""
    match panel:
        case "why":
            length = len(explain.lines_of(state, width, palette, now_s)) + 1
        case "locals":
            length = 2 + len(variables.lines_of(look.locals, width, palette, look.keys))
        case "help":
            length = 2 + len(help_lines(look.keys, width, palette))
        case _:
            lines = _long(panel, state, look, width, height, palette, now_s)
            if lines is None:
                return None
            length = len(lines)
    return max(length - height, 0)


def _panel(panel: str, state: State, look: Look, width: int, height: int, palette: Palette, now_s: float) -> list[Text]:
    match panel:
        case "iteration":
            return _main(state, look.keys, width, height, palette, now_s)
        case "probe":
            return probe.draw(state, width, height, palette, now_s, keys=look.keys)
        case "why":
            return explain.draw(state, width, height, palette, now_s, first=look.first)
        case "locals":
            return variables.draw(look.locals, width, height, palette, first=look.first, keys=look.keys)
        case "iterations" if look.is_comparing:
            return compare.draw(state, width, height, palette, now_s, compared=look.compared)
        case "iterations":
            return table.draw(state, width, height, palette, now_s, compared=look.compared)
        case "metrics":
            return dx.draw(state, width, height, palette, now_s, experience=look.experience)
        case "runtime":
            painter = machine.draw if look.view == "runtime" or look.zoomed else runtime.draw
            return painter(state, width, height, palette, now_s)
        case _:
            painters = {
                "history": history.draw,
                "runtime_strip": runtime.draw_strip,
            }
            return painters[panel](state, width, height, palette, now_s)


def _main(state: State, keys: Mapping[str, str], width: int, height: int, palette: Palette, now_s: float) -> list[Text]:
    trip = state.trip
    if trip is not None and trip.outcome == "failed":
        if is_out_of_memory(error.problem_of(trip)):
            return oom.draw(state, width, height, palette, now_s)
        return error.draw(state, width, height, palette, now_s, keys=keys)
    is_starting = trip is None or (trip.number == 0 and trip.outcome == "running")
    if is_starting and state.serving is None:
        return cold.draw(state, width, height, palette, now_s)
    if trip is None or is_starting or (trip.number == 0 and state.selected is None):
        return empty.draw(state, width, height, palette, now_s, keys=keys)
    return iteration.draw(state, width, height, palette, now_s)


def _too_small(width: int, height: int, palette: Palette, keys: Mapping[str, str]) -> list[Text]:
    said = line(
        (f"{width + 2}x{height + 1} is too small for the dashboard: it needs {MIN_WIDTH}x{MIN_HEIGHT}.", palette.text)
    )
    way = line(
        ("Make the window larger, or press ", palette.muted),
        (keys["plain"], f"bold {palette.strong}"),
        (" for plain lines (dev serve --ui plain). ", palette.muted),
        (keys["quit"], f"bold {palette.strong}"),
        (" quits.", palette.muted),
    )
    return finished([*wrapped(said, width), *wrapped(way, width)], width, height, palette)
