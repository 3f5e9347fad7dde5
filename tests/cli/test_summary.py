"""What a session says of itself when it ends."""

from __future__ import annotations

from hotloop import events
from hotloop.cli.summary import Tally


def iteration(number, outcome, feedback_s):
    return events.Iteration(
        number, outcome, 100.0 + number, is_save_estimated=False, revision=number, generation=number, paths=("app.py",),
        size_bytes=1, feedback_s=feedback_s, ready_s=None, phases_s={"detect": feedback_s},
    )  # fmt: skip


def test_the_end_sums_the_session_up():
    tally = Tally()
    for told in (iteration(0, "ok", 9.0), iteration(1, "ok", 0.084), iteration(2, "failed", 0.02)):
        tally(events.IterationFinished(0, told))

    said, more = tally.lines(".hotloop/logs/1.log")

    assert said.partition(": ")[2] == "2 edits, 1 green. Feedback p50 84 ms, max 84 ms. Waited 104 ms."
    assert more == "Log .hotloop/logs/1.log   More: dev report"


def test_what_a_session_without_an_edit_cost_is_said_and_that_it_goes_on():
    cheap, left = Tally(), Tally()
    cheap(events.CostReported(1.0, 2.0, "table", 0.004, 0.0))
    left(events.CostReported(1.0, 2.0, "table", 5.0, 1.25))
    left(events.SessionEnded(2.0, "", is_left_running=True))

    assert cheap.lines("") == []
    assert left.lines("")[0].partition(": ")[2] == "no edit. Cost $5.00, of it idle $1.25; it goes on at $2.00 an hour."


def test_a_session_without_an_edit_says_nothing():
    assert Tally().lines("x") == []
