"""When to tell of the way to a runner: it became longer or shorter, or nothing was said for a while. Pure."""

from __future__ import annotations

from hotloop.events import LinkMeasured
from hotloop.remote_runner.offset import Offset

CHANGE_RATIO = 0.2
LEAST_S = 0.001  # a change of less is nobody's concern, whatever its share
EVERY_S = 30.0


class LinkNews:
    """Remembers what was told."""

    def __init__(self) -> None:
        self._told: LinkMeasured | None = None

    def take(self, now_s: float, round_trip_s: float, offset: Offset) -> LinkMeasured | None:
        """Say what to tell after a heartbeat, None for nothing.

        Args:
            now_s: Monotonic seconds.
            round_trip_s: Median of the last heartbeats.
            offset: What they say about the other clock.
        """
        told = self._told
        if told is not None and now_s - told.at_s < EVERY_S:
            change_s = abs(round_trip_s - told.round_trip_s)
            if change_s <= max(LEAST_S, CHANGE_RATIO * told.round_trip_s):
                return None
        self._told = LinkMeasured(
            now_s, round_trip_s, offset.offset_s(now_s), offset.error_s(now_s), offset.drift_ratio(now_s)
        )
        return self._told
