"""Lines taken out of the dashboard: to the clipboard, to a screen of their own, to the user's pager."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.app import SuspendNotSupported

from hotloop.tui.log import painting

if TYPE_CHECKING:
    from textual.app import App
    from textual.screen import Screen
    from textual.widget import Widget

    from hotloop.tui.log.attic import Attic
    from hotloop.tui.log.buffer import Buffer


def copy(widget: Widget, text: str) -> None:
    """Have the terminal put a text in its clipboard (OSC 52), wherever the terminal is."""
    _app(widget).copy_to_clipboard(text)


def open_screen(widget: Widget, screen: Screen[Any]) -> None:
    """Show another screen above."""
    _app(widget).push_screen(screen)


def page(widget: Widget, buffer: Buffer, attic: Attic) -> None:
    """Show a session's lines in ``$PAGER``; what is wrong with that is told as a notification."""
    command = shlex.split(os.environ.get("PAGER") or "less") or ["less"]
    with tempfile.TemporaryDirectory(prefix="hotloop-log-") as folder:
        path = Path(folder) / "hotloop.log"
        try:
            write(buffer, attic, path)
            with _app(widget).suspend():
                subprocess.run([*command, str(path)], check=False)
        except SuspendNotSupported:
            widget.notify("There is no pager in a browser: dev logs in a terminal prints what the app wrote.")
        except FileNotFoundError:
            widget.notify(f"{command[0]} is not there: set PAGER to a program that shows files.", severity="error")
        except OSError as error:
            widget.notify(f"The log can't be shown in {command[0]}: {error}", severity="error")


def write(buffer: Buffer, attic: Attic, path: Path) -> None:
    """Write a session's lines to a file, oldest first, each whole.

    Raises:
        OSError: It can't be written.
    """
    with path.open("wb") as file:
        attic.copy_to(file)
        for number, record in enumerate(buffer.records, buffer.first):
            file.write(f"{painting.written(record._replace(text=buffer.whole(number)))}\n".encode(errors="replace"))


def _app(widget: Widget) -> App[Any]:
    return widget.app  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
