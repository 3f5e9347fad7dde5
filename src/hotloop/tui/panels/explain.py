"""One iteration in full: what was saved, where the time went beside what is usual, models and why, probes, tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotloop.devloop import words
from hotloop.tui.panels import waterfall
from hotloop.tui.panels.error import problem_of
from hotloop.tui.panels.iteration import title, title_line
from hotloop.tui.panels.lines import finished, fitted, line, padded, scrolled, wrapped
from hotloop.tui.panels.meanings import arrow, change, phase_name, phase_style
from hotloop.tui.panels.probe import change as probe_change
from hotloop.tui.panels.probe import diff_lines

if TYPE_CHECKING:
    from rich.text import Text

    from hotloop.events import ModelOutcome, ProbeReport
    from hotloop.tui.palette import Palette
    from hotloop.tui.panels.waterfall import Step
    from hotloop.tui.state import State, Trip

OTHER_RATIO = 0.02  # a rest that no phase explains is said from here on


def draw(state: State, width: int, height: int, palette: Palette, now_s: float, *, first: int = 0) -> list[Text]:
    """Draw what fits, from a line on; the title stays, and says what is below."""
    return finished(scrolled(lines_of(state, width, palette, now_s), first, height, palette), width, height, palette)


def lines_of(state: State, width: int, palette: Palette, now_s: float) -> list[Text]:
    """Give all of it, however high."""
    trip = state.trip
    if trip is None:
        return [title("Explain", "no iteration yet", width, palette)]
    parts = (
        _why(trip, width, palette),
        _phases(trip, width, palette, now_s),
        _models(trip, width, palette),
        _problem(trip, width, palette),
        _probes(trip, width, palette),
        _tests(trip, width, palette),
        _saved(trip, width, palette),
    )
    lines = [title_line(trip, width, palette, now_s)]
    for part in parts:
        lines += [line(), *part] if part else []
    return lines


def _section(name: str, about: str, palette: Palette) -> Text:
    return line((name, f"bold {palette.text}"), (f"  {about}" if about else "", palette.muted))


def _why(trip: Trip, width: int, palette: Palette) -> list[Text]:
    said = wrapped(line((trip.why, f"bold {palette.strong}")), width) if trip.why else []
    return [
        *said,
        *(wrapped(line(("fix ", f"bold {palette.good}"), (trip.fix, palette.text)), width) if trip.fix else []),
    ]


def _phases(trip: Trip, width: int, palette: Palette, now_s: float) -> list[Text]:
    steps = waterfall.steps_of(trip, now_s)
    if not steps:
        return []
    whole_s = sum(step.lasts_s for step in steps if not step.is_ahead)
    head = padded(_section("where it went", "", palette), 18)
    rows = [fitted(line(head, (f"{'took':>9}{'usual':>10}{'':8}{'share':>6}", palette.muted)), width)]
    rows += [fitted(_phase(step, whole_s, palette), width) for step in steps]
    rest_s = waterfall.elapsed_s(trip, now_s) - whole_s
    if trip.feedback_s and rest_s > OTHER_RATIO * trip.feedback_s:
        rows.append(line((f"  {words.duration(rest_s)} are explained by no phase", palette.warning)))
    return rows


def _phase(step: Step, whole_s: float, palette: Palette) -> Text:
    phase = step.phase
    took = "—" if step.is_ahead else words.duration(step.lasts_s)
    usual = words.duration(phase.expected_s) if phase.expected_s is not None else "—"
    share = f"{step.lasts_s / whole_s:.0%}" if whole_s and not step.is_ahead else ""
    ratio = None if step.is_ahead else change(step.lasts_s, phase.expected_s)
    return line(
        ("  ■ ", palette.ghost if step.is_ahead else phase_style(phase.name, palette)),
        padded(line((phase_name(phase.name), palette.text)), 14),
        (f"{took:>9}", f"bold {palette.strong}"),
        (f"{usual:>10}", palette.muted),
        padded(arrow(ratio, palette), 8, is_right=True),
        (f"{share:>6}  {phase.note}", palette.muted),
    )


def _models(trip: Trip, width: int, palette: Palette) -> list[Text]:
    if not trip.models:
        return []
    size = words.size(sum(model.size_bytes for model in trip.models))
    rows = [_section("models", size, palette)]
    for model in trip.models:
        rows += _model(model, width, palette)
    return rows


def _model(model: ModelOutcome, width: int, palette: Palette) -> list[Text]:
    mark, style = {"kept": ("●", palette.good), "loaded": ("○", palette.warning), "failed": ("✗", palette.bad)}[
        model.action
    ]
    home = {"resident": "in the vault", "hosted": "in a process of its own", "worker": "not resident"}[model.home]
    about = [words.size(model.size_bytes) if model.size_bytes else "", home, words.duration(model.took_s)]
    head = line(
        (f"  {mark} ", style), (f"{model.name}  ", palette.text), (f"{model.action}  ", style),
        ("  ".join(part for part in about if part), palette.muted),
    )  # fmt: skip
    whys = [line("    ", each) for each in wrapped(line((model.why, palette.muted)), width - 4)] if model.why else []
    return [fitted(head, width), *whys]


def _problem(trip: Trip, width: int, palette: Palette) -> list[Text]:
    problem = problem_of(trip)
    if problem is None:
        return []
    head = line((problem.type, f"bold {palette.bad}"), (f": {problem.message}", palette.text))
    rows = wrapped(head, width)
    if problem.where is not None:
        place = f"{problem.where.file}:{problem.where.line}"
        rows.append(line("  ", (place, f"underline {palette.code}"), (f"  in {problem.where.function}", palette.muted)))
    return rows


def _probes(trip: Trip, width: int, palette: Palette) -> list[Text]:
    rows: list[Text] = []
    for report in trip.probes:
        rows += [fitted(_probe(report, palette), width)]
        rows += [line("    ", each) for each in diff_lines(report.diff, width - 4, palette)]
    return [_section("probes", "", palette), *rows] if rows else []


def _probe(report: ProbeReport, palette: Palette) -> Text:
    mark, style = ("✓", palette.good) if report.is_ok else ("✗", palette.bad)
    said = "failed" if not report.is_ok else "changed" if report.is_changed else "unchanged"
    before = f"{words.duration(report.previous_took_s)} → " if report.previous_took_s is not None else ""
    took = f"  {before}{words.duration(report.took_s)}, {words.duration(report.compute_s)} of it compute"
    head = line((f"  {mark} ", style), (report.name, palette.text), (f"  {said}{took} ", palette.muted))
    return line(head, arrow(probe_change(report), palette))


def _tests(trip: Trip, width: int, palette: Palette) -> list[Text]:
    tests = trip.tests
    if tests is None:
        return []
    style = {"ok": palette.good, "failed": palette.bad, "broken": palette.bad}.get(tests.outcome, palette.muted)
    counts = [
        words.count(number, noun)
        for number, noun in ((tests.num_passed, "test passed"), (tests.num_failed, "failed"))
        if number is not None
    ]
    counts = [text.replace("test passeds", "tests passed").replace("faileds", "failed") for text in counts]
    about = ", ".join([*counts, words.duration(tests.took_s)])
    rows = [
        line(
            ("tests  ", f"bold {palette.text}"), (tests.outcome, style), (f"  {about}  {tests.command}", palette.muted)
        )
    ]
    rows += [
        line(("  ✗ ", palette.bad), (test.name, palette.text), (f"  {test.message}", palette.muted))
        for test in tests.failed
    ]
    return [fitted(row, width) for row in rows]


def _saved(trip: Trip, width: int, palette: Palette) -> list[Text]:
    if not trip.paths:
        return []
    size = words.size(trip.size_bytes) if trip.size_bytes else ""
    return [
        _section("saved", size, palette),
        *(fitted(line((f"  {path}", palette.muted)), width) for path in trip.paths),
    ]
