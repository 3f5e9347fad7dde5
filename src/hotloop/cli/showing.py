"""What `dev serve` shows its session with, from the first event to the summary: lines, JSON, a dashboard here or in a browser."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING

from rich.text import Text

from hotloop.cli import keys, ui
from hotloop.cli.json_lines import JsonLines
from hotloop.cli.plain import Plain, PlainConsole
from hotloop.cli.screen import Screen
from hotloop.cli.session_log import SessionLog
from hotloop.cli.summary import Tally
from hotloop.cli.ui import Ui
from hotloop.cli.web import WebServer, tab_command
from hotloop.devloop import control
from hotloop.tui.exits import Exit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hotloop.devloop.engine import Engine
    from hotloop.events import Event

DASHBOARD_TIP = "s Enter: the dashboard"


class Showing:
    """A session's user interface.

    Attributes:
        sinks: Who is told each event.
    """

    def __init__(self, project: Path, wanted: Ui, *, is_watching: bool) -> None:
        """Prepare; `begin` opens a dashboard.

        Args:
            project: The project's folder.
            wanted: Not ``auto``.
            is_watching: Whether saves are seen.
        """
        self._project = project
        self._wanted = wanted
        self._log = SessionLog(project)
        self._tally = Tally()
        self._json = JsonLines(sys.stdout) if wanted is Ui.JSON else None
        self._plain = Plain(PlainConsole(sys.stdout), project, tips=self._tips(is_watching=is_watching))
        self._screen = Screen(self._plain, self._log.fd)
        self._web = WebServer()
        self._can_open = is_watching and ui.look().is_there
        self._engine: Engine | None = None
        self._socket: Path | None = None
        self._keys: keys.Keys | None = None
        self._opening: asyncio.Task[None] | None = None
        shown = self._screen if self._json is None else self._json
        self.sinks: list[Callable[[Event], None]] = [shown, self._tally, self._log]

    def _tips(self, *, is_watching: bool) -> tuple[str, ...]:
        tips = ("save a file of the project to see what it changes",) if is_watching else ()
        if not keys.is_terminal():
            return tips
        return (*tips, f"{keys.TIP} · {DASHBOARD_TIP}" if is_watching and ui.look().is_there else keys.TIP)

    async def begin(self, engine: Engine, socket: Path, typed: Callable[[str], None]) -> None:
        """Listen to keys, and open what was wanted.

        Args:
            engine: The session.
            socket: Where it can be watched.
            typed: Takes a line that is no business of a user interface's.
        """
        self._engine, self._socket = engine, socket
        if self._json is not None:
            self._json.on_gone = _stopper(engine)
            return
        self._screen.on_left = self._left
        self._keys = keys.Keys(lambda line: self._typed(line, typed))
        if self._wanted is Ui.TUI:
            await self._open(engine, socket)
            return
        self._keys.open()
        if self._wanted is Ui.WEB:
            url = await self._web.open(tab_command(self._project, None), f"hotloop {self._project.name}")
            print(f"dashboard {url}", flush=True)

    async def finish(self) -> None:
        """Have the terminal back, and say how it went."""
        if self._keys is not None:
            self._keys.close()
        if self._opening is not None:
            await asyncio.gather(self._opening, return_exceptions=True)
        await self._screen.close()
        await self._web.close()
        if self._json is not None:
            await asyncio.to_thread(self._json.close)
        self._log.close()
        with contextlib.suppress(OSError):  # nobody may be there to read it
            for line in self._tally.lines(self._log.name):
                print(line, file=sys.stderr, flush=True)

    def write(self, lines: list[str]) -> None:
        """Print the answer to what was typed."""
        self._plain.write([Text(line) for line in lines])

    def dismiss(self) -> None:
        """The session is about to end: have the dashboard leave, and write lines instead."""
        self._screen.dismiss()

    def take_back(self) -> None:
        """Have the terminal at once: this process is about to exit."""
        self._screen.take_back()

    def _typed(self, line: str, typed: Callable[[str], None]) -> None:
        if self._engine is not None:
            self._engine.touched()
        if not line:
            self._plain.mark()
        elif line == "s" and self._can_open and self._engine is not None and self._socket is not None:
            self._opening = asyncio.create_task(self._open(self._engine, self._socket), name="open the dashboard")
        else:
            typed(line)

    async def _open(self, engine: Engine, socket: Path) -> None:
        if self._keys is not None:
            self._keys.close()
        try:
            await self._screen.open(dashboard_command(socket, self._project, self._log.path))
        except OSError as error:
            self._say(f"the dashboard can't be started ({error}); going on with plain lines")
            self._listen()
        else:
            engine.painting.is_elsewhere = True

    def _left(self, code: int) -> None:
        """Go on with plain lines."""
        engine = self._engine
        if engine is None:
            return
        engine.painting.is_elsewhere = False
        engine.painting.give_up()
        if engine.is_stopping:
            self._say("stopping")
            return
        log = self._log.name
        if code == Exit.PLAIN:
            self._say(f"plain lines from here on; {DASHBOARD_TIP}" + (f"; what was before: {log}" if log else ""))
        elif code == Exit.CLOSED:
            self._say(f"the dashboard was closed, the loop goes on; {DASHBOARD_TIP}")
        else:
            how = f"was killed ({signal.Signals(-code).name})" if code < 0 else f"crashed (exit {code})"
            where = "" if code < 0 else f"; its traceback is in {crashes_file()}"
            self._say(f"the dashboard {how}{where}. The loop goes on; {DASHBOARD_TIP}")
        self._listen()

    def _listen(self) -> None:
        if self._keys is not None:
            self._keys.open()

    def _say(self, text: str) -> None:
        with contextlib.suppress(OSError):  # the terminal may be gone
            print(f"hotloop: {text}", file=sys.stderr, flush=True)


def dashboard_command(socket: Path, project: Path, log: Path | None) -> list[str]:
    """Give the command of a dashboard on this process's terminal. `-P`: the project's modules are none of hotloop's."""
    command = [sys.executable, "-P", "-m", "hotloop.tui", os.fspath(socket)]
    command += ["--project", os.fspath(project), "--crashes", os.fspath(crashes_file())]
    return [*command, "--log", os.fspath(log)] if log is not None else command


def crashes_file() -> Path:
    """Where dashboards write how they crashed."""
    return control.state_folder() / "dashboard.log"


def _stopper(engine: Engine) -> Callable[[], None]:
    """Give what stops the session from another thread."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is over
            loop.call_soon_threadsafe(engine.stop, "", 1)

    return stop
