"""Large payloads in shared memory: one end of a link fills a buffer and lends it to the other.

A buffer is a memfd that both ends have mapped. Its descriptor travels with its first loan, so that later ones cost a copy
into memory that is there already; fresh pages cost more than to copy them through the socket. What is borrowed is the
borrower's, to be read and written, for as long as it holds a view of it; when the last view is gone, a byte behind the
buffer tells the lender that it can be filled again. Nothing is sent for that, so that an end that dies owes nothing: its
mappings go with it, and the other end drops its own when the link closes.

Each end has few buffers and keeps little memory while they are idle. Where there is no memfd (macOS), no buffer is free, or
HOTLOOP_LENDING=off stands in the environment, a payload goes through the socket.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hotloop.frozen import frozen

Buffer = bytes | bytearray | memoryview
Payload = Buffer | Sequence[Buffer]

LEND_FROM_BYTES = 128 * 1024  # as measured: from here on the socket, which buffers about 200 KB, is slower
MAX_BUFFERS = 16
MAX_KEPT_BYTES = 128 * 1024 * 1024  # of buffers whose pages stay when nobody has them
KINDS = frozenset({"call", "stage", "result"})  # the frames whose receivers take a payload that is no bytes

_FREE, _LENT = 0, 1


@frozen
class Loan:
    """What travels of a payload that is lent.

    Attributes:
        header: For the frame: which buffer, how much of it.
        fds: The buffer's descriptor, if the other end has not got it yet. Whoever sends it closes it.
    """

    header: dict[str, Any]
    fds: tuple[int, ...]


@dataclass(slots=True)
class _Owned:
    """A buffer that this end fills.

    Attributes:
        is_kept: Whether its pages stay when it is given back.
        fd: Its descriptor until that was sent, then -1.
    """

    id: int
    capacity: int
    memory: mmap.mmap
    is_kept: bool
    fd: int

    @property
    def is_free(self) -> bool:
        return self.memory[self.capacity] == _FREE


@dataclass(slots=True)
class Lender:
    """The buffers that one end of a link fills.

    Args:
        from_bytes: The smallest payload that is lent.
        max_kept_bytes: How much of buffers that nobody has may stay in memory.
        can_lend: Whether there is shared memory.
    """

    from_bytes: int = LEND_FROM_BYTES
    max_kept_bytes: int = MAX_KEPT_BYTES
    can_lend: bool = hasattr(os, "memfd_create") and os.environ.get("HOTLOOP_LENDING") != "off"
    _buffers: list[_Owned] = field(default_factory=list[_Owned])
    _dropped: list[int] = field(default_factory=list[int])
    _next_id: int = 1

    def lend(self, payload: Payload) -> Loan | None:
        """Fill a buffer; None if the payload has to travel by itself."""
        pieces = pieces_of(payload)
        size = len(pieces[0]) if len(pieces) == 1 else sum(map(len, pieces))
        if size < self.from_bytes or not self.can_lend:
            return None
        buffer = self._find(size) or self._make(size)
        if buffer is None:
            return None
        start = 0
        for piece in pieces:
            buffer.memory[start : start + len(piece)] = piece
            start += len(piece)
        return self._loan(buffer, size)

    def close(self) -> None:
        """Let go of all buffers. What is lent stays the borrower's."""
        for buffer in self._buffers:
            _discard(buffer)
        self._buffers.clear()

    def _loan(self, buffer: _Owned, size: int) -> Loan:
        buffer.memory[buffer.capacity] = _LENT
        header: dict[str, Any] = {"id": buffer.id, "capacity": buffer.capacity, "size": size}
        if not buffer.is_kept:
            header["is_thrown"] = True
        if self._dropped:
            header["dropped"], self._dropped = self._dropped, []
        fds, buffer.fd = (buffer.fd,) if buffer.fd >= 0 else (), -1
        return Loan(header, fds)

    def _find(self, size: int) -> _Owned | None:
        """Find the smallest buffer that is free and large enough."""
        fitting = [buffer for buffer in self._buffers if buffer.capacity >= size and buffer.is_free]
        return min(fitting, key=lambda buffer: buffer.capacity, default=None)

    def _make(self, size: int) -> _Owned | None:
        """Make a buffer, in the place of one that is too small if there are many."""
        if len(self._buffers) >= MAX_BUFFERS and not self._drop_smallest():
            return None
        capacity = max(mmap.PAGESIZE, 1 << (size - 1).bit_length())
        kept_bytes = sum(buffer.capacity for buffer in self._buffers if buffer.is_kept)
        try:
            fd = os.memfd_create("hotloop-payload", os.MFD_CLOEXEC)
        except OSError:
            return None
        try:
            os.ftruncate(fd, capacity + mmap.PAGESIZE)
            memory = mmap.mmap(fd, capacity + mmap.PAGESIZE)
        except (OSError, ValueError):
            os.close(fd)
            return None
        buffer = _Owned(self._next_id, capacity, memory, kept_bytes + capacity <= self.max_kept_bytes, fd)
        self._next_id += 1
        self._buffers.append(buffer)
        return buffer

    def _drop_smallest(self) -> bool:
        free = [buffer for buffer in self._buffers if buffer.is_free]
        if not free:
            return False
        smallest = min(free, key=lambda buffer: buffer.capacity)
        self._buffers.remove(smallest)
        self._dropped.append(smallest.id)
        _discard(smallest)
        return True


class Borrower:
    """The other end's buffers, as this one has them mapped."""

    def __init__(self) -> None:
        self._buffers: dict[int, mmap.mmap] = {}

    def take(self, loan: dict[str, Any], fds: Sequence[int]) -> memoryview:
        """Give what is lent; the loan ends when the last view of it is gone.

        Args:
            loan: What the frame says.
            fds: The buffer's descriptor if it came along; closed here.

        Raises:
            OSError: It can't be mapped.
            KeyError: It is no buffer of the other end's.
        """
        for buffer_id in loan.get("dropped", ()):
            self._buffers.pop(buffer_id, None)
        capacity: int = loan["capacity"]
        try:
            for fd in fds:
                self._buffers[loan["id"]] = mmap.mmap(fd, capacity + mmap.PAGESIZE)
        finally:
            for fd in fds:
                os.close(fd)
        memory = self._buffers[loan["id"]]
        anchor = (ctypes.c_ubyte * capacity).from_buffer(memory)  # every view keeps it alive, however it was cut
        is_kept = not loan.get("is_thrown", False)
        weakref.finalize(anchor, _give_back, memory, capacity, os.getpid(), is_kept=is_kept).atexit = False
        return memoryview(anchor).cast("B")[: loan["size"]]

    def close(self) -> None:
        """Let go of the buffers; what is still viewed stays until it is not."""
        self._buffers.clear()


def pieces_of(payload: Payload) -> Sequence[Buffer]:
    """Give a payload's pieces in order."""
    return [payload] if isinstance(payload, bytes | bytearray | memoryview) else payload  # pyright: ignore[reportReturnType]


def _give_back(memory: mmap.mmap, capacity: int, pid: int, *, is_kept: bool) -> None:
    if os.getpid() != pid:
        return  # a child that the user's code forked: the loan is its parent's
    if not is_kept:
        with contextlib.suppress(OSError):
            memory.madvise(mmap.MADV_REMOVE, 0, capacity)
    memory[capacity] = _FREE


def _discard(buffer: _Owned) -> None:
    buffer.memory.close()
    if buffer.fd >= 0:
        os.close(buffer.fd)
        buffer.fd = -1
