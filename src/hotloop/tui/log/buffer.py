"""The newest lines of a session, in memory. Pure: knows no events, no filters, no widgets."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

Level = Literal["D", "I", "W", "E", "-"]

SOURCES = ("app", "loop", "sync", "runner", "probe", "http", "tests")

MAX_LINES = 100_000
TRIM_LINES = 10_000  # one deletion at the front moves everything behind it: so many lines share it
MAX_BYTES = 40_000_000  # of text, whatever the number of lines
MAX_SHOWN = 1_000  # characters of a line that are searched and shown
MAX_WHOLE = 65_536  # characters of a line that are kept to be opened
MAX_WHOLE_BYTES = 4_000_000  # of all that are kept to be opened

_ESCAPE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"  # colours, cursor movements
    r"|(?:\x1b\]|\x9d)[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"  # titles, links, the clipboard
    r"|(?:\x1b[PX^_]|[\x90\x98\x9e\x9f])[^\x1b\x9c]*(?:\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]?"
)
_JOINER = "\u200d"  # between the parts of an emoji; nothing is lost without it


class Record(NamedTuple):
    """One line of the log.

    Attributes:
        at_s: Seconds since 1970.
        level: Of a line that separates others, ``-``.
        source: One of `SOURCES`.
        generation: That wrote it; 0 for none.
        iteration: During which it was written, or that a separator stands for; 0 before the first.
    """

    at_s: float
    level: Level
    source: str
    generation: int
    iteration: int
    text: str


# A record as it is kept. Python's collector of garbage leaves plain tuples of texts and numbers alone; it would visit 100,000
# tuples of a class again and again, 30 ms each time.
Row = tuple[float, Level, str, int, int, str]
LEVEL, SOURCE, TEXT = 1, 2, 5


def clean(text: str) -> str:
    """Take from a line what a terminal would obey: escape codes, control characters, changes of direction."""
    if text.isprintable():
        return text
    text = _ESCAPE.sub("", text).rstrip("\r\n")
    text = text.rpartition("\r")[2].expandtabs()  # a progress bar goes back to write over itself
    return text if text.isprintable() else "".join(_harmless(character) for character in text)


def _harmless(character: str) -> str:
    if character.isprintable():
        return character
    if character == _JOINER:
        return ""
    return " " if unicodedata.category(character) == "Zs" else "\N{REPLACEMENT CHARACTER}"


class Buffer:
    """A ring of lines. Each has a number for life: the first one that was ever added is 0, older ones that were found later are below.

    Attributes:
        first: The number of the oldest line that is kept.
        rows: Those that are kept, oldest first. Only to be read.
        counts: How many of them by level.
    """

    def __init__(
        self,
        *,
        max_lines: int = MAX_LINES,
        trim_lines: int = TRIM_LINES,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        """Prepare for at least `max_lines` lines, and up to `trim_lines` more, unless they are long ones.

        Args:
            max_lines: How many are kept.
            trim_lines: How many are forgotten at a time.
            max_bytes: Of text, whatever the number of lines.
        """
        self.first = 0
        self.rows: list[Row] = []
        self.counts: Counter[str] = Counter()
        self._max_lines = max_lines
        self._trim_lines = trim_lines
        self._max_bytes = max_bytes
        self._size_bytes = 0
        self._wholes: dict[int, str] = {}
        self._wholes_bytes = 0

    @property
    def end(self) -> int:
        """One past the number of the newest line."""
        return self.first + len(self.rows)

    def __getitem__(self, number: int) -> Record:
        """Give a line that is kept."""
        return Record(*self.rows[number - self.first])

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[tuple[int, Record]]:
        """Give the lines that are kept with their numbers, oldest first."""
        return ((number, Record(*row)) for number, row in enumerate(self.rows, self.first))

    def separators(self) -> Iterator[tuple[int, Record]]:
        """Give those that separate others."""
        return ((number, Record(*row)) for number, row in enumerate(self.rows, self.first) if row[LEVEL] == "-")

    def append(self, records: Iterable[Record]) -> int:
        """Add lines, cleaned already, and forget the oldest if there are too many. Returns how many were forgotten."""
        for record in records:
            self.rows.append(self._row(self.end, record))
        return self._trim()

    def prepend(self, records: Sequence[Record]) -> int:
        """Add lines that are older than all others, as far as there is room. Returns how many; the newest of them."""
        room = max(self._max_lines - len(self.rows), 0)
        fitting = records[max(len(records) - room, 0) :]
        self.first -= len(fitting)
        self.rows[:0] = [self._row(number, record) for number, record in enumerate(fitting, self.first)]
        return len(fitting)

    def _row(self, number: int, record: Record) -> Row:
        kept = record
        if len(record.text) > MAX_SHOWN:
            self._keep_whole(number, record.text[:MAX_WHOLE])
            kept = record._replace(text=f"{record.text[: MAX_SHOWN - 1]}…")
        self.counts[kept.level] += 1
        self._size_bytes += _bytes_of(kept.text)
        return kept[:]  # a slice is a plain tuple

    def whole(self, number: int) -> str:
        """Give a line's text as it was written, as far as that is kept."""
        return self._wholes.get(number, self[number].text)

    def _keep_whole(self, number: int, text: str) -> None:
        self._wholes[number] = text
        self._wholes_bytes += _bytes_of(text)
        while self._wholes_bytes > MAX_WHOLE_BYTES:
            self._forget_whole(next(iter(self._wholes)))

    def _forget_whole(self, number: int) -> None:
        self._wholes_bytes -= _bytes_of(self._wholes.pop(number))

    def _trim(self) -> int:
        over = len(self.rows) - self._max_lines
        count = over if over >= self._trim_lines else 0
        freed = sum(_bytes_of(row[TEXT]) for row in self.rows[:count])
        if self._size_bytes - freed > self._max_bytes:
            allowed = self._max_bytes * 9 // 10
            while count < len(self.rows) - 1 and self._size_bytes - freed > allowed:
                freed += _bytes_of(self.rows[count][TEXT])
                count += 1
        self.counts.subtract(row[LEVEL] for row in self.rows[:count])
        del self.rows[:count]
        self._size_bytes -= freed
        self.first += count
        for number in [number for number in self._wholes if number < self.first]:
            self._forget_whole(number)
        return count


def _bytes_of(text: str) -> int:
    return len(text) if text.isascii() else 4 * len(text)
