"""What holds for every panel, whatever the state, the size and the palette."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console
from tests.tui.panel_states import ASCII, MONO, NIGHT, NOW_S, PAPER, STATES
from tests.tui.state_strategies import EXPERIENCES, NASTY, states, trips

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
    waterfall,
)  # fmt: skip
from hotloop.tui.panels.bars import boundaries
from hotloop.tui.panels.lines import clean

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.text import Text

PANELS: dict[str, Callable[..., list[Text]]] = {
    "cold": cold.draw, "compare": compare.draw, "dx": dx.draw, "empty": empty.draw, "error": error.draw,
    "explain": explain.draw, "history": history.draw, "iteration": iteration.draw, "machine": machine.draw,
    "oom": oom.draw, "probe": probe.draw, "runtime": runtime.draw, "strip": runtime.draw_strip, "table": table.draw,
}  # fmt: skip
PALETTES = st.sampled_from((NIGHT, PAPER, ASCII, MONO))
QUICK = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))

CONSOLE = Console(width=240, color_system="truecolor", force_terminal=True, record=False)


def check(lines: list[Text], width: int, height: int) -> None:
    """Hold the lines to the size, and to text that does nothing to a terminal."""
    assert len(lines) <= height
    for each in lines:
        assert each.cell_len <= width, (each.plain, each.cell_len, width)
        bad = [char for char in each.plain if unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"}]
        assert not bad, (each.plain, bad)
        assert not any(char in each.plain for char in "\u202a\u202b\u202d\u202e\u2066\u2067\u2068\u200b\ufeff")
        list(each.render(CONSOLE))  # its styles can be read


@settings(QUICK, max_examples=60)
@given(states(), st.integers(20, 200), st.integers(1, 60), PALETTES, st.floats(0.0, 1e5))
def test_every_state_fits_at_every_size(state, width, height, palette, now_s):
    for draw in PANELS.values():
        check(draw(state, width, height, palette, now_s), width, height)


@QUICK
@given(states(), EXPERIENCES, st.integers(20, 200), st.integers(1, 60), PALETTES)
def test_every_experience_fits_at_every_size(state, experience, width, height, palette):
    check(dx.draw(state, width, height, palette, NOW_S, experience=experience), width, height)


@QUICK
@given(trips(7), st.integers(20, 200), st.floats(0.0, 1e5))
def test_phases_are_contiguous_and_sum_to_what_the_title_says(trip, width, now_s):
    steps = waterfall.steps_of(trip, now_s)
    done_s = sum(step.lasts_s for step in steps if not step.is_ahead)

    if trip.feedback_s is not None:
        assert done_s == pytest.approx(trip.feedback_s)
    elif any(step.phase.is_live for step in steps):
        assert done_s >= waterfall.elapsed_s(trip, now_s) - 1e-6


@QUICK
@given(trips(7), st.integers(40, 55), st.floats(0.0, 1e5))
def test_bars_of_the_waterfall_begin_where_the_one_before_ends(trip, width, now_s):
    reached = 0
    for text in waterfall.rows(trip, width, NIGHT, now_s):
        bar = text.plain[waterfall.name_cells(trip) : width - 14]
        cells = [index for index, char in enumerate(bar) if char != " "]
        if not cells:
            continue
        assert cells == list(range(cells[0], cells[-1] + 1))
        assert abs(cells[0] - reached) <= 1, (text.plain, reached)
        reached = max(cells[-1], reached)


@given(st.lists(st.floats(0.0, 1e6), max_size=8), st.integers(1, 200))
def test_parts_of_an_axis_fill_it_without_a_gap(parts, width):
    marks = boundaries(parts, sum(parts), width)

    assert marks == sorted(marks)
    assert len(marks) == len(parts) + 1
    assert marks[0] == 0
    assert marks[-1] == (width * 8 if sum(parts) > 0 else 0)


@given(NASTY)
def test_cleaned_text_is_stable_and_harmless(text):
    cleaned = clean(text)

    assert clean(cleaned) == cleaned
    assert "\x1b" not in cleaned
    assert "\n" not in cleaned


@pytest.mark.parametrize("name", sorted(PANELS))
def test_sizes_too_small_for_use_do_no_harm(name):
    for make in STATES.values():
        for width in (1, 2, 5, 12, 19):
            check(PANELS[name](make(), width, 3, NIGHT, NOW_S), width, 3)
        assert PANELS[name](make(), 40, 0, NIGHT, NOW_S) == []


@pytest.mark.parametrize("name", sorted(PANELS))
def test_ascii_is_ascii(name):
    for make in STATES.values():
        for each in PANELS[name](make(), 100, 30, ASCII, NOW_S):
            assert each.plain.isascii(), each.plain
