"""A start from nothing: the phases with what they should take, and how many bytes of a model are there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotloop.tui.panels import environment, iteration, memory, waterfall
from hotloop.tui.panels.lines import Row, blank, finished, kept, line

if TYPE_CHECKING:
    from rich.text import Text

    from hotloop.tui.palette import Palette
    from hotloop.tui.state import State

_AIR, _TIP, _PROGRESS = 3, 2, 1


def draw(state: State, width: int, height: int, palette: Palette, now_s: float) -> list[Text]:
    """Draw the start that is under way."""
    trip = state.trip
    if trip is None:
        about = f"connecting to {state.runner}" if state.runner != "local" else "starting"
        return finished([iteration.title("First start", about, width, palette)], width, height, palette)
    took_s = max(now_s - state.loading_began_s, 0.0) if state.loading_began_s is not None else None
    progress = [
        *environment.rows(state.environment, width, palette),
        *memory.loading_rows(state, width, palette, speed_s=took_s),
    ]
    phases = waterfall.rows(trip, width, palette, now_s)
    if 1 + len(phases) + len(progress) > height:
        phases = waterfall.summary(trip, width, palette, now_s)
    rows = [Row(iteration.title_line(trip, width, palette, now_s)), blank(_AIR), *map(Row, phases)]
    rows += [blank(_AIR), *(Row(text, _PROGRESS) for text in progress)] if progress else []
    tip = "only this once: models stay in memory, an edit loads none again"
    rows += [blank(_AIR), Row(line((f"  {tip}", palette.muted)), _TIP)]
    return finished(kept(rows, height), width, height, palette)
