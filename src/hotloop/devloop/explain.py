"""One iteration of the history in full, beside others of its cause. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotloop.devloop import why
from hotloop.devloop.expected import MAX_PAST
from hotloop.devloop.metrics import RESUMED, percentile
from hotloop.errors import UsageError
from hotloop.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hotloop.devloop.metrics import Records, TestRun, Trip

NUM_NAMED = 5


@frozen
class Explained:
    """An iteration and what there is to say of it.

    Attributes:
        medians_s: Of each phase, over up to 20 good iterations of the same cause before it; empty if there were none.
        num_compared: How many those were.
        fix: What would avoid what made it slow; empty if nothing is known to.
        runner: Where the app ran; empty if that is not known.
        tests: The last run of its tests.
    """

    trip: Trip
    medians_s: dict[str, float]
    num_compared: int
    fix: str
    runner: str
    tests: TestRun | None


def find(trips: Sequence[Trip], number: int | None, session: str) -> Trip:
    """Find an iteration: the last one, or one by its number; of the last session, or of one that is named by how its id begins.

    Args:
        trips: All that are known, oldest first.
        number: Its number; None for the last.
        session: How the session's id begins; empty for the last one.

    Raises:
        UsageError: There is none.
    """
    if not trips:
        msg = "there is no iteration to explain"
        raise UsageError(msg, hint="run dev serve and save a file")
    sessions = list(dict.fromkeys(trip.session for trip in trips))
    named = [each for each in sessions if each.startswith(session)] if session else sessions[-1:]
    if len(named) != 1:
        msg = f"{'no session is' if not named else f'{len(named)} sessions are'} called {session}..."
        raise UsageError(msg, hint=f"the last ones are {', '.join(sessions[-NUM_NAMED:])}")
    own = [trip for trip in trips if trip.session == named[0]]
    found = own[-1] if number is None else next((trip for trip in reversed(own) if trip.number == number), None)
    if found is None:
        msg = f"session {named[0]} has no iteration #{number}"
        raise UsageError(msg, hint=f"it has #{own[0].number} to #{own[-1].number}; --session names an earlier one")
    return found


def explain(trip: Trip, trips: Sequence[Trip], records: Records) -> Explained:
    """Put an iteration beside those of its cause that came before."""
    before = [t for t in trips if t.saved_at_s < trip.saved_at_s and _kind(t) == _kind(trip) and t.outcome == "ok"]
    compared = before[-MAX_PAST:]
    return Explained(
        trip,
        {name: percentile([t.phases_s.get(name, 0.0) for t in compared], 0.5) for name in trip.phases_s}
        if compared
        else {},
        len(compared),
        why.fix(trip.why_code),
        next((each.runner for each in records.sessions if each.id == trip.session), ""),
        next(
            (run for run in reversed(records.tests) if (run.session, run.number) == (trip.session, trip.number)), None
        ),
    )


def _kind(trip: Trip) -> tuple[str, bool]:
    return trip.cause, trip.start == RESUMED
