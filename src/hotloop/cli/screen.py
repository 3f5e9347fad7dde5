"""Who has the terminal: plain lines of this process, or the dashboard, a process of its own.

While the dashboard has it, nothing of this process is written there: its stdout and stderr are the session's log. However
the dashboard ends, the terminal is as it was, and the loop goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import termios
from typing import TYPE_CHECKING, Any

from hotloop import events

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from rich.text import Text

    from hotloop.cli.plain import Plain
    from hotloop.events import Event

END_TIMEOUT_S = 1.0  # for the dashboard to end when it is told to; one that hangs is killed
# What a dashboard turns on, turned off: the other screen, a hidden cursor, no line wrap, the mouse, pasting, focus, keys.
_RESET = (
    "".join(f"\x1b[?{mode}l" for mode in (1000, 1002, 1003, 1006, 1015, 1016, 1004, 2004, 2026, 2048))
    + "\x1b[<u\x1b[?1049l\x1b[?7h\x1b[?25h\x1b[0m"
)


class Screen:
    """Shows a session's events, as plain lines unless the dashboard is open.

    Attributes:
        on_left: Called with the dashboard's exit code when it has ended by itself and the terminal is this process's again.
    """

    def __init__(self, plain: Plain, log_fd: int) -> None:
        """Prepare.

        Args:
            plain: Writes the lines.
            log_fd: What this process writes to the terminal goes here while the dashboard is open.
        """
        self.on_left: Callable[[int], None] = lambda _: None
        self._plain = plain
        self._log_fd = log_fd
        self._process: asyncio.subprocess.Process | None = None
        self._attending: asyncio.Task[None] | None = None
        self._lent: _Lent | None = None
        self._farewell: list[Text] = []

    @property
    def is_open(self) -> bool:
        """Whether the dashboard has the terminal."""
        return self._lent is not None

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if not self.is_open:
            self._plain(event)
            return
        lines = self._plain.lines(event)  # what later lines refer to
        if isinstance(event, events.RuntimeStopped | events.SessionEnded):
            self._farewell += lines

    async def open(self, command: Sequence[str]) -> None:
        """Give the terminal to a dashboard."""
        if self.is_open:
            return
        self._lent = lent = _Lent(self._log_fd)
        try:
            self._process = await asyncio.create_subprocess_exec(*command, stdout=lent.terminal, stderr=lent.terminal)
        except OSError:
            self._take_back()
            raise
        self._attending = asyncio.create_task(self._attend(self._process, lent), name="attend the dashboard")

    async def close(self) -> None:
        """End the dashboard, if it is open; what it did not show of the session's end is printed."""
        process, attending, self._attending = self._process, self._attending, None
        if process is not None and attending is not None:
            attending.cancel()
            await asyncio.gather(attending, return_exceptions=True)
            await _end(process)
        self._take_back()

    def dismiss(self) -> None:
        """Have the dashboard leave; one that hangs is killed."""
        process = self._process
        if process is None or process.returncode is not None:
            return

        def kill() -> None:
            if process.returncode is None:
                process.kill()

        process.terminate()
        asyncio.get_running_loop().call_later(END_TIMEOUT_S, kill)

    def take_back(self) -> None:
        """Have the terminal at once, for a process that is about to exit."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
        self._take_back()

    def _take_back(self) -> None:
        if self._lent is not None:
            self._lent.take_back()
            self._lent = self._process = None
        farewell, self._farewell = self._farewell, []
        if farewell:
            with contextlib.suppress(OSError):  # the terminal may be gone
                self._plain.write(farewell)

    async def _attend(self, process: asyncio.subprocess.Process, lent: _Lent) -> None:
        with _noticing_stops(process, lent):
            code = await process.wait()
        self._attending = None
        self._take_back()
        self.on_left(code)


class _Lent:
    """The terminal while another process has it.

    Attributes:
        terminal: A descriptor of it.
    """

    def __init__(self, log_fd: int) -> None:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        self._usual = _mode()
        self.terminal, self._stderr = os.dup(1), os.dup(2)
        os.dup2(log_fd, 1)
        os.dup2(log_fd, 2)

    def take_back(self) -> None:
        """Have this process write there again, in the mode that it had."""
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        os.dup2(self.terminal, 1)
        os.dup2(self._stderr, 2)
        if self._usual is not None and _mode() != self._usual:  # it did not end as it should
            with contextlib.suppress(OSError, termios.error):
                os.write(self.terminal, _RESET.encode())
                termios.tcsetattr(self.terminal, termios.TCSAFLUSH, self._usual)
        os.close(self.terminal)
        os.close(self._stderr)

    def is_as_usual(self) -> bool:
        """Whether whoever has it put it back into the mode that it was lent in."""
        return _mode() == self._usual


def _mode() -> list[Any] | None:
    try:
        return termios.tcgetattr(0)
    except termios.error:
        return None


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), END_TIMEOUT_S)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@contextlib.contextmanager
def _noticing_stops(process: asyncio.subprocess.Process, lent: _Lent) -> Generator[None]:
    """Have Ctrl-Z in the dashboard stop the whole job, as the shell expects, and a stopped job stop the dashboard first."""
    loop = asyncio.get_running_loop()

    def ask() -> None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTSTP)

    def changed() -> None:
        try:
            stopped = os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOHANG)
        except ChildProcessError:  # it has ended
            return
        # One that was stopped from outside, or hangs, has not put the terminal back: the loop goes on without it.
        if stopped is not None and lent.is_as_usual() and os.tcgetpgrp(0) == os.getpgrp():
            loop.remove_signal_handler(signal.SIGTSTP)
            os.kill(0, signal.SIGTSTP)  # goes on here when the shell continues the job
            loop.add_signal_handler(signal.SIGTSTP, ask)

    loop.add_signal_handler(signal.SIGCHLD, changed)
    loop.add_signal_handler(signal.SIGTSTP, ask)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGCHLD)
        loop.remove_signal_handler(signal.SIGTSTP)
