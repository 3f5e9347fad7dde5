"""Lines typed while the loop runs: a letter, then Enter. Nothing is drawn for them, and an empty line is a marker."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Any

from hotloop.devloop import inspecting
from hotloop.events import record_from_json
from hotloop.variables import Locals

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

KEYS = {  # what is typed, and the request that it is; that of a space is the other one if syncing is paused
    " ": "pause",
    "u": "undo",
    "p": "pin",
    "n": "probe",
    "v": "test",
    "i": "locals",
    "r": "reload",
    "R": "restart",
    "y": "confirm",
    "d": "detach",
    "q": "stop",
}
TIP = (
    "p Enter: pin the last request as a probe · n: probe now · v: test now · i: local variables of the newest failure · u: take the last edit back there · space: pause · "
    "r: load all models again · R: start from nothing · d: leave it running · q: quit · Enter alone: a marker line"
)
FOREGROUND_CHECK_S = 0.5


async def press(name: str, ask: Callable[[str], Awaitable[dict[str, Any]]]) -> list[str]:
    """Ask for what a key stands for; gives the lines that answer it. Most need none: what they do is seen."""
    if name == "pause" and (await ask("status")).get("is_paused"):
        name = "resume"
    answer = await ask(name)
    return inspecting.lines_of(record_from_json(Locals, answer)) if name == "locals" else []


class Keys:
    """Reads lines from the terminal, if there is one that this process may read."""

    def __init__(self, take: Callable[[str], None]) -> None:
        self._take = take
        self._fd = sys.stdin.fileno() if is_terminal() else -1
        self._loop = asyncio.get_running_loop()
        self._waiting: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """Begin to listen; without a terminal nothing happens."""
        if self._fd >= 0:
            self._loop.add_reader(self._fd, self._read)

    def close(self) -> None:
        """Stop listening."""
        if self._waiting is not None:
            self._waiting.cancel()
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)

    def _read(self) -> None:
        try:
            if not _is_foreground(self._fd):
                self._wait_for_foreground()
                return
            data = os.read(self._fd, 4096)
        except OSError:
            data = b""
        if not data:  # Ctrl-D, or the terminal is gone
            self.close()
            return
        for line in data.decode(errors="replace").splitlines():
            self._take(line.strip() or line[:1])

    def _wait_for_foreground(self) -> None:
        """Look again later: reading would stop this process, and a line that is not read would be told of without end."""
        self._loop.remove_reader(self._fd)
        self._waiting = self._loop.call_later(FOREGROUND_CHECK_S, self.open)


def is_terminal() -> bool:
    """Whether lines can be typed here."""
    try:
        return sys.stdin.isatty()
    except (AttributeError, ValueError):
        return False


def _is_foreground(fd: int) -> bool:
    return os.tcgetpgrp(fd) == os.getpgrp()
