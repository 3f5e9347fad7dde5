"""How far the app's environment is while it is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotloop.devloop import words
from hotloop.tui.panels.bars import meter
from hotloop.tui.panels.lines import fitted, line

if TYPE_CHECKING:
    from rich.text import Text

    from hotloop.events import EnvironmentProgress
    from hotloop.tui.palette import Palette

_DOING = {
    "wait": "waiting for another session that makes the same",
    "python": "looking for a Python",
    "resolve": "resolving",
    "download": "downloading",
    "build": "building",
    "install": "installing",
}


def rows(progress: EnvironmentProgress | None, width: int, palette: Palette) -> list[Text]:
    """Draw a line with a bar where it can be counted, and one with the packages it is at."""
    if progress is None:
        return []
    name = line("  ", ("environment  ", palette.text), (_DOING[progress.phase], palette.muted))
    if progress.phase == "download" and progress.size_bytes:
        name.append_text(line((f" {words.size(progress.size_bytes)}", palette.muted)))
    made = [fitted(_counted(name, progress, width, palette), width)]
    about = words.paths(progress.doing) if progress.doing else f"for {progress.source}"
    return [*made, fitted(line("  ", (about, palette.muted)), width)]


def _counted(name: Text, progress: EnvironmentProgress, width: int, palette: Palette) -> Text:
    if not progress.total:
        return name
    said = line((f"{progress.done} of {words.count(progress.total, 'package')}", f"bold {palette.strong}"))
    bar = width - name.cell_len - said.cell_len - 4
    if bar < 6:
        return line(name, "  ", said)
    return line(name, "  ", meter(progress.done / progress.total, bar, palette.environment, palette), "  ", said)
