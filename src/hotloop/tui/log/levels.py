"""How bad a line is that an app wrote: guessed, as apps write what they like. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hotloop.tui.log.buffer import Level

SEEN = 120  # characters in which a level is looked for: further on it is what the line talks about
_LEVELS: dict[str, Level] = {
    "trace": "D",
    "debug": "D",
    "info": "I",
    "notice": "I",
    "success": "I",
    "warn": "W",
    "warning": "W",
    "error": "E",
    "critical": "E",
    "fatal": "E",
}
_NAME = "|".join(_LEVELS)
# logging, loguru, uvicorn, vLLM, glog, structlog, JSON: a name in capitals anywhere near the start, or one where only a
# level stands.
_WRITTEN = re.compile(
    rf"(?P<capitals>(?<![\w.-])(?:{_NAME.upper()})(?![\w.-]))"
    rf"|^\W*(?P<first>{_NAME})\b\]?:|\[(?P<bracket>{_NAME})\s*\]"
    rf"|\blevel(?:name)?[\"']?\s*[=:]\s*[\"']?(?P<field>{_NAME})\b"
)
_GLOG = re.compile(r"([IWEF])\d{4} \d\d:\d\d:\d\d")
_GLOG_LEVELS: dict[str, Level] = {"I": "I", "W": "W", "E": "E", "F": "E"}
_WARNED = re.compile(r"\w*Warning: ")  # `warnings.warn`
_RAISED = re.compile(r"(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Interrupt|Exit)(?::|$)")
_PROGRESS = re.compile(r"\d+%\|")  # tqdm
_TRACEBACK = "Traceback (most recent call last):"
_BETWEEN = ("During handling of the above exception", "The above exception was the direct cause")


class Levels:
    """Remembers where a traceback is being written."""

    def __init__(self) -> None:
        """Prepare for the first line."""
        self._in_traceback: set[tuple[int, str]] = set()

    def of(self, generation: int, stream: str, text: str) -> Level:
        """Guess a line's level.

        Args:
            generation: That wrote it.
            stream: ``stdout`` or ``stderr``.
            text: Cleaned.
        """
        writer = (generation, stream)
        if _TRACEBACK in text[:SEEN]:
            self._in_traceback.add(writer)
            return "E"
        if writer in self._in_traceback:
            if text and not text[0].isspace() and not text.startswith(("|", "+")):
                self._in_traceback.discard(writer)  # the exception itself ends it
            return "E"
        return level_of(text, is_error_stream=stream == "stderr")


def level_of(text: str, *, is_error_stream: bool = False) -> Level:
    """Guess a line's level from the line alone.

    What names no level is worth a warning on stderr, which is where `logging` writes warnings that nobody set it up
    for, unless it is a progress bar.
    """
    seen = text[:SEEN]
    if match := _WRITTEN.search(seen):
        return _LEVELS[(match["capitals"] or match["first"] or match["bracket"] or match["field"]).lower()]
    if match := _GLOG.match(seen):
        return _GLOG_LEVELS[match[1]]
    if _WARNED.search(seen):
        return "W"
    if not is_error_stream:
        return "I"
    if _RAISED.match(seen) or seen.startswith(_BETWEEN):
        return "E"
    return "W" if seen.strip() and not _PROGRESS.search(seen) else "I"
