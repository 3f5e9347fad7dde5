"""A latency distribution as one line of characters, on a logarithmic axis. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hotloop.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hotloop.devloop.load.histogram import Histogram

BLOCKS = " ▁▂▃▄▅▆▇█"
ASCII = " .:-=+*#@"
_STEPS = (1, 2, 5)


@frozen
class Axis:
    """A logarithmic axis of time.

    Attributes:
        low_s: Where it begins.
        high_s: Where it ends, above ``low_s``.
        width: How many characters it has.
    """

    low_s: float
    high_s: float
    width: int

    def edges_s(self) -> list[float]:
        """Give the ends of the characters' intervals."""
        ratio = self.high_s / self.low_s
        return [self.low_s * ratio ** (n / self.width) for n in range(self.width + 1)]

    def column(self, value_s: float) -> int:
        """Give the character that a value falls into."""
        share = math.log(value_s / self.low_s) / math.log(self.high_s / self.low_s)
        return min(max(int(share * self.width), 0), self.width - 1)


def axis_of(histograms: Sequence[Histogram], width: int) -> Axis | None:
    """Choose an axis that all fit on; None if there is nothing to draw."""
    filled = [histogram for histogram in histograms if histogram.num]
    if not filled:
        return None
    low_s = min(histogram.min_s for histogram in filled)
    high_s = max(histogram.max_s for histogram in filled)
    return Axis(low_s / 1.05, max(high_s, low_s * 2) * 1.05, width)


def line(histogram: Histogram, axis: Axis, ramp: str) -> str:
    """Draw one distribution: the fullest character is the most frequent time; whatever occurred leaves a mark."""
    counts = histogram.between(axis.edges_s())
    most = max(counts, default=0)
    if not most:
        return ""
    top = len(ramp) - 1
    return "".join(ramp[max(math.ceil(count / most * top), 1)] if count else ramp[0] for count in counts).rstrip()


def labels(axis: Axis) -> str:
    """Write round numbers under the characters that they fall into, as many as have room."""
    text = [" "] * axis.width
    free_from = 0
    for value_s in _round_values(axis):
        shown = _shown(value_s)
        column = axis.column(value_s)
        if column >= free_from and column + len(shown) <= axis.width:
            text[column : column + len(shown)] = shown
            free_from = column + len(shown) + 2
    return "".join(text).rstrip()


def _round_values(axis: Axis) -> list[float]:
    first, last = math.floor(math.log10(axis.low_s)), math.ceil(math.log10(axis.high_s))
    values = [step * 10.0**power for power in range(first, last + 1) for step in _STEPS]
    return [value for value in values if axis.low_s <= value <= axis.high_s]


def _shown(value_s: float) -> str:
    return f"{value_s:g} s" if value_s >= 0.9995 else f"{value_s * 1000:g} ms"
