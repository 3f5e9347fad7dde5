"""Three times what hotloop can serve, for a while: what gets through, how soon the rest is told, what it costs."""

from __future__ import annotations

from collections import Counter
from typing import Any

from benchmarks import serving_open_load, stats
from benchmarks.serving_burst import p99
from benchmarks.serving_open_load import OpenBurst
from benchmarks.serving_run import ServedSide, WrongAnswer
from benchmarks.serving_sides import Check

FACTOR = 3
NUM_CLIENTS = 256  # a long line, as in the overload: batches are chosen from it
MB = 1e6


def measure(served: ServedSide, texts: list[str], window_s: float, seconds: float, check: Check) -> dict[str, Any]:
    """Measure the capacity, then load it with `FACTOR` times as much.

    Raises:
        WrongAnswer: An answer with status 200 is not what it should be.
    """
    capacity = served.burst(texts, NUM_CLIENTS, window_s, check)["rate"]
    before = served.pss_bytes()
    burst = serving_open_load.run(served.port, served.requests(texts), FACTOR * capacity, seconds)
    after = served.pss_bytes()
    for number, answer in burst.samples:
        if problem := check(number, answer):
            msg = f"under overload, request {number} was answered with {problem}"
            raise WrongAnswer(msg)
    return {"capacity": capacity, "seconds": seconds, **figures(burst, capacity), **_memory(before, after)}


def figures(burst: OpenBurst, capacity: float) -> dict[str, Any]:
    """What became of the requests, from when each was due."""
    took_ms: dict[int, list[float]] = {}
    for each in burst.arrivals:
        took_ms.setdefault(each.status, []).append(each.took_s * 1000)
    goodput = burst.num_good_within() / (burst.ended_s - burst.began_s)
    good, refused = took_ms.get(200, []), took_ms.get(429, [])
    return {
        "num_sent": burst.num_due,
        "statuses": {str(status): count for status, count in Counter(each.status for each in burst.arrivals).items()},
        "goodput": round(goodput, 2),
        "goodput_ratio": round(goodput / capacity, 3),
        "refused_ratio": round(len(refused) / burst.num_due, 3),
        "refused_p50_ms": stats.rounded(stats.p50(refused)),
        "refused_p99_ms": stats.rounded(p99(refused)),
        "good_p50_ms": stats.rounded(stats.p50(good)),
        "good_p99_ms": stats.rounded(p99(good)),
    }


def _memory(before: int, after: int) -> dict[str, float]:
    return {
        "memory_before_mb": round(before / MB, 1),
        "memory_after_mb": round(after / MB, 1),
        "memory_growth_mb": round((after - before) / MB, 1),
    }
