"""All that a session says, as plain lines in a file: what the dashboard's screen hides is there."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import time
from typing import TYPE_CHECKING

from hotloop.cli.plain import Plain, PlainConsole
from hotloop.devloop.history import make_folder

if TYPE_CHECKING:
    from pathlib import Path

    from hotloop.events import Event

WRITE_EVERY_S = 0.2  # lines wait for each other: none is written while a save's result is waited for
MAX_BYTES = 100_000_000  # then a new file is begun, and one older one is kept
KEPT_SESSIONS = 10


class SessionLog:
    """Writes each event's lines, behind the time of day. What can't be written is missing there, and stops nothing.

    Attributes:
        path: The file; None if it can't be made.
    """

    def __init__(self, project: Path) -> None:
        """Make the file; a name that sorts by time."""
        self.path: Path | None = None
        self._project = project
        self._plain = Plain(PlainConsole(io.StringIO()), project)
        self._waiting: list[tuple[float, Event]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._fd = -1
        with contextlib.suppress(OSError):
            folder = make_folder(project) / "logs"
            folder.mkdir(mode=0o700, exist_ok=True)
            self.path = folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
            self._fd = _opened(self.path)
            _prune(folder, self.path)

    @property
    def name(self) -> str:
        """How the file is named to people: from the project's folder on; empty if there is none."""
        return str(self.path.relative_to(self._project)) if self.path is not None else ""

    @property
    def fd(self) -> int:
        """What this process writes to its terminal may be written here instead; /dev/null if there is no file."""
        return self._fd if self._fd >= 0 else os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)

    def __call__(self, event: Event) -> None:
        """Have an event's lines written soon."""
        if self._fd < 0:
            return
        self._waiting.append((time.time(), event))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(WRITE_EVERY_S, self.write)

    def write(self) -> None:
        """Write what waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, []
        text = "".join(
            f"{_moment(at_s)} {line.plain}\n" for at_s, event in waiting for line in self._plain.lines(event)
        )
        with contextlib.suppress(OSError):
            os.write(self._fd, text.encode("utf-8", "backslashreplace"))
            self._limit()

    def close(self) -> None:
        """Write what waits, and let go of the file."""
        if self._fd >= 0:
            self.write()
            os.close(self._fd)
            self._fd = -1

    def _limit(self) -> None:
        if self.path is not None and os.fstat(self._fd).st_size > MAX_BYTES:
            self.path.replace(self.path.with_suffix(".1.log"))
            fd = _opened(self.path)
            os.dup2(fd, self._fd, inheritable=False)
            os.close(fd)


def _opened(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def _prune(folder: Path, own: Path) -> None:
    others = sorted(path for path in folder.glob("*.log") if path != own)  # which is old by a clock that was set back
    for old in others[: 1 - KEPT_SESSIONS]:
        old.unlink(missing_ok=True)


def _moment(at_s: float) -> str:
    return f"{time.strftime('%H:%M:%S', time.localtime(at_s))}.{int(at_s % 1 * 1000):03d}"
