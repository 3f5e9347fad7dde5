"""Write docs/commands.md from what the commands say of themselves, so that it can't say anything else. Run by `make docs`."""

from __future__ import annotations

import contextlib
import io
import os
from importlib import import_module
from pathlib import Path
from unittest import mock

import typer

from hotloop.cli import main

TARGET = Path(__file__).parent / "commands.md"
INTRODUCTION = """\
# Commands

Written by `make docs` from what the commands say of themselves; a test compares the two. `hotloop` is the same program as `dev`.
What can be set for good is in [settings](settings.md).
"""


def document() -> str:
    """The whole page."""
    return "\n".join([INTRODUCTION, *(_section(words) for words in commands())])


def commands() -> list[tuple[str, ...]]:
    """All commands, by name: those of a group one by one."""
    found: list[tuple[str, ...]] = []
    for name in sorted(main.COMMANDS):
        group = getattr(import_module(f"hotloop.cli.{name}"), name, None)
        members = _members(group) if isinstance(group, typer.Typer) else []
        found += [(name, member) for member in members] or [(name,)]
    return found


def _members(group: typer.Typer) -> list[str]:
    known = ((each.name, each.callback) for each in group.registered_commands)
    return [name or (function.__name__ if function else "") for name, function in known]


def _section(words: tuple[str, ...]) -> str:
    return f"## dev {' '.join(words)}\n\n```\n{_help(words)}```\n"


def _help(words: tuple[str, ...]) -> str:
    said = io.StringIO()
    with mock.patch.dict(os.environ, COLUMNS="100", TERMINAL_WIDTH="100"), contextlib.redirect_stdout(said):
        main.parser(words)([*words, "--help"], standalone_mode=False, prog_name="dev")
    return said.getvalue()


if __name__ == "__main__":
    TARGET.write_text(document(), encoding="utf-8")
