"""Which user interface a command has: what was typed, else the environment, else the project, else what the terminal can."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from hotloop.errors import UsageError
from hotloop.frozen import frozen

if TYPE_CHECKING:
    from pathlib import Path

MIN_COLUMNS, MIN_ROWS = 40, 10  # below, the dashboard has no room
VARIABLE = "HOTLOOP_UI"


class Ui(StrEnum):
    """What shows a session."""

    AUTO = "auto"
    TUI = "tui"
    PLAIN = "plain"
    JSON = "json"
    WEB = "web"


Wanted = Annotated[
    Ui | None,
    typer.Option(
        "--ui",
        help="The dashboard (tui), plain lines, JSON lines, or the dashboard in a browser; else tui where the terminal can.",
        show_default="auto",
    ),
]


@frozen
class Terminal:
    """What matters of where this process runs.

    Attributes:
        is_there: Whether stdin and stdout are a terminal.
        kind: ``TERM``.
        is_ci: Whether ``CI`` is set to anything but a no.
        is_in_front: Whether this process may draw there: it was not started with ``&``.
    """

    is_there: bool
    kind: str
    columns: int
    rows: int
    is_ci: bool
    is_in_front: bool = True

    @property
    def can_draw(self) -> bool:
        """Whether the dashboard opens without being asked for."""
        is_large = self.columns >= MIN_COLUMNS and self.rows >= MIN_ROWS
        return self.is_there and self.is_in_front and is_large and self.kind not in {"", "dumb"} and not self.is_ci


def is_in_browser() -> bool:
    """Whether this process's dashboard is drawn in a browser's tab: textual-serve says so."""
    return "web_driver" in os.environ.get("TEXTUAL_DRIVER", "")


def look() -> Terminal:
    """Look at this process's terminal."""
    if is_in_browser():
        return Terminal(True, "xterm-256color", 80, 24, is_ci=False)
    try:
        is_there = sys.stdin.isatty() and sys.stdout.isatty()
        columns, rows = os.get_terminal_size(sys.stdout.fileno()) if is_there else (0, 0)
        is_in_front = is_there and os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (AttributeError, ValueError, OSError):
        is_there, columns, rows, is_in_front = False, 0, 0, False
    is_ci = os.environ.get("CI", "").lower() not in {"", "0", "false", "no"}
    return Terminal(is_there, os.environ.get("TERM", ""), columns, rows, is_ci, is_in_front)


def choose(typed: Ui | None, is_json: bool, variable: str, setting: str | None, terminal: Terminal) -> Ui:
    """Choose: never ``auto``.

    Args:
        typed: ``--ui``.
        is_json: ``--json``, which means ``--ui json``.
        variable: ``HOTLOOP_UI``, empty if it is not set.
        setting: Of the project.
        terminal: What can be drawn on. Only what was typed is taken at its word; without a terminal the others mean plain.

    Raises:
        UsageError: What was typed can't be, or contradicts itself; the variable is none of them.
    """
    if is_json and typed not in {None, Ui.JSON}:
        msg = f"--json means --ui json, and --ui {typed} was typed too"
        raise UsageError(msg, hint="give one of them")
    if is_json or typed is not None:
        wanted = Ui.JSON if is_json else Ui(typed or Ui.AUTO)
        if wanted is Ui.TUI and not terminal.is_there:
            msg = "--ui tui draws on a terminal, and stdin or stdout is none"
            raise UsageError(msg, hint="take --ui plain here, or --ui web for the same in a browser")
    else:
        wanted = _named(variable) if variable else Ui(setting or Ui.AUTO)
        if wanted is Ui.TUI and not terminal.is_there:
            return Ui.PLAIN
    if wanted is Ui.AUTO:
        return Ui.TUI if terminal.can_draw else Ui.PLAIN
    return wanted


def chosen(typed: Ui | None, is_json: bool, setting: str | None) -> Ui:
    """As `choose`, with this process's environment and terminal."""
    return choose(typed, is_json, os.environ.get(VARIABLE, ""), setting, look())


def _named(variable: str) -> Ui:
    try:
        return Ui(variable)
    except ValueError as error:
        msg = f"{VARIABLE} is {variable!r}, one of {', '.join(Ui)} was expected"
        raise UsageError(msg, hint=f"unset it, or: export {VARIABLE}=plain") from error


def check_looks(ui: Ui, project: Path) -> None:
    """Refuse a wrong theme or key map before the dashboard's own process would.

    Raises:
        UsageError: A setting of the dashboard is wrong.
    """
    if ui in {Ui.TUI, Ui.WEB}:
        from hotloop.tui import looks

        looks.read(project)
