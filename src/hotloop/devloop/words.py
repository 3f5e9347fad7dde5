"""How numbers and places are written for people. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_SHOWN_PATHS = 3


def duration(seconds: float) -> str:
    """Write a duration with two or three digits: ``0.4 ms``, ``84 ms``, ``1.35 s``, ``2m04``, ``1h04``."""
    if seconds < 0.00995:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.995:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes = round(seconds) // 60
    return f"{minutes}m{round(seconds) % 60:02d}" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}"


def size(size_bytes: int) -> str:
    """Write a size in decimal units: ``820 B``, ``4.1 kB``, ``270 MB``."""
    value, unit = float(size_bytes), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" or value >= 9.95 else f"{value:.1f} {unit}"


def phases(phases_s: Mapping[str, float]) -> str:
    """Write the phases of an iteration in one line, in milliseconds."""
    parts = [f"{name.replace('_', ' ')} {_milliseconds(seconds)}" for name, seconds in phases_s.items()]
    return " · ".join(parts) + " ms" if parts else ""


def _milliseconds(seconds: float) -> str:
    milliseconds = seconds * 1000
    return f"{milliseconds:.1f}" if milliseconds < 9.95 else f"{milliseconds:,.0f}"


def paths(names: Sequence[str]) -> str:
    """Write the first paths and how many more there are."""
    shown = ", ".join(names[:MAX_SHOWN_PATHS])
    rest = len(names) - MAX_SHOWN_PATHS
    return shown if rest <= 0 else f"{shown} and {rest} more"


def rate(per_s: float) -> str:
    """Write a throughput with three digits at least: ``0.47/s``, ``47.1/s``, ``1,234/s``."""
    digits = 0 if per_s >= 99.5 else 1 if per_s >= 9.95 else 2
    return f"{per_s:,.{digits}f}/s"


def count(number: int, noun: str) -> str:
    """Write a number with its noun: ``1 file``, ``3 files``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def left_running(runner: str) -> str:
    """Say what can be done with a session that has no client any more.

    Args:
        runner: Where it runs, as ``--on`` takes it.
    """
    on = "" if runner == "local" else f" --on {runner}"
    return f"left running without a client: dev serve{on} goes on with it, hotloop attach{on} shows it, hotloop stop{on} ends it"
