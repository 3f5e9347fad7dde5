"""Pages of memory that a reload writes to, so that the next standby has copies of its own before anybody waits.

What a fork shares is copied page by page when it is written to first, at some 3 µs each. Children of one zygote write to
nearly the same pages while they become ready and answer first: one notes which, the others copy those ahead. It changes
nothing of what is in them. Linux only; elsewhere nothing happens.
"""

from __future__ import annotations

import array
import ctypes
import os
from collections.abc import Iterable

from hotloop.frozen import frozen

MAX_PAGES = 2048  # 8 MB a standby

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_ENTRY_BYTES = 8  # of /proc/self/pagemap; the bits are those of the kernel's admin-guide/mm/pagemap
_OWN = 1 << 63 | 1 << 56  # present, and mapped by nobody else
_MAX_BYTES = 256 << 20  # a larger mapping is weights, or room that somebody reserved
_POPULATE_WRITE = 23  # MADV_POPULATE_WRITE, since Linux 5.14

Ranges = list[tuple[int, int]]  # of addresses: first, end


@frozen
class Pages:
    """The anonymous memory of this process: where it is mapped, and which pages are its alone, by address."""

    mapped: Ranges
    own: frozenset[int]

    def written_since(self) -> Ranges:
        """What was shared, or not there, and is this process's alone now, at most `MAX_PAGES`."""
        try:
            return _joined(sorted(_own_in(self.mapped) - self.own)[:MAX_PAGES])
        except OSError:  # the app has made its process one that nobody may look into
            return []


def look() -> Pages | None:
    """See what there is; None if the system does not say. Takes some 10 ms for 250 MB."""
    try:
        with open("/proc/self/maps", encoding="utf-8") as maps:  # noqa: PTH123
            mapped = [found for line in maps if (found := _range_of(line)) is not None]
        return Pages(mapped, _own_in(mapped))
    except (OSError, ValueError):
        return None


def make_own(ranges: Iterable[Iterable[int]]) -> None:
    """Copy pages that are shared as yet. What is not mapped here is passed over."""
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for first, end in ranges:
        madvise(first, end - first, _POPULATE_WRITE)


def _range_of(line: str) -> tuple[int, int] | None:
    """The addresses of a line of /proc/self/maps, if it is memory to be written that is of no file."""
    addresses, rights, _, _, inode, *_ = line.split(None, 5)
    first, end = (int(part, 16) for part in addresses.split("-"))
    return (first, end) if rights == "rw-p" and inode == "0" and end - first <= _MAX_BYTES else None


def _own_in(ranges: Ranges) -> frozenset[int]:
    """The pages within some ranges that are this process's alone; none where nothing is mapped any more."""
    fd = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return frozenset(page for first, end in ranges for page in _own_pages(fd, first, end))
    finally:
        os.close(fd)


def _own_pages(fd: int, first: int, end: int) -> list[int]:
    entries = array.array("Q")
    entries.frombytes(os.pread(fd, (end - first) // _PAGE_BYTES * _ENTRY_BYTES, first // _PAGE_BYTES * _ENTRY_BYTES))
    return [first + at * _PAGE_BYTES for at, entry in enumerate(entries) if entry & _OWN == _OWN]


def _joined(pages: list[int]) -> Ranges:
    """Ranges of sorted pages."""
    ranges: Ranges = []
    for page in pages:
        if ranges and ranges[-1][1] == page:
            ranges[-1] = (ranges[-1][0], page + _PAGE_BYTES)
        else:
            ranges.append((page, page + _PAGE_BYTES))
    return ranges
