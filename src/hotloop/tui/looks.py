"""How the dashboard is to look, and its keys: the environment before the project's settings, these before the user's own."""

from __future__ import annotations

import os
import tomllib
from dataclasses import field
from typing import TYPE_CHECKING, Any

from hotloop import config
from hotloop.errors import UsageError
from hotloop.frozen import frozen
from hotloop.remote_runner.runners import user_file
from hotloop.tui import actions, themes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

USER_FILE = "dashboard.toml"  # beside the user's runners


@frozen
class Looks:
    """What was chosen, checked.

    Attributes:
        theme: A name in `themes.PALETTES`.
        is_ascii: Draw with ASCII alone.
        keys: Keys by action, where they are not the usual ones.
    """

    theme: str = "night"
    is_ascii: bool = False
    keys: Mapping[str, str] = field(default_factory=dict[str, str])


def read(project: Path, environment: Mapping[str, str] = os.environ) -> Looks:
    """Find out how a project's dashboard is to look.

    Raises:
        UsageError: A setting is wrong; says which, and where.
    """
    own, settings = _own(user_file().with_name(USER_FILE)), config.load(project)
    theme = environment.get("HOTLOOP_THEME") or settings.theme or own.get("theme") or "night"
    themes.check(theme, "HOTLOOP_THEME" if environment.get("HOTLOOP_THEME") else "the theme")
    is_ascii = settings.ascii if settings.ascii is not None else own.get("ascii", not _has_unicode(environment))
    keys = {**own.get("keys", {}), **(settings.keys or {})}
    actions.check(keys)
    return Looks(theme, bool(is_ascii), keys)


def _own(path: Path) -> dict[str, Any]:
    """Read the user's own file."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        msg = f"{path} can't be read: {error}"
        raise UsageError(msg, hint="correct that line of the file") from error
    wanted: dict[str, type] = {"theme": str, "ascii": bool, "keys": dict}
    for name, value in found.items():
        if type(value) is not wanted.get(name):
            msg = f"{path}: {name} = {value!r} is no setting of the dashboard"
            raise UsageError(msg, hint='it has theme = "night", ascii = true and the table [keys]')
    config.check_keys(found.get("keys", {}), f"{path}: keys")
    actions.check(found.get("keys", {}), f"{path}: keys")
    return found


def _has_unicode(environment: Mapping[str, str]) -> bool:
    """Whether the terminal is said to show more than ASCII. Python's own answer is always yes in the C locale."""
    lang, ctype = environment.get("LANG", ""), environment.get("LC_CTYPE", "")
    if lang in {"C", "POSIX"} and ctype in {"C.UTF-8", "C.utf8", "UTF-8"}:
        ctype = ""  # Python has set it, in this process or in the one that started it (PEP 538)
    said = environment.get("LC_ALL") or ctype or lang
    return not said or "utf" in said.lower()
