"""Memory that outlives the process that filled it: sealed memfds, mapped copy-on-write.

A sealed memfd can't be written by anybody; a private mapping lets user code write to its own copy of a page.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import threading
from collections.abc import Sequence

from hotloop.frozen import frozen

_SEALS = 0x0008 | 0x0004 | 0x0002 | 0x0001  # write, grow, shrink, and no further seals
_F_ADD_SEALS = 1033
_MADV_POPULATE_READ = 22
_PAGE_BYTES = mmap.PAGESIZE
_PAGED_FROM_BYTES = 1 << 16
_POPULATE_STEP_BYTES = 32 << 20


@frozen
class Slot:
    """A stretch of one arena.

    Attributes:
        arena: Which of the payload's arenas.
        offset: In bytes from its start.
        size_bytes: Its length.
    """

    arena: int
    offset: int
    size_bytes: int


def place_all(sizes_bytes: Sequence[int], arena: int) -> tuple[list[Slot], int]:
    """Lay out blocks one after the other.

    Large ones start on a page of their own, so that writing to one copies no page of another.

    Returns:
        A slot for each size, and the length of it all.
    """
    slots: list[Slot] = []
    end = 0
    for size in sizes_bytes:
        grain = _PAGE_BYTES if size >= _PAGED_FROM_BYTES else 64
        start = -(-end // grain) * grain
        slots.append(Slot(arena, start, size))
        end = start + size
    return slots, max(-(-end // _PAGE_BYTES) * _PAGE_BYTES, _PAGE_BYTES)


def write(blocks: Sequence[memoryview], slots: Sequence[Slot], size_bytes: int) -> int:
    """Copy blocks into a new sealed memfd; the caller owns the descriptor.

    By writing: storing into a mapping of it faults once a page, which takes as long again (538 MB: 331 ms, 676 mapped).
    """
    fd = os.memfd_create("hotloop-model", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, size_bytes)
        for block, slot in zip(blocks, slots, strict=True):
            _write_at(fd, block, slot)
        fcntl.fcntl(fd, _F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _write_at(fd: int, block: memoryview, slot: Slot) -> None:
    num_written = 0
    while num_written < slot.size_bytes:  # one call writes 2 GiB at most
        num_written += os.pwrite(fd, block[num_written:], slot.offset + num_written)


def open_private(fd: int) -> mmap.mmap:
    """Map an arena: reads share its pages, a write copies the page for this process alone."""
    size = os.fstat(fd).st_size
    return mmap.mmap(fd, size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)


def prefault(memory: mmap.mmap) -> threading.Thread:
    """Have a mapping's pages entered in the page table by a thread, so that first reads do not fault.

    MAP_POPULATE would write-fault a private mapping: a full copy (338 ms and 512 MB for 512 MB).
    """
    thread = threading.Thread(target=_populate, args=(memory,), name="hotloop-prefault", daemon=True)
    thread.start()
    return thread


def _populate(memory: mmap.mmap) -> None:
    madvise = ctypes.CDLL(None, use_errno=True).madvise
    size = len(memory)
    anchor = ctypes.c_char.from_buffer(memory)
    for start in range(0, size, _POPULATE_STEP_BYTES):
        length = min(_POPULATE_STEP_BYTES, size - start)
        at = ctypes.c_void_p(ctypes.addressof(anchor) + start)
        if madvise(at, ctypes.c_size_t(length), _MADV_POPULATE_READ):
            return  # before Linux 5.14 there is no such advice: pages fault when they are read
