"""What plain lines say of a session's cost: a line an hour at most, and one at the end."""

from __future__ import annotations

from rich.text import Text

from hotloop.devloop import cost
from hotloop.events import CostReported

EVERY_S = 3600.0


class Spending:
    """Remembers the newest report, and when a line was printed."""

    def __init__(self) -> None:
        self._newest: CostReported | None = None
        self._printed_s: float | None = None

    def lines(self, report: CostReported) -> list[Text]:
        """Say what it costs, if an hour went by."""
        self._newest = report
        if self._printed_s is None:
            self._printed_s = report.at_s
        if report.at_s - self._printed_s < EVERY_S:
            return []
        self._printed_s = report.at_s
        return [Text(cost.line(report, when="so far"), style="dim")]

    def last_lines(self, *, is_left_running: bool) -> list[Text]:
        """Say what it cost, and that it goes on where it does; nothing where nothing is paid."""
        report = self._newest
        if report is None:
            return []
        goes_on = f"; it goes on at {cost.dollars(report.per_hour)} an hour" if is_left_running else ""
        return [Text(f"{cost.line(report, when='in all')}{goes_on}")]
