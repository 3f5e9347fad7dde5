"""The developer's answers to the question of `pulse`, in a table of their own beside the iterations.

Consent and answers are the project's. That it asks never, and when it asked last, is the user's: a person with three
projects is asked once a week, not three times.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import sqlite3
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from hotloop.devloop import pulse
from hotloop.devloop.pulse import Asked, Consent, Item, Memory, Moment, Question
from hotloop.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

BUSY_TIMEOUT_S = 0.2
MAX_BECAUSE = 200

_TABLES = """
CREATE TABLE IF NOT EXISTS pulse (
  id INTEGER PRIMARY KEY,
  at_s REAL NOT NULL,
  item TEXT NOT NULL,
  answer INTEGER,
  because TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS pulse_consent (only INTEGER PRIMARY KEY CHECK (only = 1), consent TEXT NOT NULL);
"""


class Answers:
    """The table. Methods raise `sqlite3.Error` or `OSError`; whoever asks says it once, or asks nothing."""

    def __init__(self, file: Path, user_folder: Path) -> None:
        """Open the history's file, which is there.

        Args:
            file: The project's history.
            user_folder: The user's state folder.
        """
        self._user_file = user_folder / "pulse.json"
        self._connection = sqlite3.connect(file, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        try:
            self._connection.executescript(_TABLES)
        except sqlite3.Error:
            self.close()
            raise

    def memory(self, wall_s: float) -> Memory:
        """Recall what the rules need, as of a moment (seconds since 1970)."""
        users = _read(self._user_file)
        (num_sessions,) = self._connection.execute("SELECT COUNT(DISTINCT session) FROM iteration").fetchone()
        (num_iterations,) = self._connection.execute(
            "SELECT COUNT(*) FROM iteration WHERE number > 0 AND saved_at_s >= ?", (wall_s - pulse.WEEK_S,)
        ).fetchone()
        consent = "no" if users.get("never") else self.consent
        asked_elsewhere_s = float(users.get("asked_at_s", 0.0))
        return Memory(consent, self.asked(), num_sessions, num_iterations, asked_elsewhere_s)

    @property
    def consent(self) -> Consent:
        """What the project's developer said to being asked; empty if nothing."""
        row = self._connection.execute("SELECT consent FROM pulse_consent").fetchone()
        return row[0] if row else ""

    def asked(self) -> tuple[Asked, ...]:
        """Every question that was put, oldest first."""
        rows = self._connection.execute("SELECT at_s, item, answer, because FROM pulse ORDER BY at_s, id")
        return tuple(Asked(at_s, item, answer, because) for at_s, item, answer, because in rows)

    def agree(self, *, yes: bool) -> None:
        """Note what was said to being asked; a yes takes back a never."""
        self._connection.execute("INSERT OR REPLACE INTO pulse_consent VALUES (1, ?)", ("yes" if yes else "no",))
        if yes:
            self._note_user(never=False)

    def refuse_everywhere(self) -> None:
        """Never ask again, in any project of this user."""
        self.agree(yes=False)
        self._note_user(never=True)

    def add(self, asked: Asked) -> None:
        """Append a question and its answer, if there was one."""
        values = (asked.at_s, asked.item, asked.answer, asked.because[:MAX_BECAUSE])
        self._connection.execute("INSERT INTO pulse (at_s, item, answer, because) VALUES (?, ?, ?, ?)", values)
        self._note_user(asked_at_s=asked.at_s)

    def _note_user(self, **said: Any) -> None:
        fresh = self._user_file.with_suffix(f".{os.getpid()}")
        fresh.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            json.dump({**_read(self._user_file), **said}, file)
        fresh.replace(self._user_file)

    def close(self) -> None:
        """Let go of the file."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()


def _read(file: Path) -> dict[str, Any]:
    try:
        found: Any = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def next_question(answers: Answers, moment: Moment) -> Question | None:
    """Say what to ask now, if anything; see `pulse.next_question`."""
    wall_s = time.time()
    return pulse.next_question(answers.memory(wall_s), moment, time.monotonic(), wall_s, random.SystemRandom())


def answer(answers: Answers, question: Question, key: str, because: str = "") -> str:
    """Note the key that answered a question; any other key, or none, is no answer.

    Returns:
        What to say to it, one line; empty if there is nothing to say.
    """
    given = key if key in question.keys else ""
    if question.item is None:
        return _consent(answers, given)
    answers.add(Asked(time.time(), question.item, int(given) if given else None, because))
    return f"noted: {given} of {pulse.HIGHEST}" if given else ""


def _consent(answers: Answers, key: str) -> str:
    if key == "v":
        answers.refuse_everywhere()
        return "it never asks, in no project; dev pulse --on takes that back"
    answers.agree(yes=key == "y")
    if key == "y":
        return "thank you: at most once a week, one key; dev pulse --off ends it"
    return "it does not ask; dev pulse --on lets it" if key else ""


def score(text: str) -> int:
    """Read an answer.

    Raises:
        UsageError: It is no number from 1 to 5.
    """
    if text not in {str(number) for number in range(pulse.LOWEST, pulse.HIGHEST + 1)}:
        msg = f"the answer is {text!r}, a number from {pulse.LOWEST} (no) to {pulse.HIGHEST} (yes) was expected"
        raise UsageError(msg, hint="such as: dev pulse 4")
    return int(text)


def by_week(asked: Sequence[Asked]) -> list[tuple[str, Item, int]]:
    """The answers as they are handed out: the week, such as ``2026-W48``, the item and the answer; no time of day."""
    return [(week_of(each.at_s), each.item, each.answer) for each in asked if each.answer is not None]


def week_of(at_s: float) -> str:
    """The ISO week of a moment (seconds since 1970) where this machine is, such as ``2026-W48``."""
    year, week, _ = datetime.fromtimestamp(at_s).astimezone().isocalendar()
    return f"{year}-W{week:02d}"
