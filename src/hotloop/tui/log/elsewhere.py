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

    from hotloop.tui.log.buffer import Buffer


def copy(widget: Widget, text: str) -> None:
    """Have the terminal put a text in its clipboard (OSC 52), wherever the terminal is."""
    _app(widget).copy_to_clipboard(text)


def open_screen(widget: Widget, screen: Screen[Any]) -> None:
    """Show another screen above."""
    _app(widget).push_screen(screen)


def page(widget: Widget, buffer: Buffer) -> None:
    """Show all that a buffer keeps in ``$PAGER``; what is wrong with that is told as a notification."""
    with tempfile.TemporaryDirectory(prefix="hotloop-log-") as folder:
        path = Path(folder) / "hotloop.log"
        write(buffer, path)
        command = shlex.split(os.environ.get("PAGER") or "less")
        try:
            with _app(widget).suspend():
                subprocess.run([*command, str(path)], check=False)
        except SuspendNotSupported:
            widget.notify("There is no pager in a browser: dev logs in a terminal prints what the app wrote.")
        except (OSError, IndexError) as error:
            name = command[0] if command else "PAGER"
            widget.notify(f"{name} can't be run ({error}): set PAGER to a program that shows files.", severity="error")


def write(buffer: Buffer, path: Path) -> None:
    """Write all that a buffer keeps to a file, each line whole."""
    with path.open("w", encoding="utf-8", errors="replace") as file:
        for number, record in enumerate(buffer.records, buffer.first):
            file.write(f"{painting.written(record._replace(text=buffer.whole(number)))}\n")


def _app(widget: Widget) -> App[Any]:
    return widget.app  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
