"""Questions on the terminal while a runner is being reached."""

from __future__ import annotations

import contextlib
import sys
import termios
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Terminal:
    """Asks whoever sits there; without a terminal nobody does. As `remote_runner.ssh.questions.Questions`."""

    def __init__(self, before: Callable[[], object] = lambda: None) -> None:
        """Prepare.

        Args:
            before: Called before something is asked, from the thread that asks.
        """
        self._before = before
        self._usual: list[Any] = []

    def confirm(self, text: str) -> bool | None:
        """Ask until it is answered by yes or no."""
        if not is_there():
            return None
        self._before()
        while True:
            answer = self._line(text).strip().lower()
            if answer in {"yes", "no", ""}:
                return answer == "yes"
            text = "Type yes or no: "

    def secret(self, prompt: str) -> str | None:
        """Ask for what must not be shown."""
        if not is_there():
            return None
        self._before()
        self._usual = termios.tcgetattr(sys.stdin)
        silent = [*self._usual]
        silent[3] &= ~termios.ECHO
        try:
            termios.tcsetattr(sys.stdin, termios.TCSAFLUSH, silent)
            return self._line(prompt).rstrip("\n") or None
        finally:
            self.restore()
            print(file=sys.stderr)

    def restore(self) -> None:
        """Have what is typed shown again, also when the question was never answered."""
        if self._usual:
            with contextlib.suppress(termios.error, ValueError):
                termios.tcsetattr(sys.stdin, termios.TCSANOW, self._usual)
            self._usual = []

    def _line(self, prompt: str) -> str:
        print(prompt, end="", file=sys.stderr, flush=True)
        return sys.stdin.readline()


def is_there() -> bool:
    """Whether questions can be asked and answered here."""
    try:
        return sys.stdin.isatty() and sys.stderr.isatty()
    except (AttributeError, ValueError):
        return False
