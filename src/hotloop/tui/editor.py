"""How editors are told which line to open. Pure."""

from __future__ import annotations

import shlex
import shutil
from typing import TYPE_CHECKING

from hotloop.errors import UsageError
from hotloop.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_GOTO = frozenset({"code", "code-insiders", "codium", "cursor", "windsurf"})  # -g FILE:LINE
_COLON = frozenset({"subl", "zed", "hx", "helix", "atom"})  # FILE:LINE
_LINE = frozenset({"pycharm", "charm", "idea", "webstorm", "kate", "gedit"})  # --line N FILE
_WINDOWED = _GOTO | {"subl", "zed", "atom", "gvim", "kate", "gedit"} | _LINE
_USUAL = ("nano", "vim", "vi")


@frozen
class Command:
    """How to open a file.

    Attributes:
        has_window: It has a window of its own: the terminal stays the dashboard's.
    """

    words: tuple[str, ...]
    has_window: bool


def command(environment: Mapping[str, str], file: Path, line: int = 0) -> Command:
    """Give what opens a file at a line (0: anywhere), as ``$VISUAL``, ``$EDITOR`` or the first usual editor says.

    Raises:
        UsageError: There is no editor.
    """
    said = environment.get("VISUAL") or environment.get("EDITOR") or next(filter(shutil.which, _USUAL), "")
    try:
        words = shlex.split(said)
    except ValueError as error:
        msg = f"EDITOR is {said!r}, which is no command: {error}"
        raise UsageError(msg, hint="such as: export EDITOR=vim") from error
    if not words:
        msg = "no editor is set"
        raise UsageError(msg, hint="such as: export EDITOR=vim")
    name = words[0].rpartition("/")[2]
    return Command((*words, *_place(name, str(file), line)), name in _WINDOWED)


def _place(name: str, file: str, line: int) -> tuple[str, ...]:
    if not line:
        return (file,)
    if name in _GOTO:
        return "-g", f"{file}:{line}"
    if name in _COLON:
        return (f"{file}:{line}",)
    if name in _LINE:
        return "--line", str(line), file
    return f"+{line}", file  # vi, vim, nvim, nano, emacs, emacsclient, micro, kak, joe: nearly all others
