"""What the probes gave, beside what they gave before: the words that changed, and the time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotloop.devloop import diff, words
from hotloop.tui.actions import USUAL_KEYS
from hotloop.tui.panels.lines import Row, blank, finished, fitted, fitting, kept, line, spread, wrapped
from hotloop.tui.panels.meanings import CLEAR_S, arrow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.text import Text

    from hotloop.events import ProbeReport
    from hotloop.tui.palette import Palette
    from hotloop.tui.state import State

CLEAR_RATIO = 0.05
MAX_ROWS = 200  # of one probe's output

_LINE, _TIME = 1, 2  # what goes first where rows are few: times, then lines from the end


def draw(
    state: State,
    width: int,
    height: int,
    palette: Palette,
    now_s: float,
    *,
    keys: Mapping[str, str] = USUAL_KEYS,
) -> list[Text]:
    """Draw the probes: the one that is looked at in full, a line for each of the others."""
    reports = reports_of(state)
    if not reports:
        return finished(_none_yet(state, width, height, palette, keys["probe"]), width, height, palette)
    looked_at = chosen(reports, state.probe)
    others = [report for report in reports if report is not looked_at]
    rows = [Row(_title(looked_at, state, width, palette)), blank(_TIME + 1)]
    rows += _body(looked_at, width, palette)
    rows += [blank(_TIME + 1), Row(_timing(looked_at, width, palette), _LINE if others else 0)]
    room = max(height - 6, 0) if others else 0
    told = others[: max(room, 0)] if len(others) <= room else others[: max(room - 1, 0)]
    rows += [Row(_one_line(report, width, palette)) for report in told]
    if others and len(told) < len(others) and height > 4:
        rows.append(Row(_more(others[len(told) :], palette)))
    return finished(kept(rows, height), width, height, palette)


def reports_of(state: State) -> tuple[ProbeReport, ...]:
    """Give the reports that are looked at: the selected iteration's, else the newest of each probe."""
    if state.selected is not None and state.trip is not None:
        return state.trip.probes
    return state.probes


def chosen(reports: Sequence[ProbeReport], name: str) -> ProbeReport:
    """Give the one that is looked at: the one of that name, else the first that failed, that changed, the first."""
    named = [report for report in reports if report.name == name]
    failed = [report for report in reports if not report.is_ok]
    changed = [report for report in reports if report.is_changed]
    return (named or failed or changed or list(reports))[0]


def _none_yet(state: State, width: int, height: int, palette: Palette, key: str) -> list[Text]:
    head = line(("Probe", f"bold {palette.strong}"))
    if state.serving is not None and state.endpoints and state.status not in {"cold", "reloading"}:
        said = f"no probe: press {key} to set a request that is sent again after every reload, or write an @app.probe"
    else:
        said = "after the first output: what changed in the answer, and by how much"
    told = [line("  ", each) for each in wrapped(line((said, palette.muted)), width - 2)]
    return [head, *([line()] if height > len(told) + 1 else []), *told]


def _title(report: ProbeReport, state: State, width: int, palette: Palette) -> Text:
    left = line(("Probe", f"bold {palette.strong}"), (f"  {report.name}", palette.muted))
    return spread(left, line((_between(report, state), palette.muted)), width)


def _between(report: ProbeReport, state: State) -> str:
    """Say which iterations are compared: one that gave no output is no predecessor."""
    newest = state.selected if state.selected is not None else state.trips[-1].number if state.trips else 0
    told = [
        (trip.number, each.is_ok)
        for trip in state.trips
        for each in trip.probes
        if each.name == report.name and trip.number <= newest
    ]
    if not told:
        return ""
    number = told[-1][0]
    before = [number for number, is_ok in told[:-1] if is_ok]
    if report.previous_took_s is None or not before:
        return f"#{number}" if number else ""
    return f"#{before[-1]} → #{number}" if before[-1] else f"first start → #{number}"


def _body(report: ProbeReport, width: int, palette: Palette) -> list[Row]:
    if not report.is_ok:
        lines = _failure(report, width, palette)
    elif report.is_changed and report.diff:
        lines = diff_lines(report.diff, width, palette)
    else:
        is_first = report.previous_took_s is None
        head = [] if is_first else [line(("= ", palette.good), ("unchanged", palette.text))]
        style = palette.text if is_first else palette.muted
        lines = head + [
            line("  ", each) for text in diff.preview(report.output) for each in wrapped(line((text, style)), width - 2)
        ]
    return [Row(text, _LINE if index else 0) for index, text in enumerate(lines[:MAX_ROWS])]


