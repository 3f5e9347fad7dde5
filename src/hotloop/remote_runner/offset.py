"""How far another machine's clock is from this one's, from round trips. Pure: whoever asks says what time it is.

As NTP does, it trusts the quickest round trip: the other clock was read somewhere within it, so the error is at most half
of it. An old sample is worth less, since two clocks drift apart; a newer one takes its place once its own error is
smaller. A sample that can't be true beside those before it says that a clock jumped (a laptop that slept, another boot): they are forgotten.
"""

from __future__ import annotations

from collections import deque

from hotloop.frozen import frozen

MAX_DRIFT_RATIO = 200e-6  # quartz is within 100 ppm each way
MAX_SAMPLES = 64
DRIFT_ERROR_RATIO = 20e-6  # a drift that is less well known is not told


@frozen
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
        return self.reach_s + MAX_DRIFT_RATIO * abs(now_s - self.sent_s)

    @property
    def reach_s(self) -> float:
        """How far `offset_s` was off at most when it was taken."""
        return (self.received_s - self.sent_s) / 2


class Offset:
    """Translates times of another machine's clock. Without a sample, or with a clock that both share, it changes nothing."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque(maxlen=MAX_SAMPLES)
        self._anchor: Sample | None = None  # since the clocks ran together: what drift is measured from
        self._is_shared = False

    @property
    def is_shared(self) -> bool:
        """Whether both sides read the same clock: they are one machine."""
        return self._is_shared

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
                self._anchor = None
                self._is_shared = False
        self._samples.append(sample)
        # A later and better one is worth more as long as it is not much later: drift is known better the longer it is seen.
        if self._anchor is None or sample.error_s(self._anchor.sent_s) < self._anchor.reach_s:
            self._anchor = sample

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

    def drift_ratio(self, now_s: float) -> float | None:
        """How much faster the other clock runs than this one; None until it is known within `DRIFT_ERROR_RATIO`."""
        best, anchor = self._best(now_s), self._anchor
        if self._is_shared or best is None or anchor is None:
            return None
        apart_s = best.sent_s - anchor.sent_s
        if apart_s <= 0 or best.reach_s + anchor.reach_s > DRIFT_ERROR_RATIO * apart_s:
            return None
        return (best.offset_s - anchor.offset_s) / apart_s

    def here(self, there_s: float, now_s: float) -> float:
        """Translate a time of the other clock, read at ``now_s`` of this one's."""
        return there_s - self.offset_s(now_s)

    def _best(self, now_s: float) -> Sample | None:
        return min(self._samples, key=lambda sample: sample.error_s(now_s), default=None)
