"""How the loop has been for the developer: today, this week beside the one before, day by day, and how it felt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotloop.devloop import words
from hotloop.frozen import frozen
from hotloop.tui.panels.bars import sparkline
from hotloop.tui.panels.iteration import title
from hotloop.tui.panels.lines import Row, blank, finished, fitted, kept, line, padded, spread, wrapped
from hotloop.tui.panels.meanings import arrow, phase_name, phase_style

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.text import Text

    from hotloop.devloop.metrics import Spread, Summary
    from hotloop.tui.palette import Palette
    from hotloop.tui.state import State

MIN_FOR_TREND = 4  # answers: fewer say nothing of a direction
CLEAR_RATIO = 0.1
_LABEL, _CELL = 20, 13
_NARROW = 18  # cells of the longest name
_AIR, _FELT, _DAYS, _PHASES, _MORE = 9, 5, 4, 6, 3


@frozen
class Day:
    """One day's median time to feedback; None if nothing was saved."""

    label: str
    p50_s: float | None


@frozen
class Felt:
    """One answer to the question, 1 (no) to 5 (yes), and the week it was given in, such as ``w45``."""

    week: str
    question: str
    answer: int


@frozen
class Experience:
    """What the panel shows beside the session.

    Attributes:
        today: Since midnight.
        week: The last seven days.
        before: The seven days before those; None if nothing was kept.
        days: Oldest first.
        felt: The answers, oldest first.
        advice: What would save most waiting, with its evidence; empty if nothing is known to.
    """

    today: Summary
    week: Summary
    before: Summary | None = None
    days: tuple[Day, ...] = ()
    felt: tuple[Felt, ...] = ()
    advice: str = ""


def draw(
    state: State, width: int, height: int, palette: Palette, now_s: float, *, experience: Experience | None = None
) -> list[Text]:
    """Draw the developer's own figures; they are kept on this machine alone."""
    if experience is None or not _num_edits(experience.week):
        said = "figures follow with the first saves; they stay on this machine"
        head = title("Experience", state.app, width, palette)
        return finished([head, line(), line("  ", (said, palette.muted))], width, height, palette)
    head = spread(
        line(("Experience", f"bold {palette.strong}"), (f"  {_sentence(experience)}", palette.muted)),
        line(("on this machine alone" if width >= 90 else "", palette.muted)),
        width,
    )
    rows = [Row(head), blank(_AIR), *_table(experience, width, palette)]
    rows += [blank(_AIR), *_days(experience.days, width, palette)] if experience.days else []
    rows += [blank(_AIR), *_phases(experience.week, width, palette)]
    rows += _advice(experience.advice, width, palette)
    rows += [blank(_AIR), *_felt(experience.felt, width, palette)]
    return finished(kept(rows, height), width, height, palette)


def _num_edits(summary: Summary) -> int:
    return summary.num_ok + summary.num_failed + summary.num_superseded


def _sentence(experience: Experience) -> str:
    now, before = experience.week.feedback, experience.before.feedback if experience.before is not None else None
    if now is None:
        return ""
    said = f"an edit came back in {words.duration(now.p50_s)}"
    if before is None or not before.p50_s or abs(now.p50_s / before.p50_s - 1) < CLEAR_RATIO:
        return said
    ratio = now.p50_s / before.p50_s - 1
    return f"{said}, {abs(ratio):.0%} {'slower' if ratio > 0 else 'faster'} than the week before"


# --- figures ----------------------------------------------------------------------------------------------------


def _table(experience: Experience, width: int, palette: Palette) -> list[Row]:
    columns = [("today", experience.today), ("this week", experience.week)]
    if experience.before is not None and width >= _LABEL + 3 * _CELL + 8:
        columns.append(("week before", experience.before))
    if width < _NARROW + len(columns) * _CELL:
        columns = columns[:1]
    label = min(_LABEL, max(width - len(columns) * _CELL, 8))
    head = [padded(line((name, palette.muted)), _CELL, is_right=True) for name, _ in columns]
    rows = [Row(line(" " * label, *head))]
    for name, write, value, rank in _FIGURES:
        written = [write(summary) for _, summary in columns]
        if rank == _MORE and set(written) == {"—"}:
            continue
        cells = [padded(line((text, palette.text)), _CELL, is_right=True) for text in written]
        changed = _changed(value, experience, palette) if width >= label + len(columns) * _CELL + 8 else line()
        rows.append(Row(line(padded(line((name, palette.muted)), label), *cells, "  ", changed), rank))
    return rows


def _changed(value: Callable[[Summary], float | None] | None, experience: Experience, palette: Palette) -> Text:
    """An arrow for what is a time, where this week clearly differs from the one before."""
    if value is None or experience.before is None:
        return line()
    now, before = value(experience.week), value(experience.before)
    if not now or not before or abs(now / before - 1) < CLEAR_RATIO:
        return line()
    return arrow(now / before - 1, palette)


def _p50(spread_: Spread | None) -> str:
    return words.duration(spread_.p50_s) if spread_ is not None else "—"


def _high(spread_: Spread | None) -> str:
    if spread_ is None:
        return "—"
    return f"{'max ' if spread_.is_max else ''}{words.duration(spread_.high_s)}"


def _ratio(value: float | None) -> str:
    return f"{value:.0%}" if value is not None else "—"


def _p50_of(spread_: Spread | None) -> float | None:
    return spread_.p50_s if spread_ is not None else None


