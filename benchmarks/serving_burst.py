"""What a burst of load brought back, and its figures."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks import stats


@dataclass(slots=True)
class Burst:
    """The answers to one burst.

    Attributes:
        done_s: When each good answer was whole, `time.perf_counter`, ascending.
        took_s: How long each of them took, in the same order.
        opens_s: When the window opened; answers from before are warm-up.
        closes_s: When it closed; answers from after end what was under way.
        bad: Other answers by status, 0 for a broken connection.
        first_bad: The body of the first of those.
        samples: Bodies with the number of their request.
    """

    done_s: list[float] = field(default_factory=list[float])
    took_s: list[float] = field(default_factory=list[float])
    opens_s: float = 0.0
    closes_s: float = 0.0
    bad: Counter[int] = field(default_factory=Counter[int])
    first_bad: bytes = b""
    samples: list[tuple[int, bytes]] = field(default_factory=list[tuple[int, bytes]])

    @property
    def rate(self) -> float:
        """Answers a second."""
        return rate_between(self.done_s, self.opens_s, self.closes_s)

    @property
    def window_took_s(self) -> list[float]:
        """How long the answers in the window took."""
        first, last = (bisect_right(self.done_s, at) for at in (self.opens_s, self.closes_s))
        return self.took_s[first:last]


def rate_between(done_s: Sequence[float], opens_s: float, closes_s: float) -> float:
    """Events a second, from the last one before the window to the last one in it.

    Answers of a batch come all at once: a window between two fixed moments would count half a batch more or less.
    """
    first, last = bisect_right(done_s, opens_s), bisect_right(done_s, closes_s)
    if last == first:
        return 0.0
    began_s = done_s[first - 1] if first else opens_s
    return (last - first) / (done_s[last - 1] - began_s)


def p99(samples: Sequence[float]) -> float | None:
    """The smallest sample that 99 % of the samples do not exceed, None without samples."""
    return sorted(samples)[-(-99 * len(samples) // 100) - 1] if samples else None


def summary(burst: Burst) -> dict[str, float | int | None]:
    """The figures of one burst, the errors among them."""
    took_ms = stats.in_ms(burst.window_took_s)
    return {
        "rate": stats.rounded(burst.rate, 2),
        "p50_ms": stats.rounded(stats.p50(took_ms)),
        "p99_ms": stats.rounded(p99(took_ms)),
        "num_answers": len(burst.done_s),
        "num_errors": sum(burst.bad.values()),
    }
