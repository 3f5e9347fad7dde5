"""The lines around a place in the project's own files on this machine, as long as they are what ran."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from hotloop.events import Frame

MAX_BYTES = 2_000_000


class Numbered(NamedTuple):
    """A line of a file and its number, from 1."""

    number: int
    text: str


def around(project: str, frame: Frame, above: int, below: int) -> list[Numbered]:
    """Give a frame's line and those around it; the frame's own alone where the file here says something else.

    Without its line, as for code that was never in a file, there is nothing to give.
    """
    lines = _lines(Path(project) / frame.file) if project and frame.is_project else []
    index = frame.line - 1
    if not 0 <= index < len(lines) or lines[index].strip() != frame.source.strip():
        return [Numbered(frame.line, frame.source.rstrip())] if frame.source.strip() else []
    first = max(index - above, 0)
    return [Numbered(first + 1 + offset, text.rstrip()) for offset, text in enumerate(lines[first : index + below + 1])]


def _lines(path: Path) -> list[str]:
    try:
        if not path.is_file() or path.stat().st_size > MAX_BYTES:
            return []
        return path.read_text(encoding="utf-8").split("\n")  # as Python counts lines, form feeds within one
    except (OSError, UnicodeDecodeError, ValueError):
        return []
