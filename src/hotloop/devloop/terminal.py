"""This process's own terminal, handed over to a program elsewhere."""

from __future__ import annotations

import os
import signal
import sys
import termios
import tty
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hotloop.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import FrameType


class Terminal:
    """The terminal on stdin."""

    def __init__(self) -> None:
        """Find it.

        Raises:
            UsageError: There is none.
        """
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            msg = "hotloop shell needs a terminal, and stdin or stdout is none"
            raise UsageError(msg, hint="run a command without one: hotloop exec -- sh -c '...'")
        self._fd = sys.stdin.fileno()

    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        columns, rows = os.get_terminal_size(self._fd)
        return rows, columns

    @contextmanager
    def raw(self) -> Generator[None]:
        """Pass each key on as it is typed; afterwards the terminal is as it was, whatever ended the block."""
        before = termios.tcgetattr(self._fd)

        def woken(_number: int, _frame: FrameType | None) -> None:  # a shell that stopped us took the terminal back
            tty.setraw(self._fd, termios.TCSADRAIN)

        handler = signal.signal(signal.SIGCONT, woken)
        try:
            tty.setraw(self._fd, termios.TCSADRAIN)
            yield
        finally:
            signal.signal(signal.SIGCONT, handler)
            termios.tcsetattr(self._fd, termios.TCSADRAIN, before)
