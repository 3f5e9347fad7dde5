"""Laws of the ring, and what a line is cleaned of."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotloop.tui.log.buffer import MAX_SHOWN, MAX_WHOLE, MAX_WHOLE_BYTES, Buffer, Record, clean

MAX_LINES, TRIM_LINES, MAX_BYTES = 20, 5, 400


def record(text: str, level: str = "I", source: str = "app", iteration: int = 0) -> Record:
    return Record(0.0, level, source, 1, iteration, text)  # type: ignore[arg-type]


@given(st.lists(st.lists(st.text(max_size=60), max_size=30), max_size=20))
def test_the_newest_lines_are_kept_and_their_numbers_stay(batches: list[list[str]]) -> None:
    buffer = Buffer(max_lines=MAX_LINES, trim_lines=TRIM_LINES, max_bytes=MAX_BYTES)
    added: list[str] = []
    for batch in batches:
        trimmed = buffer.append([record(text) for text in batch])
        added += batch
        kept = [each.text for _, each in buffer]

        assert kept == added[buffer.first :]
        assert buffer.end == len(added)
        assert buffer.counts["I"] == len(kept)
        assert len(kept) < MAX_LINES + TRIM_LINES
        assert sum(len(text.encode()) for text in kept) <= MAX_BYTES or len(kept) == 1
        assert len(kept) >= min(MAX_LINES, len(added)) or trimmed or sum(map(len, added)) * 4 > MAX_BYTES


@pytest.mark.parametrize("count", [24, 25, 26])
def test_a_trim_takes_a_chunk_at_its_limit(count: int) -> None:
    buffer = Buffer(max_lines=MAX_LINES, trim_lines=TRIM_LINES)

    for number in range(count):
        buffer.append([record(str(number))])

    assert len(buffer) == {24: 24, 25: 20, 26: 21}[count]
    assert buffer[buffer.end - 1].text == str(count - 1)


@pytest.mark.parametrize("length", [MAX_SHOWN - 1, MAX_SHOWN, MAX_SHOWN + 1, MAX_WHOLE + 5])
def test_a_long_line_is_shown_cut_and_opened_whole(length: int) -> None:
    buffer = Buffer()

    buffer.append([record("x" * length)])

    assert len(buffer[0].text) == min(length, MAX_SHOWN)
    assert buffer[0].text.endswith("…") == (length > MAX_SHOWN)
    assert buffer.whole(0) == "x" * min(length, MAX_WHOLE)


def test_whole_lines_have_a_bound_and_go_with_their_record() -> None:
    buffer = Buffer()
    count = MAX_WHOLE_BYTES // MAX_WHOLE + 3

    buffer.append(record("x" * MAX_WHOLE) for _ in range(count))

    wholes = [len(buffer.whole(number)) for number in range(count)]
    assert wholes[:3] == [MAX_SHOWN] * 3
    assert wholes[-1] == MAX_WHOLE
    assert sum(size for size in wholes if size > MAX_SHOWN) <= MAX_WHOLE_BYTES


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x07", "link"),
        ("\x1b]52;c;cm0gLXJm\x07copied", "copied"),
        ("\x1bPq#0;2;0;0;0\x1b\\picture", "picture"),
        ("\x9b2Jcleared", "cleared"),
        ("\x1b[2J\x1b[Hcleared\x1b", "cleared"),
        (" 10%|#   |\r 20%|##  |", " 20%|##  |"),
        ("done\r", "done"),
        ("a\tb", "a       b"),
        ("bell\x07 null\x00", "bell� null�"),
        ("\u202egnp.exe", "�gnp.exe"),
        ("half \ud800 pair", "half � pair"),
        ("wide\u3000space nbsp\u00a0", "wide space nbsp "),
        ("\U0001f469\u200d\U0001f680", "\U0001f469\U0001f680"),
        ("[bold]no markup[/bold]", "[bold]no markup[/bold]"),
    ],
)
def test_nothing_that_a_terminal_obeys_is_left(written: str, shown: str) -> None:
    assert clean(written) == shown


@given(st.text(st.characters(), max_size=200))
def test_what_is_cleaned_is_printable_and_stays_as_it_is(text: str) -> None:
    cleaned = clean(text)

    assert cleaned.isprintable()
    assert clean(cleaned) == cleaned
    cleaned.encode()
