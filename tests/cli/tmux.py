"""A real terminal: a shell in tmux, its screen and its keys."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import shutil
import subprocess
import time

import pytest

DEADLINE_S = 40.0
_numbers = itertools.count(1)


class Shell:
    """An interactive bash in a terminal of its own."""

    def __init__(self, folder, columns=100, rows=30, **variables):
        if shutil.which("tmux") is None:
            pytest.skip("tmux is not installed: apt-get install tmux")
        self._socket = f"hotloop-{os.getpid()}-{next(_numbers)}"
        environment = {**os.environ, "TERM": "xterm-256color", "PS1": "$ ", "HISTFILE": "/dev/null", **variables}
        for name in ("CI", "TMUX", "HOTLOOP_UI"):
            if name not in variables:
                environment.pop(name, None)
        subprocess.run(
            ["tmux", "-L", self._socket, "-f", "/dev/null", "new-session", "-d", "-x", str(columns), "-y", str(rows),
             "bash --norc --noprofile -i"],
            check=True, cwd=folder, env=environment,
        )  # fmt: skip

    def _tmux(self, *arguments):
        command = ["tmux", "-L", self._socket, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def screen(self):
        """What the terminal shows, long lines joined."""
        return "\n".join(line.rstrip() for line in self._tmux("capture-pane", "-pJ").splitlines())

    def is_on_other_screen(self):
        """Whether a program has the screen that leaves no trace."""
        return self._tmux("display-message", "-p", "#{alternate_on}").strip() == "1"

    def keys(self, *names):
        self._tmux("send-keys", *names)

    def run(self, *command):
        self.keys("-l", f'clear; {shlex.join(command)}; echo "[exit $?]"')
        self.keys("Enter")

    def until(self, pattern):
        """Wait until the screen shows something; gives the screen."""
        return self.wait(lambda: re.search(pattern, self.screen()) and self.screen(), f"{pattern!r} is not shown")

    def until_drawn(self, pattern):
        """Wait until a program shows something on the other screen."""
        shown = self.wait(
            lambda: self.is_on_other_screen() and re.search(pattern, self.screen()), f"{pattern!r} is not drawn"
        )
        return shown.string

    def wait(self, is_so, what):
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            if value := is_so():
                return value
            time.sleep(0.05)
        return pytest.fail(f"{what}. The screen:\n{self.screen()}")

    def close(self):
        subprocess.run(["tmux", "-L", self._socket, "kill-server"], check=False, capture_output=True)
