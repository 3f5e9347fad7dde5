"""What keys do, by id: the defaults, what help says of them, and what the user may map to other keys. Knows no Textual."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hotloop.errors import UsageError
from hotloop.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Mapping


@frozen
class Action:
    """Something that a key does.

    Attributes:
        id: What a key is mapped to it by: ``reload``, ``log.filter``.
        keys: Textual's names of the default keys, separated by commas.
        does: The action of the app, such as ``view('loop')``.
        label: For the key bar, one word; empty to leave it out there.
        about: For help.
    """

    id: str
    keys: str
    does: str
    label: str
    about: str

    @property
    def shown(self) -> str:
        """The first key, as people write it."""
        return written(self.keys.split(",")[0])


ACTIONS = (
    Action("reload", "r", "request('reload')", "reload", "load all models again"),
    Action("restart", "R", "restart", "cold", "start again from nothing (asks first)"),
    Action("probe", "p", "probe", "probe", "probes: run now, choose one, pin the last request"),
    Action("test", "v", "request('test')", "", "run the tests of --test now"),
    Action("diff", "d", "diff", "diff", "the probes' outputs, with what changed"),
    Action("why", "w", "why", "why", "why the iteration took what it took"),
    Action("older", "left_square_bracket", "select(-1)", "", "the iteration before"),
    Action("newer", "right_square_bracket", "select(1)", "", "the iteration after; behind the last, the newest"),
    Action("edit", "e", "edit", "edit", "the error's line or the changed file in $EDITOR"),
    Action("locals", "i", "locals", "locals", "local variables where it failed; [ ]: of others"),
    Action("copy", "y", "copy", "copy", "copy what has the focus"),
    Action("library", "t", "library", "frames", "frames of libraries on and off"),
    Action("undo", "u", "request('undo')", "undo", "take the last edit back on the runner"),
    Action("pause", "space", "pause", "pause", "keep saves back, and send them again"),
    Action("confirm", "Y", "request('confirm')", "", "let a large deletion through"),
    Action("zoom", "z", "zoom", "zoom", "the focused panel alone, and back"),
    Action("view.loop", "1", "view('loop')", "", "the loop"),
    Action("view.logs", "2", "view('logs')", "", "the logs"),
    Action("view.runtime", "3", "view('runtime')", "", "the runtime: endpoints, batches, memory"),
    Action("view.iterations", "4", "view('iterations')", "", "all iterations: Enter explains, c c compares two"),
    Action("view.metrics", "5", "view('metrics')", "", "today's figures"),
    Action("log.filter", "slash", "log('log.filter')", "filter", "filter the log; n and N go to matches"),
    Action("log.level", "l", "log('log.level')", "level", "leave out debug, info, warnings"),
    Action("log.sources", "f", "log('log.sources')", "sources", "choose the log's sources"),
    Action("log.mark", "m", "log('log.mark')", "mark", "draw a line in the log to find again"),
    Action("log.pager", "o", "log('log.pager')", "pager", "the whole log in $PAGER"),
    Action("log.context", "c", "log('log.context')", "", "what is around a match"),
    Action("log.end", "end,G", "log('log.end')", "", "the newest line, and follow"),
    Action("theme", "T", "theme", "", "the next theme"),
    Action("mouse", "M", "mouse", "", "leave the mouse to the terminal, and take it back"),
    Action("plain", "s", "plain", "", "plain lines instead; s and Enter comes back"),
    Action("suspend", "ctrl+z", "suspend_process", "", "stop the whole job, as the shell does"),
    Action("palette", "ctrl+p", "command_palette", "", "all of these, by name"),
    Action("help", "question_mark", "help", "help", "this list"),
    Action("quit", "q", "leave", "quit", "quit: Enter stops, d detaches, Esc stays"),
)
# What every panel has for itself: mapped to something else it would do that in one panel and not in the next.
FIXED = frozenset(
    {
        "j", "k", "J", "K", "g", "n", "N", "up", "down", "left", "right", "shift+up", "shift+down", "pageup", "pagedown",
        "home", "enter", "escape", "tab", "shift+tab", "ctrl+c",
    }
)  # fmt: skip
BY_ID = {action.id: action for action in ACTIONS}
_NAMES = {
    "left_square_bracket": "[", "right_square_bracket": "]", "slash": "/", "question_mark": "?", "space": "space",
    "escape": "Esc", "enter": "Enter", "end": "End",
}  # fmt: skip
_KEY = re.compile(r"(?:(?:ctrl|shift|alt)\+)*(?:[^\s,+]|[a-z][a-z0-9_]+)")


def written(key: str) -> str:
    """Write a key as people do: ``[`` for ``left_square_bracket``."""
    return _NAMES.get(key, key)


def check(keys: Mapping[str, str], where: str = "pyproject.toml: tool.hotloop.keys") -> None:
    """Refuse a key map with ids that mean nothing, keys that are none, and keys that would mean two things.

    Args:
        keys: Keys by id, several of one separated by commas.
        where: Whose map it is, for messages.

    Raises:
        UsageError: Something in it is wrong; names the entry.
    """
    for name, value in keys.items():
        if name not in BY_ID:
            msg = f"{where}.{name} is no action"
            raise UsageError(msg, hint=f"the actions are: {', '.join(BY_ID)}")
        for key in value.split(","):
            if not _KEY.fullmatch(key.strip()):
                msg = f"{where}.{name} is {value!r}, a key was expected"
                raise UsageError(msg, hint=f'such as {name} = "x", "ctrl+r", "f5" or "x,f5"')
            if key.strip() in FIXED:
                msg = f"{where}.{name} is {value!r}, and {written(key.strip())} moves in lists or closes what is open"
                raise UsageError(msg, hint="choose another key")
    taken: dict[str, str] = {}
    for action in ACTIONS:
        for key in keys.get(action.id, action.keys).split(","):
            if (other := taken.setdefault(_normal(key), action.id)) != action.id:
                named = action.id if action.id in keys else other
                msg = f"{where}.{named} is {keys[named]!r}, which {other if named == action.id else action.id} has"
                raise UsageError(msg, hint=f"choose another key, or map {other} to another one too")


def _normal(key: str) -> str:
    names = {character: name for name, character in _NAMES.items()}
    return names.get(key.strip(), key.strip())


def shown_keys(keys: Mapping[str, str]) -> dict[str, str]:
    """Give what to press for each action, with the user's own map."""
    return {action.id: written(keys.get(action.id, action.keys).split(",")[0].strip()) for action in ACTIONS}


USUAL_KEYS = shown_keys({})
