"""Laws of the filter: what is shown is what a naive one would show, whatever happened before."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotloop.tui.log.buffer import Buffer, Record
from hotloop.tui.log.filter import LEVELS, Filter, Search, View

TEXTS = st.text("abA.*[(é ", max_size=8)
RECORDS = st.builds(
    Record,
    at_s=st.just(0.0),
    level=st.sampled_from([*LEVELS, "-"]),
    source=st.sampled_from(["app", "loop", "http"]),
    generation=st.just(1),
    iteration=st.just(0),
    text=TEXTS,
)
SEARCHES = st.builds(Search, st.text("!abA.*é", max_size=4), st.booleans())
FILTERS = st.builds(Filter, SEARCHES, st.sampled_from(LEVELS), st.frozensets(st.sampled_from(["app", "loop", "http"])))
STEPS = st.lists(st.one_of(st.lists(RECORDS, max_size=15), FILTERS, st.integers(0, 6)), max_size=15)


def naive_finds(search: Search, text: str) -> bool:
    needle = search.typed.removeprefix("!")
    if not needle:
        return True
    is_sensitive = any(character.isupper() for character in needle)
    try:
        is_pattern = not search.is_text and any(character in ".*" for character in needle)
        pattern = re.compile(needle if is_pattern else re.escape(needle), 0 if is_sensitive else re.IGNORECASE)
    except re.error:
        pattern = re.compile(re.escape(needle), 0 if is_sensitive else re.IGNORECASE)
    return bool(pattern.search(text)) != search.typed.startswith("!")


def naive(buffer: Buffer, wanted: Filter) -> list[int]:
    return [
        number
        for number, record in buffer
        if (record.level == "-" or (LEVELS.index(record.level) >= LEVELS.index(wanted.level)))
        and (record.level == "-" or record.source not in wanted.hidden)
        and naive_finds(wanted.search, record.text)
    ]


@given(STEPS)
def test_rows_are_what_a_naive_filter_shows(steps: list[list[Record] | Filter | int]) -> None:
    buffer = Buffer(max_lines=20, trim_lines=5)
    view = View(buffer)
    rows: list[int] = []
    for step in steps:
        if isinstance(step, Filter):
            view.wanted = step
            view.catch_up()
        elif isinstance(step, int):
            view.wanted = view.wanted  # begins again, and is spread over time
            while view.is_behind:
                view.catch_up(step or 1)
        else:
            buffer.append(step)
            gone = view.catch_up()
            assert gone == len([number for number in rows if number < buffer.first])
        rows = [view[row] for row in range(len(view))]

        assert rows == naive(buffer, view.wanted)
        assert all(view.row_of(number) == row for row, number in enumerate(rows))


@given(SEARCHES, st.lists(TEXTS, max_size=5))
def test_what_is_marked_is_what_was_found(search: Search, texts: list[str]) -> None:
    for text in texts:
        spans = search.spans(text)

        assert all(0 <= start < end <= len(text) for start, end in spans)
        if search and not search.is_inverse and search.pattern is None:
            found = Record(0.0, "I", "app", 1, 0, text)
            assert bool(spans) == search.finds(found)


@pytest.mark.parametrize(
    ("typed", "text", "is_found"),
    [
        ("tok/s", "1,842 Tok/s", True),
        ("Tok/s", "1,842 tok/s", False),
        ("q=[23]", "q=3", True),
        ("q=[23", "q=[23", True),  # no pattern: a text
        ("*", "2 * 3", True),
        ("!batch", "batch=1", False),
        ("!batch", "other", True),
        ("!", "anything", True),
        ("app", "who wrote it", True),  # it stands in front of the line
        ("!app", "who wrote it", False),
        ("ap", "who wrote it", False),
        ("App", "who wrote it", False),
        ("a{99999999999}", "a{99999999999}", True),
    ],
)
def test_a_search_is_read_as_people_mean_it(typed: str, text: str, is_found: bool) -> None:
    assert Search(typed).finds(Record(0.0, "I", "app", 1, 0, text)) is is_found
