"""Samples and what is said about them; the machine they were taken on."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def p50(samples: Sequence[float]) -> float | None:
    """The median, None without samples."""
    return statistics.median(samples) if samples else None


def p95(samples: Sequence[float]) -> float | None:
    """The smallest sample that 95 % of the samples do not exceed, None without samples."""
    return sorted(samples)[-(-95 * len(samples) // 100) - 1] if samples else None


def in_ms(samples_s: Sequence[float]) -> list[float]:
    """Seconds as milliseconds, for people."""
    return [sample * 1000 for sample in samples_s]


def rounded(value: float | None, digits: int = 3) -> float | None:
    """A value short enough to read; None stays None."""
    return None if value is None else round(value, digits)


def summary(samples: Sequence[float], unit: str) -> dict[str, Any]:
    """p50, p95, n and every sample in the order it was taken, the unit in the names."""
    return {
        f"p50_{unit}": rounded(p50(samples)),
        f"p95_{unit}": rounded(p95(samples)),
        "n": len(samples),
        f"samples_{unit}": [round(sample, 3) for sample in samples],
    }


def load_average() -> float:
    """Processes that wanted to run in the last minute, on average."""
    return round(os.getloadavg()[0], 2)


def machine() -> dict[str, Any]:
    """The processor, its cores, the memory and the kernel."""
    model = next((line for line in _lines("/proc/cpuinfo") if line.startswith("model name")), ":").split(":", 1)[1]
    total = next((line for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), ": 0 kB").split()[1]
    return {
        "cpu": model.strip() or platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(int(total) / 2**20, 1),
        "kernel": platform.release(),
    }


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
