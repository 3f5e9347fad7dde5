"""What a comparison of two outputs says."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotloop.devloop import diff


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("same", "same", ()),
        ('"a b"', '"a c"', ("- a b", "+ a c")),
        ("not json", "other", ("- not json", "+ other")),
        ("[0.1234567]", "[0.12345671]", ()),
        ("[0.12]", "[0.13]", ("- [0.12]", "+ [0.13]")),
        ('{"a": 1}', '{"a": 1.0}', ()),
        ('{"a": 1}', '{"a": true}', ('- {"a": 1}', '+ {"a": true}')),
        ('{"a": 1}', '{"b": 1}', ('- {"a": 1}', '+ {"b": 1}')),
        ('"one\\ntwo"', '"one\\nthree"', ("- two", "+ three")),
        ("NaN", "1", ("- NaN", "+ 1")),
    ],
)
def test_compare(before, after, expected):
    assert diff.compare(before, after) == expected


def test_one_item_of_a_long_list_is_pointed_at():
    numbers = list(range(100, 200))

    changed = diff.compare(json.dumps(numbers), json.dumps([*numbers[:50], 0, *numbers[51:]]))

    assert changed == ("-  150,", "+  0,")


def test_a_long_difference_is_cut_with_a_count():
    before, after = "\n".join("a" * 20), "\n".join("b" * 20)

    lines = diff.compare(before, after)

    assert len(lines) == diff.MAX_LINES + 1
    assert lines[-1] == "  … 28 more lines"


@pytest.mark.parametrize(("length", "is_cut"), [(399, False), (400, False), (401, True)])
def test_a_long_line_is_cut_with_a_count(length, is_cut):
    (line,) = diff.preview("x" * length)

    assert line.endswith("… 1 more characters") is is_cut


def test_words_that_changed_are_marked():
    left, right = diff.words("within 30 days of purchase", "within 14 days of delivery")

    assert [text for text, is_changed in left if is_changed] == ["30", "purchase"]
    assert [text for text, is_changed in right if is_changed] == ["14", "delivery"]


@given(st.text(alphabet="ab \n", max_size=40), st.text(alphabet="ab \n", max_size=40))
def test_outputs_differ_exactly_if_there_is_a_difference_to_show(before, after):
    is_same = (before.splitlines() or [""]) == (after.splitlines() or [""])

    assert (diff.compare(before, after) == ()) is is_same
