"""How the loop felt, beside how fast it was. Pure: few answers are shown as what they are, a few answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotloop.devloop import pulse, words
from hotloop.devloop.answers import week_of
from hotloop.devloop.metrics import percentile
from hotloop.devloop.report.tiles import NONE, Tile
from hotloop.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hotloop.devloop.advice import Share
    from hotloop.devloop.metrics import Summary, Trip
    from hotloop.devloop.pulse import Asked, Item

FAST_S = 1.0
GOOD, BAD = 4, 2
HINT = "dev pulse 4 says how it feels, dev pulse --on has it ask now and then"


@frozen
class Answer:
    """One answer. ``p50_s`` is the week's median time to feedback over ``num_edits`` good edits; None without."""

    week: str
    item: Item
    score: int
    p50_s: float | None
    num_edits: int


@frozen
class Felt:
    """What was answered.

    Attributes:
        answers: Oldest first, all that are kept.
        has_trend: Whether there are enough of them for a line between them.
        reading: What answers and figures say together, and what to do about it.
    """

    tile: Tile
    answers: tuple[Answer, ...]
    has_trend: bool
    reading: str


def make(
    asked: Iterable[Asked], trips: Sequence[Trip], summary: Summary, begin_s: float, advised: Sequence[Share]
) -> Felt:
    """Put answers beside the speed of their weeks."""
    by_week: dict[str, list[float]] = {}
    for trip in trips:
        if trip.is_edit and trip.outcome == "ok" and not trip.is_of_environment:
            by_week.setdefault(week_of(trip.saved_at_s), []).append(trip.feedback_s)
    answered = [each for each in asked if each.answer is not None]
    answers = tuple(_answer(each, by_week) for each in answered)
    recent = [each for each in answered if each.at_s >= begin_s]
    return Felt(
        _tile(recent, answers),
        answers,
        len(answers) >= pulse.MIN_FOR_TREND,
        _reading(answers, recent, summary, advised),
    )


def _answer(asked: Asked, by_week: dict[str, list[float]]) -> Answer:
    week = week_of(asked.at_s)
    times_s = by_week.get(week, [])
    return Answer(week, asked.item, asked.answer or 0, percentile(times_s, 0.5) if times_s else None, len(times_s))


def _tile(recent: Sequence[Asked], answers: Sequence[Answer]) -> Tile:
    name = "How it felt"
    if not recent:
        known = (
            f"no answer in this period ({words.count(len(answers), 'answer')} before)"
            if answers
            else "no answer yet (n 0)"
        )
        return Tile(name, NONE, f"{known}; {HINT}")
    last = recent[-1]
    if len(recent) == 1:
        return Tile(name, f"{last.answer} of {pulse.HIGHEST}", f"{pulse.TEXTS[last.item]} (n 1)")
    middle = percentile([float(each.answer or 0) for each in recent], 0.5)
    items = {each.item for each in recent}
    about = pulse.TEXTS[last.item] if len(items) == 1 else f"median over {words.count(len(items), 'question')}"
    return Tile(name, f"{middle:.0f} of {pulse.HIGHEST}", f"{about} (n {len(recent)})")


def _reading(answers: Sequence[Answer], recent: Sequence[Asked], summary: Summary, advised: Sequence[Share]) -> str:
    said = [_quadrant(recent, summary, advised), _correlation(answers)]
    return " ".join(each for each in said if each)


def _quadrant(recent: Sequence[Asked], summary: Summary, advised: Sequence[Share]) -> str:
    if not recent or summary.feedback is None:
        return ""
    score = percentile([float(each.answer or 0) for each in recent], 0.5)
    is_fast = summary.feedback.p50_s < FAST_S
    if score >= GOOD:
        return "Fast, and it feels good: leave it." if is_fast else "Not fast, yet it feels good: no problem of today."
    if score > BAD:
        return ""
    if not is_fast:
        fix = f": {advised[0].fix}" if advised else ""
        return f"Slow, and it feels so{fix}."
    return f"Fast, yet it does not feel good: {_unease(summary)}."


def _unease(summary: Summary) -> str:
    """What makes a fast loop feel bad: that it varies, that it fails, that it does not say why."""
    spread, success = summary.feedback, summary.success_ratio
    parts: list[str] = []
    if spread is not None and spread.p50_s:
        high = "the slowest takes" if spread.is_max else "p95 is"
        parts.append(f"{high} {spread.high_s / spread.p50_s:.1f} times the median (n {spread.n})")
    if success is not None:
        parts.append(f"{summary.num_failed} of {summary.num_ok + summary.num_failed} edits failed")
    return "look at how much it varies and fails: " + ", ".join(parts)


def _correlation(answers: Sequence[Answer]) -> str:
    """Whether better answers came with faster weeks; nothing is claimed of fewer than eight."""
    known = [(each.p50_s, each.score) for each in answers if each.p50_s is not None]
    if len(known) < pulse.MIN_FOR_CORRELATION:
        return ""
    rank = _rank_correlation([-speed for speed, _ in known], [float(score) for _, score in known])
    if rank is None or abs(rank) < 0.3:
        return f"Answers and speed do not go together so far ({len(known)} answers)."
    how = "better" if rank > 0 else "worse"
    return f"In faster weeks the answers were {how} (rank correlation {rank:+.1f}, {len(known)} answers; no proof of a cause)."


def _rank_correlation(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Spearman's, ties by their mean rank; None where all values of a side are equal."""
    ranks = [_ranks(values) for values in (one, other)]
    mean = (len(one) + 1) / 2
    dot = sum((a - mean) * (b - mean) for a, b in zip(*ranks, strict=True))
    norms = [sum((rank - mean) ** 2 for rank in each) for each in ranks]
    return dot / (norms[0] * norms[1]) ** 0.5 if all(norms) else None


def _ranks(values: Sequence[float]) -> list[float]:
    ordered = sorted(values)
    return [ordered.index(value) + (ordered.count(value) + 1) / 2 for value in values]
