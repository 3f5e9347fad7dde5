"""How a session went, in one line on stderr when its user interface ends; and where to read more."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from hotloop import events
from hotloop.devloop import history, metrics, words

if TYPE_CHECKING:
    from hotloop.events import Event


class Tally:
    """Listens for what the summary is about."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self._trips: list[metrics.Trip] = []
        self._cost: events.CostReported | None = None

    def __call__(self, event: Event) -> None:
        """Take an event."""
        match event:
            case events.IterationFinished(iteration=iteration) if not iteration.asked:
                self._trips.append(history.trip_of("", iteration))
            case events.CostReported():
                self._cost = event
            case _:
                pass

    def lines(self, log: str) -> list[str]:
        """Say how it went; nothing of a session without an edit.

        Args:
            log: The session's log, as it is to be named; empty if there is none.
        """
        summary = metrics.summarize(self._trips)
        if not summary.num_ok + summary.num_failed:
            return []
        said = summary_line(summary, time.monotonic() - self._began_s, self._cost)
        return [said, f"Log {log}   More: dev report" if log else "More: dev report"]


def summary_line(summary: metrics.Summary, took_s: float, cost: events.CostReported | None = None) -> str:
    """Say how a session went: ``1h04: 46 edits, 40 green. Feedback p50 0.89 s, p95 5.9 s. Waited 6m04. $2.57.``."""
    edits = words.count(summary.num_ok + summary.num_failed, "edit")
    parts = [f"{words.duration(took_s)}: {edits}, {summary.num_ok} green."]
    if summary.feedback is not None:
        high = "max" if summary.feedback.is_max else "p95"
        p50, top = words.duration(summary.feedback.p50_s), words.duration(summary.feedback.high_s)
        parts.append(f"Feedback p50 {p50}, {high} {top}.")
    parts.append(f"Waited {words.duration(summary.waited_s)}.")
    if cost is not None:
        parts.append(f"${cost.session:.2f}.")
    return " ".join(parts)
