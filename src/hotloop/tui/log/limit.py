"""A limit on what can't be interrupted otherwise: one search by pattern can take longer than the universe is old."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import FrameType


class TooSlowError(Exception):
    """It took longer than it may."""


@contextmanager
def within(limit_s: float) -> Generator[None]:
    """Interrupt the block after so many seconds, in the main thread; elsewhere let it run.

    `re` looks for signals while it searches, and a thread of its own would not help: it holds the interpreter's lock.

    Raises:
        TooSlowError: It took longer.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, _interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, limit_s)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.signal(signal.SIGALRM, before)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise TooSlowError
