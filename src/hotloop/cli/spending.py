"""What plain lines say of a session's cost while it runs: a line an hour at most."""

from __future__ import annotations

from rich.text import Text

from hotloop.devloop import cost
from hotloop.events import CostReported

EVERY_S = 3600.0


class Spending:
    """Remembers when a line was printed."""

    def __init__(self) -> None:
        self._printed_s: float | None = None

    def lines(self, report: CostReported) -> list[Text]:
        """Say what it costs, if an hour went by."""
        if self._printed_s is None:
            self._printed_s = report.at_s
        if report.at_s - self._printed_s < EVERY_S:
            return []
        self._printed_s = report.at_s
        return [Text(cost.line(report), style="dim")]
