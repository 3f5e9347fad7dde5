"""How a session went, in one line on stderr when its user interface ends; and where to read more."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from hotloop import events
from hotloop.devloop import cost, history, metrics, words
from hotloop.devloop.cost import CENT

if TYPE_CHECKING:
    from hotloop.events import Event


class Tally:
    """Listens for what the summary is about."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self._trips: list[metrics.Trip] = []
        self._cost: events.CostReported | None = None
        self._is_left_running = False

    def __call__(self, event: Event) -> None:
        """Take an event."""
        match event:
            case events.IterationFinished(iteration=iteration) if not iteration.asked:
                self._trips.append(history.trip_of("", iteration))
            case events.CostReported():
                self._cost = event
            case events.SessionEnded():
                self._is_left_running = event.is_left_running
            case _:
                pass

    def lines(self, log: str) -> list[str]:
        """Say how it went; nothing of a session without an edit that cost nothing.

        Args:
            log: The session's log, as it is to be named; empty if there is none.
        """
        summary = metrics.summarize(self._trips)
        spent = spending(self._cost, is_left_running=self._is_left_running) if self._cost is not None else ""
        if not summary.num_ok + summary.num_failed and not spent:
            return []
        said = summary_line(summary, time.monotonic() - self._began_s, spent)
        return [said, f"Log {log}   More: dev report" if log else "More: dev report"]


def summary_line(summary: metrics.Summary, took_s: float, spent: str = "") -> str:
    """Say how a session went: ``1h04: 46 edits, 40 green. Feedback p50 0.89 s, p95 5.9 s. Waited 6m04. Cost $2.57.``."""
    num_edits = summary.num_ok + summary.num_failed
    green = f", {summary.num_ok} green" if num_edits else ""
    parts = [f"{words.duration(took_s)}: {words.count(num_edits, 'edit') if num_edits else 'no edit'}{green}."]
    if summary.feedback is not None:
        high = "max" if summary.feedback.is_max else "p95"
        p50, top = words.duration(summary.feedback.p50_s), words.duration(summary.feedback.high_s)
        parts.append(f"Feedback p50 {p50}, {high} {top}.")
    if num_edits:
        parts.append(f"Waited {words.duration(summary.waited_s)}.")
    return " ".join([*parts, spent] if spent else parts)


def spending(report: events.CostReported, *, is_left_running: bool) -> str:
    """Say what a session cost, and that it goes on where it does; empty where that is less than a cent."""
    goes_on = f"; it goes on at {cost.dollars(report.per_hour)} an hour" if is_left_running else ""
    return (
        f"Cost {cost.amounts(report.session, report.idle)}{goes_on}." if report.session >= CENT / 2 or goes_on else ""
    )
