"""Where panels are: on the screen, not on each other, at every size."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotloop.tui.arrangement import ALONE, Box, arrange, is_too_small

SIZES = st.tuples(st.integers(1, 300), st.integers(1, 120))


def overlaps(one: Box, other: Box) -> bool:
    beside = one.x + one.width <= other.x or other.x + other.width <= one.x
    above = one.y + one.height <= other.y or other.y + other.height <= one.y
    return not (beside or above)


@given(SIZES, st.sampled_from(["loop", "logs", *ALONE]), st.sampled_from(["", "probe", "logs"]))
def test_every_panel_is_on_the_screen_and_on_no_other(size: tuple[int, int], view: str, zoomed: str):
    width, height = size
    boxes = arrange(width, height, view, zoomed)

    for box in boxes.values():
        assert box.x >= 0
        assert box.y >= 0
        assert box.width >= 1
        assert box.height >= 1
        assert box.x + box.width <= width
        assert box.y + box.height <= height
    assert not any(overlaps(*pair) for pair in itertools.combinations(boxes.values(), 2))


@given(SIZES)
def test_keys_are_on_the_last_line_unless_there_is_no_room_for_a_dashboard(size: tuple[int, int]):
    boxes = arrange(*size)

    assert ("too_small" in boxes) == is_too_small(*size)
    if not is_too_small(*size):
        assert boxes["keys"].y == size[1] - 1
        assert boxes["logs"].height >= 2


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ((104, 32), {"iteration", "history", "probe", "runtime", "logs"}),
        ((103, 32), {"iteration", "runtime_strip", "logs"}),
        ((104, 31), {"iteration", "runtime_strip", "logs"}),
        ((56, 20), {"iteration", "runtime_strip", "logs"}),
        ((56, 19), {"iteration", "logs"}),
        ((40, 10), {"iteration", "logs"}),
        ((39, 10), set()),
        ((40, 9), set()),
    ],
)
def test_what_is_shown_at_which_size(size: tuple[int, int], shown: set[str]):
    assert set(arrange(*size)) - {"status", "strip", "keys", "too_small"} == shown
