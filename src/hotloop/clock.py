"""The two clocks and how they are joined: file systems stamp wall time, the loop counts monotonic seconds."""

from __future__ import annotations

import time
from dataclasses import dataclass

OLDEST_SAVE_S = 10.0  # an older stamp is not of this save: a checkout or an unpacked archive kept the file's own


@dataclass(frozen=True, slots=True)
class ClockPair:
    """Both clocks read at one moment.

    Attributes:
        monotonic_s: CLOCK_MONOTONIC, seconds.
        wall_s: Seconds since 1970.
    """

    monotonic_s: float
    wall_s: float


@dataclass(frozen=True, slots=True)
class SaveTime:
    """When a file was saved, on both clocks.

    Attributes:
        is_estimated: The file's own stamp could not be true, so the moment it was seen stands for it.
    """

    monotonic_s: float
    wall_s: float
    is_estimated: bool


def read_pair() -> ClockPair:
    """Read both clocks."""
    return ClockPair(time.monotonic(), time.time())


def save_time(stamp_s: float, seen: ClockPair) -> SaveTime:
    """Place a file's modification time on the monotonic clock.

    Args:
        stamp_s: The newest modification time, seconds since 1970; 0 if no file has one (all were deleted).
        seen: The clocks when the watcher delivered the save.
    """
    age_s = seen.wall_s - stamp_s
    if not 0.0 <= age_s <= OLDEST_SAVE_S:
        return SaveTime(seen.monotonic_s, seen.wall_s, is_estimated=True)
    return SaveTime(seen.monotonic_s - age_s, stamp_s, is_estimated=False)
