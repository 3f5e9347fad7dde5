"""Which of the lines that a runner kept came before those that are shown. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hotloop.events import Log

COMPARED = 50  # lines: the first that are shown, by which the place is found
CLOSE_S = 0.005  # times of two clocks go on by the same amount, but for what is estimated of their distance


def before(kept: Sequence[Log], shown: Sequence[Log]) -> list[Log]:
    """Give the older lines, with their times by this machine's clock.

    Args:
        kept: All that the runner kept, oldest first, with the times of its clock.
        shown: The first ones that are shown, at most `COMPARED`, with those of this one's.

    Returns:
        Nothing if the first one shown is not among those kept: what came before it is not either.
    """
    for place in range(len(kept) - len(shown), -1, -1):
        if shown and _is_same(kept[place : place + len(shown)], shown):
            offset_s = shown[0].at_s - kept[place].at_s
            return [replace(line, at_s=line.at_s + offset_s) for line in kept[:place]]
    return []


def _is_same(kept: Sequence[Log], shown: Sequence[Log]) -> bool:
    return all(
        ours.text == its.text
        and ours.generation == its.generation
        and abs((ours.at_s - shown[0].at_s) - (its.at_s - kept[0].at_s)) < CLOSE_S
        for its, ours in zip(kept, shown, strict=True)
    )
