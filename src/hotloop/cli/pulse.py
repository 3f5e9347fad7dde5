"""`dev pulse`: how the loop feels, in one key; and the same question when a session ends."""

from __future__ import annotations

import contextlib
import os
import select
import sqlite3
import sys
import termios
import time
import tty
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Generator

    from hotloop import events
    from hotloop.devloop.answers import Answers
    from hotloop.devloop.pulse import Item, Moment, Question

_ITEMS = ("feedback", "load", "focus", "satisfaction")


def pulse(
    score: Annotated[str, typer.Argument(metavar="[1-5]", help="1 no, 5 yes.", show_default=False)] = "",
    path: Annotated[Path, typer.Option("-C", help="The project's folder.", show_default="this folder")] = Path(),
    about: Annotated[str, typer.Option("--about", help=f"What it answers: {', '.join(_ITEMS)}.")] = "feedback",
    because: Annotated[str, typer.Option("--because", help="Why, if you like; it stays on this machine.")] = "",
    on: Annotated[bool, typer.Option("--on", help="Ask at the end of a session, at most once a week.")] = False,
    off: Annotated[bool, typer.Option("--off", help="Do not ask.")] = False,
) -> None:
    """Say how the loop feels: `dev pulse 4` answers; alone it asks, or says how often it may ask."""
    from hotloop import config
    from hotloop.devloop import answers
    from hotloop.errors import UsageError

    if on + off + bool(score) > 1:
        msg = "an answer, --on and --off were given together"
        raise UsageError(msg, hint="give one of them")
    item = _item(about)
    given = answers.score(score) if score else None
    with _answers(config.find_project(path)) as kept:
        if on or off:
            kept.agree(yes=on)
            typer.echo("it asks at the end of a session, at most once a week" if on else "it does not ask")
        elif given is not None:
            _note(kept, item, given, because)
        else:
            _ask_now(kept, because)


def _item(text: str) -> Item:
    from hotloop.devloop.pulse import TEXTS
    from hotloop.errors import UsageError

    for item in TEXTS:
        if item == text:
            return item
    msg = f"--about is {text!r}, one of {', '.join(TEXTS)} was expected"
    raise UsageError(msg, hint="such as: dev pulse 4 --about focus")


@contextlib.contextmanager
def _answers(project: Path) -> Generator[Answers]:
    """Open the project's answers.

    Raises:
        HotloopError: There is no history, or it can't be read.
    """
    from hotloop.devloop.answers import Answers
    from hotloop.devloop.control import state_folder
    from hotloop.errors import HotloopError, UsageError

    file = project / ".hotloop" / "history.db"
    if not file.exists():
        msg = f"no dev serve ran in {project} yet, so there is nothing to say about it"
        raise UsageError(msg, hint="name another folder with -C, or start with: dev serve")
    try:
        kept = Answers(file, state_folder())
        try:
            yield kept
        finally:
            kept.close()
    except (sqlite3.Error, OSError) as error:
        msg = f"{file} can't be read: {error}"
        raise HotloopError(msg, hint="move the file away; the next dev serve begins a new one") from error


def _note(kept: Answers, item: Item, score: int, because: str) -> None:
    from hotloop.devloop import pulse as rules

    kept.add(rules.Asked(time.time(), item, score, because))
    typer.echo(f"noted: {score} of {rules.HIGHEST} to “{rules.TEXTS[item]}”")


def _ask_now(kept: Answers, because: str) -> None:
    """Put a question that was asked for; nobody's rules hold it back."""
    import random

    from hotloop.cli import asking
    from hotloop.devloop import answers
    from hotloop.devloop import pulse as rules

    if not asking.is_there():
        typer.echo(_state(kept))
        return
    question = rules.question(random.SystemRandom().choice(rules.rarest(kept.asked())))
    key = _key(question)
    if key:
        typer.echo(answers.answer(kept, question, key, because))


def _state(kept: Answers) -> str:
    from hotloop.devloop import pulse as rules
    from hotloop.devloop import words

    memory = kept.memory(time.time())
    number = words.count(sum(asked.answer is not None for asked in memory.asked), "answer")
    if memory.consent != "yes":
        return f"{number}; it does not ask: dev pulse --on lets it"
    if memory.num_ignored >= rules.IGNORED_TO_OFF:
        return f"{number}; the last {memory.num_ignored} questions were ignored, so it does not ask any more"
    pause = "once a month" if memory.num_ignored >= rules.IGNORED_TO_MONTHLY else "once a week"
    return f"{number}; it asks at the end of a session, at most {pause}"


class Mood:
    """Watches a session for the moment in which something may be asked; an event sink."""

    def __init__(self) -> None:
        from hotloop.devloop.pulse import Moment

        self.moment: Moment = Moment(active_at_s=time.monotonic())

    def __call__(self, event: events.Event) -> None:
        """Take in an event."""
        from hotloop.devloop.pulse import follow

        self.moment = follow(self.moment, event)


def ask_on_quit(project: Path, moment: Moment) -> None:
    """Ask what is due, in one line, as a session ends; nothing without a terminal, and nothing goes wrong because of it."""
    from hotloop.cli import asking
    from hotloop.devloop import answers
    from hotloop.errors import HotloopError

    if not asking.is_there() or os.environ.get("CI"):
        return
    with contextlib.suppress(HotloopError), _answers(project) as kept:
        question = answers.next_question(kept, replace(moment, is_quitting=True))
        if question is not None:
            said = answers.answer(kept, question, _key(question))
            if said:
                print(said, file=sys.stderr, flush=True)


def _key(question: Question) -> str:
    """Show a question and wait for one key, at most a minute; empty for none of its keys."""
    from hotloop.devloop.pulse import SHOWN_S

    keys = "/".join(question.keys) if question.item is None else f"{question.keys[0]}-{question.keys[-1]}"
    print(f"{question.text} [{keys}] ({question.legend}) ", end="", file=sys.stderr, flush=True)
    fd = sys.stdin.fileno()
    usual = termios.tcgetattr(fd)
    try:
        tty.setcbreak(fd)
        ready, _, _ = select.select([fd], [], [], SHOWN_S)
        key = os.read(fd, 8).decode(errors="replace") if ready else ""
    except KeyboardInterrupt:
        key = ""
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, usual)
        print(file=sys.stderr, flush=True)
    return key if key in question.keys else ""
