"""Carry out load runs, one after the other: what was asked for, and what it came to."""

from __future__ import annotations

import gc
import time
from typing import TYPE_CHECKING, TypeVar

from hotloop.devloop.load.arrivals import Arrivals, due_times_s
from hotloop.devloop.load.closed import ClosedLoop
from hotloop.devloop.load.open import OpenLoop
from hotloop.devloop.load.parts import PartedTally
from hotloop.devloop.load.tally import Tally, Window
from hotloop.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hotloop.devloop.load.target import Target

T = TypeVar("T", bound=Tally)

DRAIN_S = 30.0  # how long answers are waited for when nothing more is sent


@frozen
class Load:
    """One kind of load: so many clients, or so many requests a second.

    Attributes:
        num_connections: Of a closed loop; 0 for an open one.
        rate_per_s: Of an open loop; 0 for a closed one.
        arrivals: How an open loop's requests are spread.
    """

    num_connections: int = 0
    rate_per_s: float = 0.0
    arrivals: Arrivals = Arrivals.POISSON

    @property
    def name(self) -> str:
        """As the table has it: ``c=8`` or ``200/s``."""
        return f"c={self.num_connections}" if self.num_connections else f"{self.rate_per_s:g}/s"


@frozen
class Timing:
    """How long a run takes, seconds.

    Attributes:
        duration_s: What counts.
        warmup_s: What comes before and does not.
        drain_s: How long answers are waited for at the end.
    """

    duration_s: float
    warmup_s: float
    drain_s: float = DRAIN_S


def run(target: Target, load: Load, timing: Timing, seed: int = 0) -> Tally:
    """Send one load at a target, and count. Blocks."""
    return _run(target, load, timing, seed, lambda window: Tally(duration_s=timing.duration_s))


def run_parted(target: Target, load: Load, timing: Timing, num_parts: int) -> PartedTally:
    """Send one load at a target, and count in equal parts of its time. Blocks."""
    return _run(target, load, timing, 0, lambda window: PartedTally(window, num_parts))


def _run(target: Target, load: Load, timing: Timing, seed: int, make_tally: Callable[[Window], T]) -> T:
    import uvloop

    gc.collect()
    gc.freeze()  # a collection amid the run would be counted as the server's time
    try:
        return uvloop.run(_send(target, load, timing, seed, make_tally))
    finally:
        gc.unfreeze()


async def _send(target: Target, load: Load, timing: Timing, seed: int, make_tally: Callable[[Window], T]) -> T:
    start_s = time.monotonic()
    window = Window(start_s + timing.warmup_s, start_s + timing.warmup_s + timing.duration_s)
    tally = make_tally(window)
    if load.num_connections:
        await ClosedLoop(target, load.num_connections, window, tally).run(timing.drain_s)
    else:
        due_s = due_times_s(load.arrivals, load.rate_per_s, seed)
        await OpenLoop(target, due_s, start_s, window, tally).run(timing.drain_s)
    return tally


@frozen
class Rounds:
    """What the rounds of a comparison came to: one tally a round and side, in pairs."""

    ours: tuple[Tally, ...]
    theirs: tuple[Tally, ...]


def compare(
    ours: Target, theirs: Target, load: Load, timing: Timing, num_rounds: int, begun: Callable[[int], None]
) -> Rounds:
    """Send the same load at two targets in turn, so that what else the machine does hits both. Blocks.

    Args:
        ours: The first side.
        theirs: The other side.
        load: What each gets in each round.
        timing: Of one round and side.
        num_rounds: How many; the side that goes first changes with each.
        begun: Told the number of each round.
    """
    found: dict[bool, list[Tally]] = {True: [], False: []}
    for number in range(num_rounds):
        begun(number)
        for is_ours in (True, False) if number % 2 == 0 else (False, True):
            found[is_ours].append(run(ours if is_ours else theirs, load, timing, seed=number))
    return Rounds(tuple(found[True]), tuple(found[False]))


def merged(tallies: Sequence[Tally]) -> Tally:
    """Add up the rounds of one side."""
    total = Tally()
    for tally in tallies:
        total.merge(tally)
    return total
