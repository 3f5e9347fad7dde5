"""Opens a place in the project in the user's editor: what is wrong, else what was saved."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from textual.app import SuspendNotSupported

from hotloop.errors import UsageError
from hotloop.tui import editor
from hotloop.tui.panels.error import place_of

if TYPE_CHECKING:
    from hotloop.tui.app import Dashboard


async def edit(app: Dashboard) -> None:
    """Open the line that is wrong, else the file that was saved, else the app; what hinders it is said."""
    trip = app.state.trip
    place = place_of(trip) if trip is not None else None
    if place is None and trip is not None and trip.paths:
        place = trip.paths[0], 0
    file, line = place or (app.state.app.partition(":")[0], 0)
    path = Path(app.state.project or app.project_folder) / file
    if not file or not path.exists():
        app.say(f"{file or 'the file'} is not on this machine", is_bad=True)
        return
    try:
        command = editor.command(os.environ, path, line)
        if command.has_window:
            await asyncio.to_thread(_open_window, command.words)
            app.say(f"opened {file}{f':{line}' if line else ''}")
        else:
            with app.suspend():
                subprocess.run(command.words, check=False)  # noqa: ASYNC221  the terminal is the editor's meanwhile
            app.refresh()
    except SuspendNotSupported:
        app.say("a browser has no terminal to open the editor in: set EDITOR to one with a window", is_bad=True)
    except UsageError as error:
        app.say(f"{error.message}: {error.hint}", is_bad=True)
    except OSError as error:
        app.say(f"the editor can't be run ({error}): set EDITOR", is_bad=True)


def _open_window(command: tuple[str, ...]) -> None:
    subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
