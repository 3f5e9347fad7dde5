"""When to ask the developer how the loop feels, and what. Pure: no clock, no file, no chance of its own.

The rules keep the question rare and harmless: nothing is asked before a "yes", nothing in a bad moment (that would ask
about the moment), and whoever ignores it is asked less and then not at all. The question never stands beside the
figures that it is compared with, and its items come in random order.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from hotloop import events
from hotloop.frozen import frozen

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

Item = Literal["feedback", "load", "focus", "satisfaction"]
Consent = Literal["", "yes", "no"]

DAY_S = 86400.0
FIRST_SESSION = 5  # consent is asked after as many
WEEK_S, MONTH_S = 7 * DAY_S, 30 * DAY_S
MIN_ITERATIONS = 10
IGNORED_TO_MONTHLY, IGNORED_TO_OFF = 3, 6
IDLE_S = 600.0
AFTER_FAILURE_S = 120.0
SHOWN_S = 60.0
MIN_FOR_TREND, MIN_FOR_CORRELATION = 4, 8
LOWEST, HIGHEST = 1, 5

TEXTS: dict[Item, str] = {
    "feedback": "Did the loop keep up with you today?",
    "load": "Was it clear why each reload did what it did?",
    "focus": "Did you get a stretch of unbroken work?",
    "satisfaction": "Would you pick this setup again tomorrow?",
}
SHORT_TEXTS: dict[Item, str] = {
    "feedback": "Did it keep up?",
    "load": "Was it clear why?",
    "focus": "Unbroken work?",
    "satisfaction": "This again?",
}
CONSENT_TEXT = "Ask you a one-key question now and then? Answers stay on this machine."


@frozen
class Asked:
    """One question that was put.

    Attributes:
        at_s: Seconds since 1970.
        answer: From 1 (no) to 5 (yes); None if it was ignored.
        because: What was said beside it, if anything.
    """

    at_s: float
    item: Item
    answer: int | None = None
    because: str = ""


@frozen
class Memory:
    """What is remembered of questions.

    Attributes:
        consent: Empty until it was answered; not answering is "no".
        asked: Oldest first.
        num_sessions: Runs of `dev serve` that were recorded for the project.
        num_iterations: Saves of the last seven days.
        asked_elsewhere_s: When another project of this user last asked, seconds since 1970; 0 for never.
    """

    consent: Consent = ""
    asked: tuple[Asked, ...] = ()
    num_sessions: int = 0
    num_iterations: int = 0
    asked_elsewhere_s: float = 0.0

    @property
    def num_ignored(self) -> int:
        """How many of the last questions in a row were ignored."""
        count = 0
        for asked in reversed(self.asked):
            if asked.answer is not None:
                break
            count += 1
        return count


@frozen
class Moment:
    """What goes on while something might be asked.

    Attributes:
        is_quitting: The session is about to end.
        active_at_s: When something was last saved, typed or requested by the user; monotonic seconds.
        is_red: The newest iteration failed.
        is_offline: The runner does not answer.
        failed_at_s: When something last failed, monotonic seconds; None for never.
    """

    is_quitting: bool = False
    active_at_s: float = 0.0
    is_red: bool = False
    is_offline: bool = False
    failed_at_s: float | None = None


@frozen
class Question:
    """What to ask: `text`, then one key of `keys`; any other key, Escape or a minute's silence is no answer.

    Attributes:
        item: None asks for consent.
    """

    item: Item | None
    text: str
    keys: tuple[str, ...]

    @property
    def short(self) -> str:
        """The question where there is little room."""
        return SHORT_TEXTS[self.item] if self.item is not None else "Ask now and then?"

    @property
    def legend(self) -> str:
        """What the keys mean, in a few words."""
        return "y yes · n no · v never, in any project" if self.item is None else "1 no · 5 yes · Esc skip"


def follow(moment: Moment, event: events.Event) -> Moment:
    """Take in what an event says about the moment."""
    match event:
        case events.IterationStarted(at_s=at_s) | events.Pinned(at_s=at_s):
            return replace(moment, active_at_s=at_s)
        case events.IterationFinished(at_s=at_s, iteration=iteration):
            is_red = iteration.outcome == "failed" or (moment.is_red and iteration.outcome == "superseded")
            failed_at_s = at_s if iteration.outcome == "failed" else moment.failed_at_s
            return replace(moment, is_red=is_red, failed_at_s=failed_at_s)
        case events.TestsFinished(at_s=at_s, outcome="failed" | "broken"):
            return replace(moment, failed_at_s=at_s)
        case events.ProcessDied(at_s=at_s):
            return replace(moment, failed_at_s=at_s)
        case events.Offline(at_s=at_s):
            return replace(moment, is_offline=True, failed_at_s=at_s)
        case events.Online():
            return replace(moment, is_offline=False)
        case _:
            return moment


def next_question(
    memory: Memory, moment: Moment, now_s: float, wall_s: float, choose: random.Random
) -> Question | None:
    """Say what may be asked now, if anything.

    Args:
        memory: What was asked before.
        moment: What goes on.
        now_s: Monotonic seconds.
        wall_s: Seconds since 1970.
        choose: Draws the item.
    """
    if not is_good_moment(moment, now_s):
        return None
    if not memory.consent:
        asks = memory.num_sessions >= FIRST_SESSION
        return Question(None, CONSENT_TEXT, ("y", "n", "v")) if asks else None
    if memory.consent == "no" or not is_due(memory, wall_s):
        return None
    return question(choose.choice(rarest(memory.asked)))


def question(item: Item) -> Question:
    """Put an item into words."""
    return Question(item, TEXTS[item], tuple(str(digit) for digit in range(LOWEST, HIGHEST + 1)))


def is_good_moment(moment: Moment, now_s: float) -> bool:
    """Whether a question neither interrupts nor asks about a failure that just happened."""
    if moment.is_red or moment.is_offline:
        return False
    if moment.failed_at_s is not None and now_s - moment.failed_at_s < AFTER_FAILURE_S:
        return False
    return moment.is_quitting or now_s - moment.active_at_s >= IDLE_S


def is_due(memory: Memory, wall_s: float) -> bool:
    """Whether enough time and work lie behind the last question."""
    if memory.num_ignored >= IGNORED_TO_OFF or memory.num_iterations < MIN_ITERATIONS:
        return False
    pause_s = MONTH_S if memory.num_ignored >= IGNORED_TO_MONTHLY else WEEK_S
    last_s = max([memory.asked_elsewhere_s, *(asked.at_s for asked in memory.asked[-1:])])
    return wall_s - last_s >= pause_s


def rarest(asked: Sequence[Asked]) -> list[Item]:
    """The items that were asked least often, so that four questions cover all four."""
    counts = dict.fromkeys(TEXTS, 0)
    for each in asked:
        counts[each.item] += 1
    least = min(counts.values())
    return [item for item, count in counts.items() if count == least]
