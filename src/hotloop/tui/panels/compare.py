"""Two iterations beside each other: what each phase took in both, and which models were loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotloop.devloop import words
from hotloop.tui.panels import waterfall
from hotloop.tui.panels.iteration import title
from hotloop.tui.panels.lines import finished, fitted, line, padded, spread
from hotloop.tui.panels.meanings import arrow, badge, cause_style, change, mark_of, phase_name, phase_style, title_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.text import Text

    from hotloop.tui.palette import Palette
    from hotloop.tui.state import State, Trip

_NAME, _TIME, _DELTA = 14, 10, 8


def draw(
    state: State, width: int, height: int, palette: Palette, now_s: float, *, compared: int | None = None
) -> list[Text]:
    """Compare the iteration that is looked at with another one; without a number, with the one before of its cause."""
    new = state.trip
    old = other(state, compared)
    if new is None or old is None:
        return finished([title("Compare", "there is no other iteration yet", width, palette)], width, height, palette)
    if old.number > new.number:
        old, new = new, old
    lines = [_title(old, new, width, palette), line(), *_phases(old, new, width, palette, now_s), line()]
    lines += [*_models(old, new, width, palette), *_whys(old, new, width, palette)]
    return finished(lines, width, height, palette)


def other(state: State, compared: int | None) -> Trip | None:
    """Give the iteration to compare with: that of a number, else the last good one before of the same cause."""
    trip = state.trip
    if trip is None:
        return None
    if compared is not None and compared != trip.number:
        return next((each for each in state.trips if each.number == compared), None)
    before = [each for each in state.trips if each.number < trip.number and each.outcome == "ok"]
    same = [each for each in before if each.cause == trip.cause]
    return (same or before or [None])[-1]


def _title(old: Trip, new: Trip, width: int, palette: Palette) -> Text:
    left = line(("Compare", f"bold {palette.strong}"), (f"  {title_of(old)} → {title_of(new)}", palette.muted))
    causes = dict.fromkeys((old.cause, new.cause))
    return spread(left, line(*(badge(cause, cause_style(cause, palette)) for cause in causes)), width)


def _phases(old: Trip, new: Trip, width: int, palette: Palette, now_s: float) -> list[Text]:
    olds = {step.phase.name: step.lasts_s for step in waterfall.steps_of(old, now_s) if not step.is_ahead}
    news = {step.phase.name: step.lasts_s for step in waterfall.steps_of(new, now_s) if not step.is_ahead}
    heads = (
        line((f"{_number(old)} ", palette.muted), mark_of(old, palette)),
        line((f"{_number(new)} ", palette.muted), mark_of(new, palette)),
    )
    rows = [line(" " * _NAME, *(padded(head, _TIME, is_right=True) for head in heads))]
    longest = max([*olds.values(), *news.values(), 1e-9])
    rows += [_row(name, olds.get(name), news.get(name), longest, width, palette) for name in _merged(olds, news)]
    total = (waterfall.elapsed_s(old, now_s), waterfall.elapsed_s(new, now_s))
    return [*rows, _line("to feedback", total[0], total[1], palette.strong, palette)]


def _number(trip: Trip) -> str:
    return f"#{trip.number}" if trip.number else "start"


def _merged(olds: Iterable[str], news: Iterable[str]) -> list[str]:
    """Names of both in order: those that only the longer one has stand where it has them."""
    first, second = list(olds), list(news)
    longer, shorter = (first, second) if len(first) >= len(second) else (second, first)
    return longer + [name for name in shorter if name not in longer]


def _row(name: str, old_s: float | None, new_s: float | None, longest_s: float, width: int, palette: Palette) -> Text:
    made = _line(phase_name(name), old_s, new_s, palette.text, palette)
    room = (width - made.cell_len - 4) // 2
    if room < 6:
        return made
    style = phase_style(name, palette)
    bars = [_bar(value or 0.0, longest_s, room, style, palette) for value in (old_s, new_s)]
    return line(made, "  ", bars[0], "  ", bars[1])


def _bar(value_s: float, longest_s: float, room: int, style: str, palette: Palette) -> Text:
    cells = min(max(round(value_s / longest_s * room), 1 if value_s > 0 else 0), room)
    return line((("=" if palette.is_ascii else "━") * cells, style), " " * (room - cells))


def _line(name: str, old_s: float | None, new_s: float | None, style: str, palette: Palette) -> Text:
    times = [words.duration(value) if value is not None else "—" for value in (old_s, new_s)]
    ratio = change(new_s, old_s) if old_s is not None and new_s is not None else None
    return line(
        padded(line((name, style)), _NAME),
        padded(line((times[0], palette.muted)), _TIME, is_right=True),
        padded(line((times[1], f"bold {palette.strong}")), _TIME, is_right=True),
        padded(arrow(ratio, palette), _DELTA, is_right=True),
    )


def _models(old: Trip, new: Trip, width: int, palette: Palette) -> list[Text]:
    names = dict.fromkeys(model.name for trip in (old, new) for model in trip.models)
    rows: list[Text] = []
    for name in names:
        actions = [next((m.action for m in trip.models if m.name == name), "—") for trip in (old, new)]
        parts = [padded(line((action, _action_style(action, palette))), _TIME, is_right=True) for action in actions]
        rows.append(fitted(line(padded(line((name, palette.text)), _NAME), *parts), width))
    return rows


def _action_style(action: str, palette: Palette) -> str:
    return {"kept": palette.good, "loaded": palette.warning, "failed": palette.bad}.get(action, palette.muted)


def _whys(old: Trip, new: Trip, width: int, palette: Palette) -> list[Text]:
    return [
        fitted(line((f"{_number(trip):<7}", palette.muted), (trip.why, palette.text)), width)
        for trip in (old, new)
        if trip.why
    ]
