"""Lines taken out of the dashboard: to the clipboard, to the user's pager."""

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
    from textual.widget import Widget

    from hotloop.tui.log.buffer import Buffer


def copy(widget: Widget, text: str) -> None:
    """Have the terminal put a text in its clipboard (OSC 52), wherever the terminal is."""
    _app(widget).copy_to_clipboard(text)


def page(widget: Widget, buffer: Buffer, log: Path | None) -> None:
    """Show a session's lines in ``$PAGER``; what is wrong with that is told as a notification.

    Args:
        widget: Part of the app that gives the terminal away.
        buffer: Written to a file if there is none.
        log: The session's whole log.
    """
    command = shlex.split(os.environ.get("PAGER") or "less") or ["less"]
    with tempfile.TemporaryDirectory(prefix="hotloop-log-") as folder:
        path = Path(folder) / "hotloop.log"
        try:
            if log is None or not log.exists():
                write(buffer, path)
                log = path
            with _app(widget).suspend():
                subprocess.run([*command, str(log)], check=False)
        except SuspendNotSupported:
            widget.notify("There is no pager in a browser: dev logs in a terminal prints what the app wrote.")
        except FileNotFoundError:
            widget.notify(f"{command[0]} is not there: set PAGER to a program that shows files.", severity="error")
        except OSError as error:
            widget.notify(f"The log can't be shown in {command[0]}: {error}", severity="error")


def write(buffer: Buffer, path: Path) -> None:
    """Write all that is kept to a file, oldest first, each line whole.

    Raises:
        OSError: It can't be written.
    """
    with path.open("w", encoding="utf-8", errors="replace") as file:
        for number, record in enumerate(buffer.records, buffer.first):
            file.write(f"{painting.written(record._replace(text=buffer.whole(number)))}\n")


def _app(widget: Widget) -> App[Any]:
    return widget.app  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