def _failure(report: ProbeReport, width: int, palette: Palette) -> list[Text]:
    problem = report.problem
    if problem is None:
        said = line(("✗ ", palette.bad), ("failed", f"bold {palette.bad}"), (f"  {report.output}", palette.text))
        return wrapped(said, width)
    head = line(("✗ ", palette.bad), (problem.type, f"bold {palette.bad}"), (f": {problem.message}", palette.text))
    lines = wrapped(head, width)
    if problem.where is not None:
        place = f"{problem.where.file}:{problem.where.line}"
        lines.append(
            line("  ", (place, f"underline {palette.code}"), (f"  in {problem.where.function}", palette.muted))
        )
        lines.append(fitted(line("  ", (problem.where.source.strip(), palette.text)), width))
    if problem.hint:
        lines += wrapped(line(("hint ", f"bold {palette.good}"), (problem.hint, palette.text)), width)
    return lines


def diff_lines(lines: Sequence[str], width: int, palette: Palette) -> list[Text]:
    """Draw a diff; where a removed line stands beside an added one, the words that changed are marked."""
    made: list[Text] = []
    rest = list(lines)
    while rest:
        text = rest.pop(0)
        if text.startswith("- ") and rest and rest[0].startswith("+ "):
            old, new = diff.words(text[2:], rest.pop(0)[2:])
            made += _signed(
                "−", [_word(piece, "strike", palette.bad, palette.muted) for piece in old], width, palette.bad
            )
            made += _signed(
                "+", [_word(piece, "underline", palette.good, palette.text) for piece in new], width, palette.good
            )
        elif text[:1] in {"-", "+"}:
            sign, style = ("−", palette.bad) if text[0] == "-" else ("+", palette.good)
            made += _signed(sign, [line((text[2:], palette.muted if sign == "−" else palette.text))], width, style)
        else:
            made += _signed(" ", [line((text.removeprefix("  "), palette.muted))], width, "")
    return made


def _word(piece: tuple[str, bool], look: str, style: str, rest: str) -> Text:
    text, is_changed = piece
    if not is_changed:
        return line((text, rest))
    body = text.strip(" ")  # no line through the space before a word
    lead, tail = text[: len(text) - len(text.lstrip(" "))], text[len(text.rstrip(" ")) :] if body else ""
    return line((lead, rest), (body, f"bold {look} {style}"), (tail, rest))


def _signed(sign: str, pieces: Sequence[Text], width: int, style: str) -> list[Text]:
    body = line(*pieces)
    return [
        line((f"{' ' if index else sign} ", f"bold {style}"), each)
        for index, each in enumerate(wrapped(body, width - 2))
    ]


def _timing(report: ProbeReport, width: int, palette: Palette) -> Text:
    before = f"{words.duration(report.previous_took_s)} → " if report.previous_took_s is not None else ""
    took = line(
        ("time ", palette.muted),
        (before, palette.muted),
        (words.duration(report.took_s), f"bold {palette.strong}"),
    )
    changed = arrow(change(report), palette)
    compute = line(("compute ", palette.muted), (words.duration(report.compute_s), palette.text))
    return fitting([line(took, " ", changed) if changed.cell_len else took, compute], width, gap="   ")


def change(report: ProbeReport) -> float | None:
    """Say by how much a probe's time differs from the one before, as a ratio; None if not clearly."""
    before_s = report.previous_took_s
    if not before_s or abs(report.took_s - before_s) < CLEAR_S:
        return None
    ratio = report.took_s / before_s - 1
    return ratio if abs(ratio) >= CLEAR_RATIO else None


def _one_line(report: ProbeReport, width: int, palette: Palette) -> Text:
    if not report.is_ok:
        mark, style, said = "✗", palette.bad, "failed"
    elif report.previous_took_s is None:
        mark, style, said = "+", palette.text, "first"
    elif report.is_changed:
        mark, style, said = "±", palette.warning, "changed"
    else:
        mark, style, said = "=", palette.muted, "unchanged"
    left = line((f"{mark} ", style), (report.name, palette.text), (f"  {said}", style))
    return spread(left, line((words.duration(report.took_s), palette.muted)), width)


def _more(rest: Sequence[ProbeReport], palette: Palette) -> Text:
    num_failed = sum(not report.is_ok for report in rest)
    failed = (f", {num_failed} failed" if num_failed else "", palette.bad)
    return line((f"  and {words.count(len(rest), 'more probe')}", palette.muted), failed)
