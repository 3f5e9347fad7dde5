"""The four figures at the top of the report. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotloop.devloop import advice, words
from hotloop.devloop.report.words import share
from hotloop.frozen import frozen

if TYPE_CHECKING:
    from hotloop.devloop.metrics import Summary
    from hotloop.devloop.report.figures import Figures

MIN_TO_COMPARE = 5  # edits on both sides
NONE = "\u2013"


@frozen
class Tile:
    """One of the four figures at the top.

    Attributes:
        figure: Large, such as ``0.84 s``; a dash if there is none.
        about: What it is, with how many values it stands on.
        change: Beside the period before; empty if there is nothing to say.
        tone: ``good``, ``warning`` or empty: how `change` is to be read.
    """

    name: str
    figure: str
    about: str
    change: str = ""
    tone: str = ""


def speed(current: Figures, previous: Figures | None) -> Tile:
    """How fast: the median, and how far from it the slow ones are."""
    if current.p50_s is None or current.high_s is None:
        return Tile("Speed", NONE, "no good edit yet (n 0)")
    high = "slowest" if current.is_max else "p95"
    about = f"feedback p50; {high} {words.duration(current.high_s)} (n {len(current.feedback_s)})"
    return Tile("Speed", words.duration(current.p50_s), about, *_faster(current, previous))


def _faster(current: Figures, previous: Figures | None) -> tuple[str, str]:
    if previous is None or not previous.p50_s or not current.p50_s:
        return "", ""
    counts = len(current.feedback_s), len(previous.feedback_s)
    if min(counts) < MIN_TO_COMPARE:
        return f"too few edits to compare with {previous.name} (n {counts[1]})", ""
    ratio = current.p50_s / previous.p50_s
    if 0.95 < ratio < 1.05:
        return f"as in {previous.name} (n {counts[1]})", ""
    said = f"{share(1 - ratio)} faster" if ratio < 1 else f"{share(ratio - 1)} slower"
    return f"{said} than {previous.name} (n {counts[1]})", "good" if ratio < 1 else "warning"


def effectiveness(summary: Summary, current: Figures, previous: Figures | None) -> Tile:
    """How much of the work was waiting."""
    if summary.waited_ratio is None:
        return Tile("Effectiveness", NONE, f"too little active time to say (n {current.num_edits})")
    about = (
        f"of {advice.minutes(summary.active_s)} at work spent waiting ({advice.minutes(summary.waited_s)}, "
        f"n {current.num_edits}); {words.count(summary.focus.num_blocks, 'focus block')}, "
        f"{words.count(summary.drift.num_long, 'wait')} over 10 s"
    )
    figure = share(summary.waited_ratio)
    was = previous.waited_ratio if previous is not None else None
    if was is None or previous is None:
        return Tile("Effectiveness", figure, about)
    is_same = figure == share(was)
    tone = "" if is_same else "good" if summary.waited_ratio < was else "warning"
    return Tile("Effectiveness", figure, about, f"was {share(was)} (n {previous.num_edits})", tone)


def quality(summary: Summary, previous: Figures | None) -> Tile:
    """How much failed, which is normal work and has no tone, and how long repairs took."""
    num = summary.num_ok + summary.num_failed
    if summary.success_ratio is None:
        return Tile("Quality", NONE, "no edit yet (n 0)")
    about = f"of edits failed ({summary.num_failed} of {num})"
    repairs = summary.repairs
    if repairs.spread is not None and repairs.p90_s is not None:
        p50, p90 = words.duration(repairs.spread.p50_s), words.duration(repairs.p90_s)
        about += f"; red to green {p50}, p90 {p90} (n {repairs.spread.n})"
    was = previous.failed_ratio if previous is not None else None
    change = f"was {share(was)} (n {previous.num_edits})" if was is not None and previous is not None else ""
    return Tile("Quality", share(1 - summary.success_ratio), about, change)
