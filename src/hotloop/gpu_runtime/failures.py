"""The newest failures' local variables, as descriptions: kept here, so that they outlive the worker that failed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from hotloop.events import JsonObject

MAX_KEPT = 8


class Failures:
    """Keeps the newest ones.

    Args:
        clock: Gives seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[str, tuple[float, dict[str, Any]]] = {}

    def put(self, failure: dict[str, Any]) -> None:
        """Keep one, JSON of a `KeptFailure`; the oldest gives way."""
        self._kept[failure["id"]] = (self._clock(), failure)
        if len(self._kept) > MAX_KEPT:
            del self._kept[next(iter(self._kept))]

    def answer(self, wanted: str = "") -> JsonObject:
        """Give what is kept: JSON of `Locals`.

        Args:
            wanted: The id of a failure; empty for the newest.
        """
        kept = [{**failure, "age_s": self._clock() - at_s} for at_s, failure in reversed(self._kept.values())]
        found = kept[:1] if not wanted else [failure for failure in kept if failure["id"] == wanted]
        listed = [{name: value for name, value in failure.items() if name != "frames"} for failure in kept]
        return {"failure": found[0] if found else None, "kept": listed}