def _repair(summary: Summary) -> str:
    saves = summary.repairs.saves_per_repair
    return f"{saves:.0f}" if saves else "—"


def _waited(summary: Summary) -> str:
    share = f" ({summary.waited_ratio:.0%})" if summary.waited_ratio is not None else ""
    return f"{words.duration(summary.waited_s)}{share}"


def _focus(summary: Summary) -> str:
    blocks = summary.focus.num_blocks
    return f"{blocks}, {words.duration(summary.focus.total_s)}" if blocks else "—"


def _avoided(summary: Summary) -> str:
    saved = summary.avoided
    return f"~{words.duration(saved.saved_s)}" if saved is not None and saved.count else "—"


# Name, how it is written, its value if it is a time that may be compared, and how dispensable its row is.
_FIGURES: tuple[tuple[str, Callable[[Summary], str], Callable[[Summary], float | None] | None, int], ...] = (
    ("feedback p50", lambda s: _p50(s.feedback), lambda s: _p50_of(s.feedback), 0),
    ("feedback p95", lambda s: _high(s.feedback), None, 0),
    ("under 1 s", lambda s: _ratio(s.under_1_s_ratio), None, 1),
    ("time to error", lambda s: _p50(s.error), lambda s: _p50_of(s.error), _MORE),
    ("red to green", lambda s: _p50(s.repairs.spread), lambda s: _p50_of(s.repairs.spread), 1),
    ("saves per repair", _repair, None, _MORE),
    ("waited", _waited, None, 1),
    ("over 10 s", lambda s: f"{s.drift.num_long:,}", None, _MORE),
    ("focus blocks", _focus, None, _MORE),
    ("edits", lambda s: f"{_num_edits(s):,}", None, 2),
    ("went well", lambda s: _ratio(s.success_ratio), None, 2),
    ("models kept", lambda s: f"{s.num_kept:,} of {s.num_kept + s.num_loaded:,}", None, _MORE),
    ("first start", lambda s: _p50(s.cold), lambda s: _p50_of(s.cold), _MORE),
    ("cold starts saved", _avoided, None, _MORE),
    ("tests", lambda s: _p50(s.tests), lambda s: _p50_of(s.tests), _MORE),
)


# --- pictures ---------------------------------------------------------------------------------------------------


def _days(days: Sequence[Day], width: int, palette: Palette) -> list[Row]:
    """Each day's median as a column of three cells, its label below."""
    shown = days[-max((width - _LABEL) // 6, 1) :]
    heights = sparkline([day.p50_s for day in shown], len(shown), palette.code, palette).plain
    bars = line(*((f"{glyph * 3}   ", palette.code) for glyph in heights))
    labels = line(*((f"{day.label[:5]:<6}", palette.muted) for day in shown))
    told = line((_p50_label(shown), palette.muted))
    return [
        Row(fitted(line(padded(line(("feedback p50 a day", palette.muted)), _LABEL), bars), width), _DAYS),
        Row(fitted(line(padded(told, _LABEL), labels), width), _DAYS),
    ]


def _p50_label(days: Sequence[Day]) -> str:
    known = [day.p50_s for day in days if day.p50_s is not None]
    ends = [words.duration(value) for value in (min(known, default=0.0), max(known, default=0.0))]
    return " to ".join(dict.fromkeys(ends)) if known else ""


def _phases(week: Summary, width: int, palette: Palette) -> list[Row]:
    """Where an edit's time goes, each phase's median."""
    known = {name: value for name, value in week.phases_p50_s.items() if value > 0}
    longest = max(known.values(), default=0.0)
    if not known:
        return []
    rows = [Row(line(("where a save's time goes, medians of the week", palette.muted)), _PHASES)]
    bar = max(width - 16 - 10, 0)
    for name, value in known.items():
        cells = max(round(value / longest * bar), 1) if bar else 0
        row = line(
            padded(line(f"  {phase_name(name)}"), 16),
            (f"{words.duration(value):>8}  ", palette.text),
            (("=" if palette.is_ascii else "━") * cells, phase_style(name, palette)),
        )
        rows.append(Row(fitted(row, width), _PHASES))
    return rows


def _advice(advice: str, width: int, palette: Palette) -> list[Row]:
    if not advice:
        return []
    told = wrapped(line(("advice  ", palette.muted), (advice, palette.good)), width)
    return [blank(_AIR), *(Row(text, _FELT) for text in told)]


def _felt(felt: Sequence[Felt], width: int, palette: Palette) -> list[Row]:
    if not felt:
        said = "how it felt: nothing was asked yet (dev pulse answers at any time)"
        return [Row(text, _FELT) for text in wrapped(line((said, palette.muted)), width)]
    last = felt[-1]
    rows = [
        Row(fitted(line(("how it felt  ", palette.muted), (last.question, palette.text)), width), _FELT),
        Row(line("  ", _dots(last, palette), (f"  {last.answer} of 5  {last.week}", palette.muted)), _FELT),
    ]
    if len(felt) >= MIN_FOR_TREND:
        trend = sparkline(
            [float(each.answer) for each in felt], min(len(felt), max(width - 20, 1)), palette.model, palette
        )
        rows.append(Row(line("  ", trend, (f"  {len(felt)} answers", palette.muted)), _FELT))
    return rows


def _dots(felt: Felt, palette: Palette) -> Text:
    filled = min(max(felt.answer, 0), 5)
    return line(("●" * filled, palette.model), ("○" * (5 - filled), palette.muted))
