"""One line of a terminal that is written again and again, for what takes long; nothing anywhere else."""

from __future__ import annotations

import shutil
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text

_CLEAR = "\r\x1b[2K"


class UpdatingLine:
    """The last line of a terminal, until something else is printed."""

    def __init__(self, out: IO[str], *, is_terminal: bool) -> None:
        self._out = out
        self._is_terminal = is_terminal
        self._is_shown = False

    def show(self, line: Text) -> bool:
        """Write the line over the one before; False if this is no terminal, and nothing was done."""
        if not self._is_terminal:
            return False
        width = shutil.get_terminal_size().columns - 1
        fitting = line.copy()
        fitting.truncate(width, overflow="ellipsis")
        self._out.write(f"{_CLEAR}{fitting.plain}")
        self._out.flush()
        self._is_shown = True
        return True

    def clear(self) -> None:
        """Make room for what is printed next."""
        if self._is_shown:
            self._out.write(_CLEAR)
            self._is_shown = False
