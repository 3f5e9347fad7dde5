"""The terminal, read by a thread that sleeps until there is something to read: Textual's own looks ten times a second."""

from __future__ import annotations

import os
import select
import threading
from codecs import getincrementaldecoder
from typing import TYPE_CHECKING, Any

from textual import constants
from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver

if TYPE_CHECKING:
    from textual.app import App


class Bell(threading.Event):
    """An event that a thread can wait for together with files."""

    def __init__(self) -> None:
        super().__init__()
        self._read_fd, self._write_fd = os.pipe()

    def fileno(self) -> int:
        """What can be read while it is set."""
        return self._read_fd

    def set(self) -> None:
        """As of any event."""
        if not self.is_set():
            super().set()
            os.write(self._write_fd, b"1")

    def clear(self) -> None:
        """As of any event."""
        if self.is_set():
            os.read(self._read_fd, 1)
            super().clear()


class SleepingDriver(LinuxDriver):
    """Textual's driver in all but how it waits."""

    def __init__(self, app: App[Any], **options: Any) -> None:
        """As Textual's."""
        super().__init__(app, **options)  # pyright: ignore[reportUnknownMemberType]  an app of whatever result
        self.exit_event = self._bell = Bell()

    def run_input_thread(self) -> None:
        """Read keys until the bell rings. A lone Escape is one if nothing follows it for a moment."""
        parser, decode = XTermParser(self._debug), getincrementaldecoder("utf-8")().decode
        watched: list[int] = [self.fileno, self._bell.fileno()]
        wait_s: float | None = None
        while not self._bell.is_set():
            ready, _, _ = select.select(watched, [], [], wait_s)
            wait_s = None
            if self.fileno in ready:
                wait_s = constants.ESCAPE_DELAY
                if not (read := os.read(self.fileno, 4096)):
                    watched.remove(self.fileno)  # the terminal is gone
                for message in parser.feed(decode(read)) if read else ():
                    self.process_message(message)
            for message in parser.tick():
                self.process_message(message)
