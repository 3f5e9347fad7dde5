"""How far another machine's clock is from this one's, from round trips. Pure: whoever asks says what time it is.

As NTP does, it trusts the quickest round trip: the other clock was read somewhere within it, so the error is at most half
of it. An old sample is worth less, since two clocks drift apart; a newer one takes its place once its own error is
smaller. A sample that can't be true beside those before it says that a clock jumped (a laptop that slept, another boot): they are forgotten.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

MAX_DRIFT_RATIO = 200e-6  # quartz is within 100 ppm each way
MAX_SAMPLES = 64


@dataclass(frozen=True, slots=True)
class Sample:
    """One round trip.

    Attributes:
        sent_s: When it began, on this machine's clock.
        there_s: What the other clock said within it.
        received_s: When it ended, on this machine's clock.
    """

    sent_s: float
    there_s: float
    received_s: float

    @property
    def offset_s(self) -> float:
        """The other clock minus this one, if both ways took as long."""
        return self.there_s - (self.sent_s + self.received_s) / 2

    def error_s(self, now_s: float) -> float:
        """How far `offset_s` may be off at a time."""
        return (self.received_s - self.sent_s) / 2 + MAX_DRIFT_RATIO * abs(now_s - self.sent_s)


class Offset:
    """Translates times of another machine's clock. Without a sample, or with a clock that both share, it changes nothing."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque(maxlen=MAX_SAMPLES)
        self._is_shared = False

    def share(self, now_s: float) -> None:
        """Note that both sides say they read the same clock; the samples must not say otherwise."""
        self._is_shared = False
        self._is_shared = abs(self.offset_s(now_s)) <= self.error_s(now_s)

    def add(self, sample: Sample) -> None:
        """Take a round trip into account. Times of samples grow."""
        best = self._best(sample.received_s)
        if best is not None:
            apart_s = abs(sample.offset_s - best.offset_s)
            if apart_s > sample.error_s(sample.received_s) + best.error_s(sample.received_s):
                self._samples.clear()
                self._is_shared = False
        self._samples.append(sample)

    def offset_s(self, now_s: float) -> float:
        """The other clock minus this one."""
        best = self._best(now_s)
        return 0.0 if best is None or self._is_shared else best.offset_s

    def error_s(self, now_s: float) -> float:
        """How far `offset_s` is off at most; infinite without a sample."""
        if self._is_shared:
            return 0.0
        best = self._best(now_s)
        return float("inf") if best is None else best.error_s(now_s)

    def here(self, there_s: float, now_s: float) -> float:
        """Translate a time of the other clock, read at ``now_s`` of this one's."""
        return there_s - self.offset_s(now_s)

    def _best(self, now_s: float) -> Sample | None:
        return min(self._samples, key=lambda sample: sample.error_s(now_s), default=None)
