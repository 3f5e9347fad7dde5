"""Read what a process writes, line by line, without ever blocking it for long."""

from __future__ import annotations

import asyncio
import codecs
import os
from collections.abc import Callable

MAX_LINE_CHARACTERS = 10_000


class LineReader:
    """Owns the reading end of a pipe and calls back with each line, without its line break.

    A line that grows past `MAX_LINE_CHARACTERS` is given in pieces. What is left at the end of the pipe is the last line.
    """

    def __init__(self, fd: int, on_line: Callable[[str], None]) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._on_line = on_line
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""
        self._is_open = True
        asyncio.get_running_loop().add_reader(fd, self._readable)

    def close(self) -> None:
        """Give what is there still, and close the pipe."""
        if self._is_open:
            self._is_open = False
            self._drain()
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            if self._rest:
                self._on_line(self._rest)
                self._rest = ""

    def _readable(self) -> None:
        if self._is_open and not self._read_once():
            self.close()

    def _drain(self) -> None:
        for _ in range(64):
            if not self._read_once():
                return

    def _read_once(self) -> bool:
        try:
            data = os.read(self._fd, 1 << 16)
        except BlockingIOError:
            return self._is_open
        except OSError:
            return False
        *lines, self._rest = (self._rest + self._decoder.decode(data)).split("\n")
        while len(self._rest) > MAX_LINE_CHARACTERS:
            lines.append(self._rest[:MAX_LINE_CHARACTERS])
            self._rest = self._rest[MAX_LINE_CHARACTERS:]
        for line in lines:
            self._on_line(line.removesuffix("\r"))
        return bool(data)
