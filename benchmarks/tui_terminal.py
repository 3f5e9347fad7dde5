"""A program on a pseudo-terminal: what it writes, when, and what it costs."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from pathlib import Path
from typing import Self

_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|P[^\x1b]*\x1b\\|[ -/]*[0-~])")


class Terminal:
    """Runs a command in a terminal of its own, and reads what it writes as fast as it can."""

    def __init__(self, command: list[str], env: dict[str, str], *, width: int = 120, height: int = 36) -> None:
        self._fd, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        self.began_s, self.own_waited_s = time.monotonic(), _schedstat(os.getpid())[1]
        self._process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=env, start_new_session=True, close_fds=True
        )
        os.close(slave)
        self.pid = self._process.pid
        self._raw = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._fd)

    def press(self, keys: str) -> float:
        """Type, and forget what was written before. Returns when that was, monotonic seconds."""
        self.drain(0)
        self._raw = b""
        now_s = time.monotonic()
        os.write(self._fd, keys.encode())
        return now_s

    def wait_for(self, pattern: str, timeout_s: float = 30.0) -> float:
        """Read until what was written since the last key has a text. Returns when that was read.

        Raises:
            RuntimeError: It was not written in time, or the program ended.
        """
        deadline_s = time.monotonic() + timeout_s
        while not re.search(pattern, self.text):
            if not self._read(deadline_s - time.monotonic()):
                msg = f"{pattern!r} was not written within {timeout_s:g} s, but {self.text[-500:]!r}"
                raise RuntimeError(msg)
        return time.monotonic()

    def drain(self, duration_s: float) -> None:
        """Go on reading for a while."""
        deadline_s = time.monotonic() + duration_s
        while self._read(deadline_s - time.monotonic()):
            self._raw = self._raw[-65536:]

    @property
    def text(self) -> str:
        """What was written since the last key, without escape codes."""
        return _ESCAPE.sub("", self._raw.decode(errors="replace"))

    def _read(self, timeout_s: float) -> bool:
        if not select.select([self._fd], [], [], max(timeout_s, 0))[0]:
            return False
        try:
            piece = os.read(self._fd, 1 << 16)
        except OSError:  # Linux: the other end is closed
            return False
        self._raw += piece
        return bool(piece)

    def cpu_s(self) -> float:
        """CPU time of the program so far, all threads, to the nanosecond."""
        threads = Path(f"/proc/{self.pid}/task").glob("*/schedstat")
        return sum(int(each.read_text().split()[0]) for each in threads) / 1e9

    def num_wakes(self) -> int:
        """How often any of its threads went to sleep so far, which is as often as they woke."""
        threads = Path(f"/proc/{self.pid}/task").glob("*/status")
        return sum(
            int(line.split()[1]) for each in threads for line in each.read_text().splitlines() if line.startswith("vol")
        )

    def main_cpu_s(self) -> float:
        """CPU time of the program's main thread."""
        return _schedstat(self.pid)[0]

    def waited_s(self) -> float:
        """How long the program's main thread and this process were ready to run and had no core: the others' doing."""
        return _schedstat(self.pid)[1] + _schedstat(os.getpid())[1]

    def rss_bytes(self) -> int:
        """Memory of the program."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _schedstat(pid: int) -> tuple[float, float]:
    ran, waited, _ = Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()
    return int(ran) / 1e9, int(waited) / 1e9
