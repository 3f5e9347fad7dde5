"""Which lines are shown: a text or pattern, the lowest level, the sources. Pure."""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from hotloop.tui.log.buffer import LEVEL, SOURCE, SOURCES, TEXT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hotloop.tui.log.buffer import Buffer, Level, Record, Row

LEVELS: tuple[Level, ...] = ("D", "I", "W", "E")
_SPECIAL = re.compile(r"[\\^$.|?*+()\[\]{}]")


@dataclass(frozen=True)
class Search:
    """What was typed behind the slash.

    A pattern if it has characters special in one and is valid, else a text. Upper and lower case differ only if there
    is an upper-case letter in it. The name of a source finds its lines too: it stands in front of them. ``!`` in front
    looks for lines without it.

    Attributes:
        typed: As it was.
        is_text: It is none, even if it could be a pattern.
    """

    typed: str = ""
    is_text: bool = False

    @property
    def is_inverse(self) -> bool:
        """Whether lines are wanted that do not have it."""
        return self.typed.startswith("!")

    @property
    def needle(self) -> str:
        """What is looked for."""
        return self.typed.removeprefix("!")

    @property
    def is_case_sensitive(self) -> bool:
        """Whether upper and lower case differ."""
        return self.needle != self.needle.lower()

    @cached_property
    def pattern(self) -> re.Pattern[str] | None:
        """None if it is a text."""
        if self.is_text or not _SPECIAL.search(self.needle):
            return None
        try:
            return re.compile(self.needle, 0 if self.is_case_sensitive else re.IGNORECASE)
        except (re.error, OverflowError, RecursionError):
            return None

    def __bool__(self) -> bool:
        return bool(self.needle)

    def finds(self, record: Record) -> bool:
        """Whether a line is wanted."""
        return bool(self.pick([(0, record)]))

    def pick(self, numbered: Iterable[tuple[int, Row]]) -> list[int]:
        """Give the numbers of those that are wanted: all, if nothing is looked for."""
        needle, is_found = self.needle, not self.is_inverse
        if not needle:
            return [number for number, _ in numbered]
        if self.pattern is not None:
            search = self.pattern.search
            return [number for number, row in numbered if (search(row[TEXT]) is not None) is is_found]
        if self.is_case_sensitive:
            return [number for number, row in numbered if (needle in row[TEXT]) is is_found]
        if needle in SOURCES:
            return [
                number
                for number, row in numbered
                if (needle in row[TEXT].lower() or (row[SOURCE] == needle and row[LEVEL] != "-")) is is_found
            ]
        return [number for number, row in numbered if (needle in row[TEXT].lower()) is is_found]

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Say where in a line it is, from and to."""
        if not self or self.is_inverse:
            return []
        pattern = self.pattern or re.compile(re.escape(self.needle), 0 if self.is_case_sensitive else re.IGNORECASE)
        return [match.span() for match in pattern.finditer(text) if match.end() > match.start()]


@dataclass(frozen=True)
class Filter:
    """Which lines are wanted. Separators are, whatever their source; only a search leaves them out.

    Attributes:
        level: The lowest that is wanted.
        hidden: Sources that are not.
    """

    search: Search = field(default_factory=Search)
    level: Level = "D"
    hidden: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.search) or self.level != "D" or bool(self.hidden)

    @cached_property
    def levels(self) -> frozenset[str]:
        """Those that are wanted."""
        return frozenset(LEVELS[LEVELS.index(self.level) :])

    def pick(self, rows: Iterable[Row], first: int) -> list[int]:
        """Give the numbers of the lines that are wanted. One loop a case, as there may be 100,000.

        Args:
            rows: Some that follow one another.
            first: The first one's number.
        """
        numbered = enumerate(rows, first)
        if self.level == "D" and not self.hidden:
            return self.search.pick(numbered)
        scope = {(level, source) for level in LEVELS[LEVELS.index(self.level) :] for source in SOURCES} - {
            (level, source) for level in LEVELS for source in self.hidden
        }
        scope |= {("-", source) for source in SOURCES}
        if not self.search:
            return [number for number, row in numbered if row[LEVEL : SOURCE + 1] in scope]
        return self.search.pick((number, row) for number, row in numbered if row[LEVEL : SOURCE + 1] in scope)


class View:
    """The lines of a buffer that a filter wants, as rows counted from 0.

    Follows the buffer when told to (`catch_up`), so that a slow search can be spread over time.
    """

    def __init__(self, buffer: Buffer) -> None:
        """Show everything."""
        self._buffer = buffer
        self._filter = Filter()
        self._numbers: array[int] | None = None  # None: all of them
        self._next = 0  # the first line that was not looked at yet

    @property
    def wanted(self) -> Filter:
        """What is wanted."""
        return self._filter

    @wanted.setter
    def wanted(self, wanted: Filter) -> None:
        self._filter = wanted
        self._numbers = array("q") if wanted else None
        self._next = self._buffer.first

    @property
    def is_behind(self) -> bool:
        """Whether there are lines that were not looked at yet."""
        return self._numbers is not None and self._next < self._buffer.end

    def catch_up(self, max_lines: int | None = None) -> int:
        """Look at lines that came, and drop those that are gone.

        Args:
            max_lines: Look at no more than these; None for all.

        Returns:
            How many rows are gone from the top.
        """
        if self._numbers is None:
            gone = self._buffer.first - self._next
            self._next = self._buffer.first
            return max(gone, 0)
        gone = bisect_left(self._numbers, self._buffer.first)
        del self._numbers[:gone]
        start = max(self._next, self._buffer.first)
        end = self._buffer.end if max_lines is None else min(start + max_lines, self._buffer.end)
        first = self._buffer.first
        self._numbers.extend(self._filter.pick(self._buffer.rows[start - first : end - first], start))
        self._next = end
        return gone

    def __len__(self) -> int:
        return len(self._buffer) if self._numbers is None else len(self._numbers)

    def __getitem__(self, row: int) -> int:
        """Give the number of the line at a row.

        Raises:
            IndexError: There is no such row.
        """
        if self._numbers is not None:
            return self._numbers[row]
        if not 0 <= row < len(self):
            raise IndexError(row)
        return self._buffer.first + row

    def row_of(self, number: int) -> int:
        """Give the row of a line, or of the next one that is shown; the number of rows if there is none."""
        if self._numbers is not None:
            return bisect_left(self._numbers, number)
        return min(max(number - self._buffer.first, 0), len(self))
