"""A load run cut into equal parts of time, whose spread says what is noise. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotloop.devloop.load.histogram import Histogram
from hotloop.devloop.load.tally import Tally, is_success

if TYPE_CHECKING:
    from hotloop.devloop.load.tally import Window


class PartedTally(Tally):
    """Counts as a tally does, and for each part of the window what was answered in it.

    Args:
        window: What is cut.
        num_parts: Into how many parts.

    Attributes:
        parts: How long the answers took that came in each part.
    """

    def __init__(self, window: Window, num_parts: int) -> None:
        super().__init__(duration_s=window.end_s - window.begin_s)
        self.parts = [Histogram() for _ in range(num_parts)]
        self._begin_s = window.begin_s
        self._part_s = self.duration_s / num_parts

    def answered(self, window: Window, due_s: float, done_s: float, status: int) -> bool:
        """Count an answer; returns whether its request counts."""
        number = int((done_s - self._begin_s) / self._part_s) if done_s >= self._begin_s else -1
        if is_success(status) and 0 <= number < len(self.parts):
            self.parts[number].add(done_s - due_s)
        return super().answered(window, due_s, done_s, status)

    def rates_per_s(self) -> list[float]:
        """Give the throughput of each part."""
        return [part.num / self._part_s for part in self.parts]

    def p99s_s(self) -> list[float]:
        """Give the p99 of each part; 0 where nothing was answered."""
        return [part.percentile_s(0.99) if part.num else 0.0 for part in self.parts]
