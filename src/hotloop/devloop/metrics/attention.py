"""Where the developer's time went: active time, drift, focus blocks.

Focus is what a log can tell; whether somebody was in flow it can't.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from hotloop.devloop.metrics.spread import median
from hotloop.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from hotloop.devloop.metrics.records import LinkLoss, Trip

IDLE_S = 900.0  # an edit with its navigation takes 5 minutes on average: a shorter cut-off would cut work
LONG_S = 10.0  # attention goes
LONG_PAUSE = 3  # times the median gap
MIN_FOCUS_S = 1500.0


@frozen
class Drift:
    """How often the loop itself broke a train of thought.

    Attributes:
        num_long: Iterations of more than 10 s.
        pause_ratio: Share of those that were followed by a pause of more than 3 median gaps, among those that another
            save of the session followed; None if there were none.
    """

    num_long: int
    pause_ratio: float | None


@frozen
class Focus:
    """Runs of activity of 25 minutes or more, without a rest over 15 minutes, a wait over 10 s or a lost link."""

    num_blocks: int
    total_s: float
    longest_s: float


def active_s(moments: Iterable[float], waits: Iterable[tuple[float, float]] = ()) -> float:
    """Measure the union of the gaps of at most 15 minutes between moments of activity, and of the waits: who waits works."""
    gaps = itertools.pairwise(sorted(moments))
    return union_s([*waits, *((earlier, later) for earlier, later in gaps if later - earlier <= IDLE_S)])


def union_s(spans: Iterable[tuple[float, float]]) -> float:
    """Measure what spans of time cover together."""
    covered, until_s = 0.0, float("-inf")
    for low_s, high_s in sorted(spans):
        covered += max(high_s - max(low_s, until_s), 0.0)
        until_s = max(until_s, high_s)
    return covered


def idle_s(spans: Iterable[tuple[float, float]], begin_s: float, end_s: float) -> float:
    """Add up the rests of more than 15 minutes between two moments; ``spans`` is when something was going on."""
    idle, until_s = 0.0, begin_s
    for low_s, high_s in sorted((*spans, (end_s, end_s))):
        low_s, high_s = min(low_s, end_s), min(high_s, end_s)  # noqa: PLW2901  what lies behind does not count
        if low_s - until_s > IDLE_S:
            idle += low_s - until_s
        until_s = max(until_s, high_s)
    return idle


def drift(edits: Sequence[Trip]) -> Drift:
    """Look at what followed the long iterations; edits are given oldest first."""
    gaps: list[tuple[float, bool]] = []
    by_session: dict[str, Trip] = {}
    for trip in edits:
        before = by_session.get(trip.session)
        if before is not None:
            gaps.append((max(trip.saved_at_s - before.told_at_s, 0.0), before.feedback_s > LONG_S))
        by_session[trip.session] = trip
    middle_s = median([gap_s for gap_s, _ in gaps])
    after_long = [gap_s for gap_s, is_long in gaps if is_long]
    paused = [gap_s for gap_s in after_long if middle_s is not None and gap_s > LONG_PAUSE * middle_s]
    return Drift(sum(trip.feedback_s > LONG_S for trip in edits), len(paused) / len(after_long) if after_long else None)


def focus(moments: Iterable[float], edits: Iterable[Trip], losses: Iterable[LinkLoss]) -> Focus:
    """Find the focus blocks."""
    broken = [(trip.saved_at_s, trip.told_at_s) for trip in edits if trip.feedback_s > LONG_S]
    broken += [(loss.lost_at_s, loss.lost_at_s + loss.lasted_s) for loss in losses]
    blocks = [length_s for length_s in _runs_s(sorted(moments), sorted(broken)) if length_s >= MIN_FOCUS_S]
    return Focus(len(blocks), sum(blocks), max(blocks, default=0.0))


def _runs_s(moments: Sequence[float], broken: Sequence[tuple[float, float]]) -> Iterator[float]:
    """Lengths of the runs between which there is a rest, or something that breaks one."""
    begin_s: float | None = None
    last_s = 0.0
    for at_s in moments:
        is_cut = any(low_s < at_s and high_s > last_s for low_s, high_s in broken)
        if begin_s is not None and (is_cut or at_s - last_s > IDLE_S):
            yield last_s - begin_s
            begin_s = None
        begin_s = at_s if begin_s is None else begin_s
        last_s = at_s
    if begin_s is not None:
        yield last_s - begin_s
