"""The iterations as a table, the newest first, one of them selected."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotloop.devloop import words
from hotloop.tui.panels import waterfall
from hotloop.tui.panels.lines import background, finished, fitted, fitting, line, padded, spread
from hotloop.tui.panels.meanings import cause_style, mark_of

if TYPE_CHECKING:
    from rich.text import Text

    from hotloop.tui.palette import Palette
    from hotloop.tui.state import State, Trip

_BAR, _NOTES = 72, 52  # cells from which the phases, and what changed, are shown
_KEYS = (("Enter", "explain"), ("c", "compare with"), ("↑↓", "select"))


def draw(
    state: State, width: int, height: int, palette: Palette, now_s: float, *, compared: int | None = None
) -> list[Text]:
    """Draw as many rows as there is room for, around the one that is looked at; `compared` is marked beside it."""
    trips = state.trips[::-1]
    head = _title(state, width, palette)
    if not trips:
        return finished([head, line(), line(("  no iterations yet", palette.muted))], width, height, palette)
    looked_at = state.trip
    room = max(height - 2 - (2 if height >= 8 else 0), 1)
    at = next((index for index, trip in enumerate(trips) if trip is looked_at), 0)
    first = min(max(at - room // 2, 0), max(len(trips) - room, 0))
    rows = [_row(trip, width, palette, now_s, looked_at, compared) for trip in trips[first : first + room]]
    below = len(trips) - first - len(rows)
    foot = [line(), spread(_keys(palette), _rest(first, below, palette), width)] if height >= 8 else []
    return finished([head, _header(width, palette), *rows, *foot], width, height, palette)


def _title(state: State, width: int, palette: Palette) -> Text:
    edits = [trip for trip in state.trips if trip.number]
    num_ok = sum(trip.outcome == "ok" for trip in edits)
    num_failed = sum(trip.outcome == "failed" for trip in edits)
    right = line(
        (f"{num_ok} ok", palette.muted), (f"  {num_failed} failed", palette.bad if num_failed else palette.muted)
    )
    return spread(line(("Iterations", f"bold {palette.strong}"), (f"  {len(edits)}", palette.muted)), right, width)


def _columns(width: int) -> tuple[int, int]:
    """Give the cells of the phases' bar and of what changed."""
    bar = min((width - 46) // 2, 40) if width >= _BAR else 0
    rest = width - 44 - (bar + 2 if bar else 0)
    return bar, rest if width >= _NOTES else 0


def _header(width: int, palette: Palette) -> Text:
    bar, notes = _columns(width)
    made = line(f"  {'#':>5}  {'cause':<12}", f"{'feedback':>10}", "  ")
    if bar:
        made = line(made, f"{'where it went':<{bar}}", "  ")
    if notes:
        made = line(made, f"{'models':>8}   ", "what changed")
    return fitted(line((made.plain, palette.muted)), width)


def _row(trip: Trip, width: int, palette: Palette, now_s: float, looked_at: Trip | None, compared: int | None) -> Text:
    bar, notes = _columns(width)
    is_selected = trip is looked_at
    mark, style = mark_of(trip, palette)
    pointer = "▸ " if is_selected else "≈ " if trip.number == compared else "  "
    took = words.duration(waterfall.elapsed_s(trip, now_s))
    number = f"#{trip.number}" if trip.number else "start"
    parts = [
        line((pointer, f"bold {palette.strong}"), (f"{number:>5}  ", palette.text)),
        padded(line((trip.cause, cause_style(trip.cause, palette))), 12),
        line((f"{mark} ", style), (f"{took:>8}  ", f"bold {palette.strong}" if is_selected else palette.text)),
    ]
    if bar:
        parts += [waterfall.strip(trip, bar, palette, now_s), line("  ")]
    if notes:
        parts += [_models(trip, palette), padded(_changed(trip, palette), notes)]
    made = padded(line(*parts), width)
    if is_selected:
        made.stylize_before(background(palette.strip))
    return made


def _models(trip: Trip, palette: Palette) -> Text:
    num_kept = sum(model.action == "kept" for model in trip.models)
    num_loaded = sum(model.action == "loaded" for model in trip.models)
    kept = (f"{num_kept:>3}●" if num_kept else "    ", palette.good)
    return line(kept, (f"{num_loaded:>3}○" if num_loaded else "    ", palette.warning), "   ")


def _changed(trip: Trip, palette: Palette) -> Text:
    if trip.problem is not None:
        where = trip.problem.where
        place = f"  {where.file}:{where.line}" if where is not None else ""
        return line((trip.problem.type, palette.bad), (place, palette.muted))
    tests = "tests failed  " if trip.tests is not None and trip.tests.outcome in {"failed", "broken"} else ""
    return line((tests, palette.bad), (words.paths(trip.paths), palette.muted))


def _keys(palette: Palette) -> Text:
    keys = [line((key, f"bold {palette.code}"), (f" {does}", palette.muted)) for key, does in _KEYS]
    return line("  ", fitting(keys, 60, gap="   "))


def _rest(above: int, below: int, palette: Palette) -> Text:
    said = [f"{above} newer" if above else "", f"{below} older" if below else ""]
    return line((", ".join(part for part in said if part), palette.muted))
