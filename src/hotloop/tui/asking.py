"""The weekly question: whether it is time, and keeping the answer. A history that can't be read asks nothing."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from hotloop.devloop import answers, pulse

if TYPE_CHECKING:
    from pathlib import Path

    from hotloop.events import Event


class Asking:
    """Knows when to ask, and whom the answer is for.

    Attributes:
        asked: The question that is on the screen; None if there is none.
    """

    def __init__(self, project: Path, state_folder: Path) -> None:
        """Prepare; nothing is read before it may be time."""
        self.asked: pulse.Question | None = None
        self._file = project / ".hotloop" / "history.db"
        self._state_folder = state_folder
        self._moment = pulse.Moment(active_at_s=time.monotonic())
        self._looked_at_s = float("-inf")

    def follow(self, event: Event) -> None:
        """Take in what happens."""
        self._moment = pulse.follow(self._moment, event)

    def active(self) -> None:
        """The user did something."""
        self._moment = replace(self._moment, active_at_s=time.monotonic())

    def due(self, *, is_quitting: bool = False) -> pulse.Question | None:
        """Give the question to put now, if any. An idle moment is looked at once."""
        moment = replace(self._moment, is_quitting=is_quitting)
        if self.asked is not None or not pulse.is_good_moment(moment, time.monotonic()):
            return None
        if not is_quitting and self._looked_at_s >= moment.active_at_s:
            return None
        self._looked_at_s = time.monotonic()
        self.asked = self._next(moment)
        return self.asked

    def answer(self, key: str) -> str:
        """Keep the answer, an empty one too. Gives what to say to it, if anything."""
        asked, self.asked = self.asked, None
        if asked is None:
            return ""
        try:
            kept = answers.Answers(self._file, self._state_folder)
            try:
                return answers.answer(kept, asked, key)
            finally:
                kept.close()
        except (sqlite3.Error, OSError) as error:
            return f"the answer could not be kept: {error}"

    def _next(self, moment: pulse.Moment) -> pulse.Question | None:
        if not self._file.exists():
            return None
        try:
            kept = answers.Answers(self._file, self._state_folder)
            try:
                return answers.next_question(kept, moment)
            finally:
                kept.close()
        except (sqlite3.Error, OSError):
            return None
