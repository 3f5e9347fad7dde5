"""Wait for a moment, to some 50 microseconds: an event loop's own timers are a millisecond coarse, uvloop's and epoll's."""

from __future__ import annotations

import asyncio
import ctypes
import os
from typing import Self

_CLOCK_MONOTONIC = 1
_NONBLOCK_CLOEXEC = os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0)


class _Timespec(ctypes.Structure):
    _fields_ = (("s", ctypes.c_long), ("ns", ctypes.c_long))


class _TimerSpec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class Ticker:
    """Waits with a timer of the kernel's (timerfd) where there is one, else with the loop's. Use as a context manager."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._libc = ctypes.CDLL(None)
        self._timer = -1
        self._waiter: asyncio.Future[None] | None = None

    def __enter__(self) -> Self:
        if hasattr(self._libc, "timerfd_create"):
            self._timer = self._libc.timerfd_create(_CLOCK_MONOTONIC, _NONBLOCK_CLOEXEC)
        if self._timer >= 0:
            self._loop.add_reader(self._timer, self._rang)
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer >= 0:
            self._loop.remove_reader(self._timer)
            os.close(self._timer)
            self._timer = -1

    async def sleep(self, duration_s: float) -> None:
        """Wait; the others run meanwhile."""
        if self._timer < 0 or duration_s <= 0:
            await asyncio.sleep(max(duration_s, 0))
            return
        whole_s = int(duration_s)
        nanoseconds = max(int((duration_s - whole_s) * 1e9), 1)
        spec = _TimerSpec(_Timespec(0, 0), _Timespec(whole_s, nanoseconds))
        self._waiter = self._loop.create_future()
        self._libc.timerfd_settime(self._timer, 0, ctypes.byref(spec), None)
        await self._waiter

    def _rang(self) -> None:
        os.read(self._timer, 8)
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
