"""The two clocks and how they are joined: file systems stamp wall time, the loop counts monotonic seconds."""

from __future__ import annotations

import functools
import platform
import time
from pathlib import Path

from hotloop.frozen import frozen

MAX_UNSEEN_S = 10.0  # a save is seen within milliseconds, on a network's file system within seconds


@frozen
class ClockPair:
    """Both clocks read at one moment.

    Attributes:
        monotonic_s: CLOCK_MONOTONIC, seconds.
        wall_s: Seconds since 1970.
    """

    monotonic_s: float
    wall_s: float


@frozen
class SaveTime:
    """When a file was saved, on both clocks.

    Attributes:
        is_estimated: The file's own stamp could not be true, so the moment it was seen stands for it.
    """

    monotonic_s: float
    wall_s: float
    is_estimated: bool


@functools.cache
def boot_id() -> str:
    """Name this boot of this machine: processes that give the same name most likely read the same monotonic clock."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return platform.node()


def read_pair() -> ClockPair:
    """Read both clocks."""
    return ClockPair(time.monotonic(), time.time())


def save_time(stamp_s: float, seen_s: float, now: ClockPair, *, is_estimated: bool = False) -> SaveTime:
    """Place a file's modification time on the monotonic clock.

    Args:
        stamp_s: The newest modification time, seconds since 1970.
        seen_s: When the watcher saw the save, on the monotonic clock.
        now: Both clocks, read together.
        is_estimated: The stamp is known to be no save's; `seen_s` stands for it, as for one that lies in the future or
            more than 10 s before it was seen: a file that was moved here or unpacked, or another machine's clock.
    """
    seen_wall_s = now.wall_s - (now.monotonic_s - seen_s)
    if is_estimated or stamp_s > now.wall_s or seen_wall_s - stamp_s > MAX_UNSEEN_S:
        return SaveTime(seen_s, seen_wall_s, is_estimated=True)
    return SaveTime(now.monotonic_s - (now.wall_s - stamp_s), stamp_s, is_estimated=False)
