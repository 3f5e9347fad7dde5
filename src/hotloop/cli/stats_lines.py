"""How the loop's numbers are laid out in a terminal: each with how many values it stands on. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hotloop.devloop import cost, words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hotloop.devloop.history import Bench
    from hotloop.devloop.metrics import Causes, Cost, FirstResult, Spread, Summary, Trip

LABEL_WIDTH = 18
NUM_RECENT = 60
_BLOCKS, _ASCII = "▁▂▃▄▅▆▇█", "_.-:=+*#"
_LOWEST_S, _HIGHEST_S = 0.03, 100.0  # what the first and the last block stand for
_FAILED, _SUPERSEDED = ("✗", "·"), ("x", ",")


def summary(summary: Summary) -> list[str]:
    """Lay out all that is known."""
    total = summary.num_ok + summary.num_failed + summary.num_superseded
    counts = f"{summary.num_ok} ok, {summary.num_failed} failed, {summary.num_superseded} superseded"
    rows = [
        ("iterations", f"{total} ({counts}) in {words.count(summary.num_sessions, 'session')}"),
        ("time to feedback", _feedback(summary)),
        ("time to ready", _spread(summary.ready)),
        ("time to error", _spread(summary.error)),
        ("red to green", _repairs(summary)),
        ("first start", _spread(summary.cold)),
        ("phases, p50", words.phases(summary.phases_p50_s)),
        ("as expected", _expected(summary)),
        ("models", f"{summary.num_kept} times kept, {summary.num_loaded} times loaded"),
        ("active", _active(summary)),
        ("waited", _waited(summary)),
        ("drift", _drift(summary)),
        ("focus", _focus(summary)),
        ("first result", _first_result(summary.first_result)),
        ("cold starts", _avoided(summary)),
        ("environments", _spread(summary.builds)),
        ("tests", _tests(summary)),
        ("link", _link(summary)),
        ("failures", ", ".join(f"{kind} {number}" for kind, number in summary.errors)),
    ]
    return [f"{name:<{LABEL_WIDTH}}{text}" for name, text in rows if text]


def spent(costs: Sequence[Cost]) -> list[str]:
    """Say what all sessions cost, idle money apart; nothing if no price was known."""
    if not costs:
        return []
    said = cost.amounts(sum(each.total for each in costs), sum(each.idle for each in costs))
    return [f"{'cost':<{LABEL_WIDTH}}{said} in {words.count(len(costs), 'session')}"]


def recent(trips: Sequence[Trip], *, is_ascii: bool = False) -> list[str]:
    """Draw the last iterations, a block each: its height is the logarithm of its time."""
    edits = [trip for trip in trips if trip.is_edit][-NUM_RECENT:]
    if not edits:
        return []
    blocks, (failed, superseded) = (_ASCII, _SUPERSEDED) if is_ascii else (_BLOCKS, _FAILED)
    line = "".join(
        failed if trip.outcome == "failed" else superseded if trip.outcome == "superseded" else _block(trip, blocks)
        for trip in edits
    )
    scale = (
        f"{blocks[0]} {words.duration(_LOWEST_S)}, {blocks[3]} 1 s, {blocks[-1]} {words.duration(_HIGHEST_S)} and more"
    )
    return [f"{f'last {len(edits)}':<{LABEL_WIDTH}}{line}", f"{'':<{LABEL_WIDTH}}{scale}; {failed} failed"]


def _block(trip: Trip, blocks: str) -> str:
    span = math.log(_HIGHEST_S / _LOWEST_S)
    height = math.log(max(trip.feedback_s, _LOWEST_S) / _LOWEST_S) / span
    return blocks[min(int(height * (len(blocks) - 1) + 0.5), len(blocks) - 1)]


def causes(found: Sequence[Causes]) -> list[str]:
    """Lay out a row for each cause."""
    rows = [("cause", "ok", "failed", "p50", "p95 or max", "p95/p50", "off expected", "waited")]
    for each in found:
        spread = each.feedback
        rows.append((
            each.cause, str(each.num_ok), str(each.num_failed),
            words.duration(spread.p50_s) if spread is not None else "",
            _high(spread) if spread is not None else "",
            f"{each.spread_ratio:.1f}" if each.spread_ratio is not None else "",
            f"{each.surprise_ratio:.0%}" if each.surprise_ratio is not None else "",
            words.duration(each.waited_s),
        ))  # fmt: skip
    return _table(rows)


def days(found: Sequence[tuple[str, Summary]]) -> list[str]:
    """Lay out a row for each day."""
    rows = [("day", "ok", "failed", "p50", "p95 or max", "waited", "of active", "red to green")]
    for day, each in found:
        repair = each.repairs.spread
        rows.append((
            day, str(each.num_ok), str(each.num_failed),
            words.duration(each.feedback.p50_s) if each.feedback is not None else "",
            _high(each.feedback) if each.feedback is not None else "",
            words.duration(each.waited_s),
            _share(each.waited_ratio) if each.waited_ratio is not None else "",
            words.duration(repair.p50_s) if repair is not None else "",
        ))  # fmt: skip
    return _table(rows)


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if not column else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def benches(found: Sequence[Bench]) -> list[str]:
    """Lay out what the benches of each endpoint came to: the first, and where it is now."""
    by_endpoint: dict[str, list[Bench]] = {}
    for bench in found:
        by_endpoint.setdefault(bench.endpoint, []).append(bench)
    return [
        f"{f'bench {endpoint}':<{LABEL_WIDTH}}first {_bench(own[0])}; last {_bench(own[-1])} (n {len(own)})"
        for endpoint, own in by_endpoint.items()
    ]


def _bench(bench: Bench) -> str:
    return f"{words.rate(bench.requests_per_s)}, p99 {words.duration(bench.p99_s)}"


def _high(spread: Spread) -> str:
    return f"{'max' if spread.is_max else 'p95'} {words.duration(spread.high_s)}"


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return ""
    return f"p50 {words.duration(spread.p50_s)}, {_high(spread)} (n {spread.n})"


def _share(ratio: float) -> str:
    return f"{ratio:.0%}" if ratio >= 0.0995 or not ratio else f"{ratio:.1%}"


def _feedback(summary: Summary) -> str:
    if summary.feedback is None or summary.under_1_s_ratio is None or summary.under_10_s_ratio is None:
        return ""
    under = f"under 1 s {_share(summary.under_1_s_ratio)}, under 10 s {_share(summary.under_10_s_ratio)}"
    return f"{_spread(summary.feedback)}; {under}"


def _repairs(summary: Summary) -> str:
    repairs = summary.repairs
    abandoned = f"{repairs.num_abandoned} abandoned" if repairs.num_abandoned else ""
    if repairs.spread is None or repairs.p90_s is None:
        return abandoned
    p50, p90 = words.duration(repairs.spread.p50_s), words.duration(repairs.p90_s)
    saves = f"; {words.count(round(repairs.saves_per_repair or 0), 'save')} each"
    return f"p50 {p50}, p90 {p90} (n {repairs.spread.n}){saves}{f'; {abandoned}' if abandoned else ''}"


def _expected(summary: Summary) -> str:
    if summary.surprise_ratio is None:
        return ""
    return f"half of the good ones were within {_share(summary.surprise_ratio)} of what was expected"


def _active(summary: Summary) -> str:
    if not summary.active_s:
        return ""
    pace = f", {summary.iterations_per_h:.0f} iterations an hour" if summary.iterations_per_h is not None else ""
    return f"{words.duration(summary.active_s)}{pace}"


def _waited(summary: Summary) -> str:
    share = f", {_share(summary.waited_ratio)} of active time" if summary.waited_ratio is not None else ""
    beyond = f"; {words.duration(summary.waited_beyond_1_s)} beyond a second each" if summary.waited_beyond_1_s else ""
    return f"{words.duration(summary.waited_s)}{share}{beyond}"


def _drift(summary: Summary) -> str:
    drift = summary.drift
    if not drift.num_long:
        return ""
    after = f", {drift.pause_ratio:.0%} of them followed by a long pause" if drift.pause_ratio is not None else ""
    return f"{words.count(drift.num_long, 'iteration')} over 10 s{after}"


def _focus(summary: Summary) -> str:
    focus = summary.focus
    if not focus.num_blocks:
        return ""
    blocks = words.count(focus.num_blocks, "block")
    return f"{blocks} of 25 minutes or more, {words.duration(focus.total_s)} in all, the longest {words.duration(focus.longest_s)}"


def _first_result(first: FirstResult | None) -> str:
    if first is None:
        return ""
    steps = " · ".join(f"{name.replace('_', ' ')} {words.duration(took_s)}" for name, took_s in first.steps_s.items())
    edit = f"; first edit {words.duration(first.first_edit_s)}" if first.first_edit_s is not None else ""
    return f"{words.duration(first.total_s)} ({steps}){edit}"


def _avoided(summary: Summary) -> str:
    avoided = summary.avoided
    if avoided is None or not avoided.count:
        return ""
    return f"about {avoided.count} avoided, about {words.duration(avoided.saved_s)}"


def _tests(summary: Summary) -> str:
    return f"{_spread(summary.tests)}, {summary.num_tests_failed} failed" if summary.tests is not None else ""


def _link(summary: Summary) -> str:
    if not summary.num_losses:
        return ""
    return f"lost {words.count(summary.num_losses, 'time')}, {words.duration(summary.offline_s)} in all"


def advice(trips: Sequence[Trip]) -> list[str]:
    """Say what would save most waiting, in one line; nothing if nothing is known to."""
    from hotloop.devloop import advice as rules

    return [f"advice            {rules.sentence(each)}" for each in rules.advise(trips)[:1]]
