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


def test_a_session_without_an_edit_says_nothing():
    assert Tally().lines("x") == []
