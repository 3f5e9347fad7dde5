"""The numbered events of a session, on disk, so that a client that comes back gets what it missed."""

from __future__ import annotations

import contextlib
import json
import os
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_BYTES = 4 << 20  # of one file; two are kept
MAX_IN_MEMORY = 5000
_NEW, _OLD = "events.jsonl", "events.old.jsonl"
_CUT = "events.cut"  # there if events since the last `clear` are not kept any more
_SEEN = "events.seen"
_TO_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC


class Journal:
    """An append-only list of events, numbered from 1, bounded on disk and in memory.

    Attributes:
        last: The newest event's number.
        seen: A client said that it has the events up to this number. Kept on disk, so that it outlives a process that is killed.
    """

    def __init__(self, folder: Path, *, max_bytes: int = MAX_BYTES, max_in_memory: int = MAX_IN_MEMORY) -> None:
        self._path = folder / _NEW
        self._old_path = folder / _OLD
        self._cut_path = folder / _CUT
        self._max_bytes = max_bytes
        self._recent: deque[tuple[int, bytes]] = deque(maxlen=max_in_memory)
        for number, event in _kept(folder, 0):
            if self._recent and number != self._recent[-1][0] + 1:
                self._recent.clear()  # its numbers have no gap
            self._recent.append((number, event))
        self.last = self._recent[-1][0] if self._recent else 0
        self._fd = self._open()
        self._size_bytes = os.fstat(self._fd).st_size
        self._end_cut_line()
        self._seen_fd = os.open(folder / _SEEN, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        said = os.pread(self._seen_fd, 20, 0)
        self.seen = int(said) if said.isdigit() else 0  # no digits: a new file, or zeros that a power cut left
        self.go_on_from(self.seen)  # those were forgotten

    def close(self) -> None:
        """Close the files."""
        os.close(self._fd)
        os.close(self._seen_fd)

    def append(self, event: bytes) -> int:
        """Number an event (one line of JSON) and keep it."""
        self.last += 1
        self._recent.append((self.last, event))
        self._write(b"%d %s\n" % (self.last, event))
        if self._size_bytes > self._max_bytes:
            self._rotate()
        return self.last

    def since(self, number: int, limit: int = 200) -> list[tuple[int, bytes]]:
        """The oldest kept events after a number, at most ``limit``."""
        if number >= self.last:
            return []
        if self._recent and self._recent[0][0] <= number + 1:
            start = number + 1 - self._recent[0][0]
            return [self._recent[index] for index in range(start, min(start + limit, len(self._recent)))]
        return list(islice(_kept(self._path.parent, number), limit))

    def note_seen(self, number: int) -> None:
        """Note that a client has the events up to a number."""
        number = min(number, self.last)
        if number > self.seen:
            self.seen = number
            with contextlib.suppress(OSError):  # no room: the next process tells what this one knew to be seen
                os.pwrite(self._seen_fd, b"%020d" % number, 0)

    def go_on_from(self, number: int) -> None:
        """Number what comes higher than this: a client has that event, and this journal lost it."""
        if number > self.last:
            self.last = number
            self._recent.clear()  # its numbers have no gap

    def clear(self) -> None:
        """Forget all events, seen or not; the numbers go on."""
        self.note_seen(self.last)
        self._old_path.unlink(missing_ok=True)
        self._cut_path.unlink(missing_ok=True)
        os.ftruncate(self._fd, 0)
        self._size_bytes = 0
        self._recent.clear()

    def _write(self, line: bytes) -> None:
        """Keep a line. One that the disk has no room for is in memory alone, and the whole lines before it stay whole."""
        try:
            if os.write(self._fd, line) == len(line):
                self._size_bytes += len(line)
                return
            os.ftruncate(self._fd, self._size_bytes)
        except OSError:
            pass
        with contextlib.suppress(OSError):
            self._cut_path.touch()

    def _end_cut_line(self) -> None:
        if self._size_bytes and self._path.read_bytes()[-1:] != b"\n":
            self._write(b"\n")

    def _open(self) -> int:
        return os.open(self._path, _TO_APPEND, 0o600)

    def _rotate(self) -> None:
        """Begin a new file. Where that can't be, the one there is goes on."""
        with contextlib.suppress(OSError):
            if self._old_path.exists():
                self._cut_path.touch()
            fresh = self._path.with_name(f"{_NEW}.new")
            fd = os.open(fresh, _TO_APPEND, 0o600)
            self._path.replace(self._old_path)
            fresh.replace(self._path)
            os.close(self._fd)
            self._fd, self._size_bytes = fd, 0


def is_there(folder: Path) -> bool:
    """Whether a folder has a journal, open or not."""
    return (folder / _NEW).exists()


def is_cut(folder: Path) -> bool:
    """As `Journal.is_cut`."""
    return (folder / _CUT).exists()


def kept(folder: Path, after: int = 0) -> list[tuple[int, bytes]]:
    """All kept events after a number, of a journal that is open or not."""
    return list(_kept(folder, after))


def _kept(folder: Path, after: int) -> Iterator[tuple[int, bytes]]:
    for path in (folder / _OLD, folder / _NEW):
        for line in path.read_bytes().split(b"\n") if path.exists() else ():
            number, _, event = line.partition(b" ")
            if number.isdigit() and int(number) > after and _is_json(event):  # a crash may cut the last line short
                yield int(number), event


def _is_json(event: bytes) -> bool:
    try:
        json.loads(event)
    except ValueError:
        return False
    return True
