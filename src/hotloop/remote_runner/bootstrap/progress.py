"""What is being done to reach a runner, for whoever shows it."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from hotloop.frozen import frozen


class Phase(Enum):
    """In this order; a phase that has nothing to do is left out."""

    CONNECTING = "connecting"
    INSTALLING = "installing"
    STARTING = "starting"


@frozen
class Progress:
    """One step forward.

    Attributes:
        runner: Its name.
        text: What is installed now; empty if the phase says it all.
        done_bytes: Of `total_bytes`, which are 0 while they are not known.
    """

    runner: str
    phase: Phase
    text: str = ""
    done_bytes: int = 0
    total_bytes: int = 0


Report = Callable[[Progress], None]


def nobody(progress: Progress) -> None:
    """Show it to nobody."""
    del progress
