"""Takes from a line what a terminal would obey: what an exception, a probe or a file's name says is not ours."""

from __future__ import annotations

import re

from rich.text import Text

# Escape codes whole, so that no "[31m" is left of them.
_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # colours, cursor
    r"|(?:\x1b\]|\x9d)[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"  # titles, links, the clipboard
    r"|\x1b[PX^_][^\x1b]*\x1b\\"
    r"|\x1b[ -/]*[0-~]"
)
_COLOUR = re.compile(r"\x1b\[[\d;:]*m")
# Control characters but tabs and ends of lines, and changes of direction.
_REST = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def harmless(line: Text) -> Text:
    """Give the line without them, in the same colours; the line itself if there are none."""
    if line.plain.isprintable():
        return line
    for match in reversed(list(_ESCAPES.finditer(line.plain))):
        line = line[: match.start()].append_text(line[match.end() :])
    line.plain = _REST.sub("\N{REPLACEMENT CHARACTER}", line.plain)
    return line


def coloured(text: str) -> Text:
    """Read a line's colours, and nothing else that it has for a terminal."""
    kept = _ESCAPES.sub(lambda found: found[0] if _COLOUR.fullmatch(found[0]) else "", text)
    return harmless(Text.from_ansi(kept))
