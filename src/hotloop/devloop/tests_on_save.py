"""When the tests of `--test` run, and what is told of them. Pure: a part of the loop's machine.

They run after an iteration that ended well, once the next standby waits: making it takes a core, and the next save comes
first. A newer save ends them at once.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from hotloop import events
from hotloop.frozen import frozen


@frozen
class Due:
    """Tests that are to run.

    Attributes:
        iteration: Whose they are.
        is_waiting: They begin when the next standby waits, not before.
        is_asked: The user asked for them: a reload that comes in between ends nothing.
    """

    iteration: int
    is_waiting: bool = False
    is_asked: bool = False


@frozen
class State:
    """What the loop knows about tests.

    Attributes:
        command: What runs; empty: none do.
        due: What is to run next.
        number: Of the newest run.
        running: Whose tests run; None if none do.
    """

    command: str = ""
    due: Due | None = None
    number: int = 0
    running: int | None = None

    @property
    def is_over(self) -> bool:
        """Whether none run or are about to."""
        return self.due is None and self.running is None


@frozen
class Result:
    """What became of a run; as in `events.TestsFinished`."""

    outcome: Literal["ok", "failed", "broken"]
    took_s: float
    exit_code: int | None = None
    num_passed: int | None = None
    num_failed: int | None = None
    failed: tuple[events.FailedTest, ...] = ()


@frozen
class Tested:
    """A run is over; no result: the connection was lost, and the run with it."""

    at_s: float
    number: int
    result: Result | None


@frozen
class Wanted:
    """The user wants the tests to run now."""


@frozen
class Begin:
    """Run the tests, say that they began, then report `Tested`."""

    number: int
    iteration: int
    command: str


@frozen
class Stop:
    """End the run under way at once, and say that it was superseded."""

    iteration: int


Action = Begin | Stop


def iteration_ended(state: State, number: int, *, is_resumed: bool) -> State:
    """An iteration ended well; ``is_resumed``: by finding what was left running, where a standby waits long since."""
    return replace(state, due=Due(number, is_waiting=not is_resumed)) if state.command else state


def wanted(state: State, newest: int) -> State:
    """The user wants them, with the newest iteration's code."""
    return replace(state, due=Due(newest, is_asked=True)) if state.command else state


def over(state: State, event: Tested) -> tuple[State, tuple[events.Event, ...]]:
    """Tell what a run came to, unless it was stopped meanwhile; one that was lost runs again."""
    iteration, result = state.running, event.result
    if iteration is None or event.number != state.number:
        return state, ()
    state = replace(state, running=None)
    if result is None:
        return replace(state, due=state.due or Due(iteration, is_asked=True)), ()
    told = events.TestsFinished(
        event.at_s, iteration, state.command, result.outcome, result.took_s, result.exit_code,
        result.num_passed, result.num_failed, result.failed,
    )  # fmt: skip
    return state, (told,)


def decide(state: State, *, has_flights: bool, has_standby: bool, is_offline: bool) -> tuple[State, tuple[Action, ...]]:
    """Begin or end a run, if what happened calls for it.

    Args:
        state: What is known now.
        has_flights: Whether a save, or a reload that was asked for, is on its way.
        has_standby: Whether the next generation's worker waits.
        is_offline: Whether the runner does not answer.
    """
    actions: tuple[Action, ...] = ()
    due = state.due
    is_again = due is not None and not has_flights
    if state.running is not None and (has_flights or is_again):
        actions = (Stop(state.running),)
        state = replace(state, running=None)
    if has_flights:
        return replace(state, due=due if due is not None and due.is_asked else None), actions
    if due is None or is_offline or (due.is_waiting and not has_standby):
        return state, actions
    begin = Begin(state.number + 1, due.iteration, state.command)
    return replace(state, due=None, number=begin.number, running=begin.iteration), (*actions, begin)
