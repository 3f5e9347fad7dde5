# pyright: basic
"""Figures of the app's own, such as how full its KV cache is: the runtime shows them beside what it measures itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

MAX_GAUGES = 32
MAX_NAME = 32

_told: dict[str, tuple[float, float | None]] = {}
_tell: Callable[[dict[str, Any]], None] | None = None


def gauge(name: str, value: float, limit: float | None = None) -> None:
    """Show a figure in the dashboard, in ``dev status`` and in ``/metrics``, until this process ends.

    May be called from any thread, and costs next to nothing where the figure is the same as before. Does nothing where the
    app is not served, such as in a test.

    Args:
        name: What it is called there, such as ``kv pages``.
        value: How much it is now. Of several workers the sum is shown.
        limit: How much it can be; with it a share is shown as well.

    Raises:
        ValueError: The name is empty or longer than 32 characters, a number is not finite, the limit is not above 0, or this
            is the 33rd name.
    """
    if _tell is None:
        return
    now = (float(value), None if limit is None else float(limit))
    if _told.get(name) == now:
        return
    _check(name, *now)
    _told[name] = now
    _tell({"kind": "gauge", "name": name, "value": now[0], "limit": now[1]})


def connect(tell: Callable[[dict[str, Any]], None]) -> None:
    """Have figures told to the runtime from now on."""
    global _tell  # noqa: PLW0603  one runtime a process
    _tell = tell


def _check(name: str, value: float, limit: float | None) -> None:
    if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= MAX_NAME:
        msg = f"a gauge's name has 1 to {MAX_NAME} printable characters, not {name!r}"
        raise ValueError(msg)
    if not math.isfinite(value) or (limit is not None and not 0 < limit < math.inf):
        msg = f"gauge {name!r}: a finite value and a limit above 0 were expected, not {value} of {limit}"
        raise ValueError(msg)
    if name not in _told and len(_told) >= MAX_GAUGES:
        msg = f"gauge {name!r}: there are {MAX_GAUGES} others already"
        raise ValueError(msg)
