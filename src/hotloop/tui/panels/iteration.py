"""One iteration: what it was, where its time went, which models were kept or loaded, and why it cost what it cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotloop.devloop import words
from hotloop.tui.panels import waterfall
from hotloop.tui.panels.lines import Row, blank, finished, fitted, fitting, kept, line, padded, spread
from hotloop.tui.panels.meanings import badge, cause_style, mark_of, title_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.text import Text

    from hotloop.events import ModelOutcome, ProbeReport, TestsFinished
    from hotloop.tui.palette import Palette
    from hotloop.tui.state import State, Trip

_BLANK, _MODELS, _WHY, _FAILURE = 4, 3, 2, 1  # what goes first where rows are few


def draw(state: State, width: int, height: int, palette: Palette, now_s: float) -> list[Text]:
    """Draw the iteration that is looked at."""
    trip = state.trip
    if trip is None:
        return finished([title("Iteration", "no save yet", width, palette)], width, height, palette)
    head = title_line(trip, width, palette, now_s)
    phases = waterfall.rows(trip, width, palette, now_s)
    if 1 + len(phases) > height:
        phases = waterfall.summary(trip, width, palette, now_s)
    below = [
        *_failures(trip, width, palette, is_testing=state.testing == trip.number),
        *_model_rows(trip, width, palette),
        *_why(trip, width, palette),
    ]
    rows = [Row(head), blank(_BLANK), *map(Row, phases), *([blank(_BLANK)] if below else []), *below]
    return finished(kept(rows, height), width, height, palette)


def title(name: str, about: str, width: int, palette: Palette) -> Text:
    """A panel's first line."""
    return fitted(line((name, f"bold {palette.strong}"), (f"  {about}", palette.muted)), width)


def title_line(trip: Trip, width: int, palette: Palette, now_s: float) -> Text:
    """Number, cause and paths at the left; how long to what at the right."""
    name = title_of(trip) if width >= 45 or not trip.number else f"#{trip.number}"
    left = line((name, f"bold {palette.strong}"), "  ", badge(trip.cause, cause_style(trip.cause, palette)), "  ")
    left.append_text(line((words.paths(trip.paths), palette.muted)))
    return spread(left, outcome(trip, width, palette, now_s), width)


def outcome(trip: Trip, width: int, palette: Palette, now_s: float) -> Text:
    """Say how long it took to what, or how long of what is expected."""
    took = (words.duration(waterfall.elapsed_s(trip, now_s)), f"bold {palette.strong}")
    if trip.outcome == "running":
        return line(took, (_expected(trip, now_s), palette.muted))
    mark, style = mark_of(trip, palette)
    until = {"failed": "to the error", "superseded": "superseded by a newer save"}.get(trip.outcome)
    until = until or ("to first output" if trip.probes else "to ready")
    if trip.outcome == "ok" and not all(report.is_ok for report in trip.probes):
        mark, style, until = "✗", palette.bad, "to a probe that failed"
    return line((f"{mark} ", style), took, (f"  {until}" if width > 60 else "", palette.muted))


def _expected(trip: Trip, now_s: float) -> str:
    if trip.expected_s is None:
        return ""
    rest_s = trip.expected_s - waterfall.elapsed_s(trip, now_s)
    if trip.expected_s < 10 or rest_s < 1:
        return f"  of ~{words.duration(trip.expected_s)}"
    return f"  about {round(rest_s)} s to go" if rest_s < 60 else f"  about {words.duration(rest_s)} to go"


def _failures(trip: Trip, width: int, palette: Palette, *, is_testing: bool) -> list[Row]:
    """What serves and is wrong all the same: probes that failed; and how the tests went."""
    told = [_probe(report, palette) for report in trip.probes if not report.is_ok]
    rows = [Row(_labelled("probe", told, trip, width, palette), _FAILURE)] if told else []
    if is_testing:
        running = line(("◐ ", palette.warning), ("running", palette.text))
        rows.append(Row(_labelled("tests", [running], trip, width, palette), _FAILURE))
    elif trip.tests is not None:
        rows.append(Row(_labelled("tests", [_tests(trip.tests, palette)], trip, width, palette), _FAILURE))
    return rows


def _probe(report: ProbeReport, palette: Palette) -> Text:
    problem = report.problem
    said = f"{problem.type}: {problem.message}".removesuffix(": ") if problem is not None else "failed"
    return line(("✗ ", palette.bad), (f"{report.name} ", palette.text), (said, palette.bad))


def _tests(tests: TestsFinished, palette: Palette) -> Text:
    took = (f"  {words.duration(tests.took_s)}", palette.muted)
    passed = f"{tests.num_passed} passed" if tests.num_passed is not None else tests.outcome
    if tests.outcome == "ok":
        return line(("✓ ", palette.good), (passed, palette.text), took)
    if tests.outcome == "superseded":
        return line(("· superseded by a newer save", palette.muted), took)
    count = tests.num_failed or len(tests.failed)
    said = "could not run" if tests.outcome == "broken" else f"{count} failed" if count else "failed"
    first = f"  {tests.failed[0].name}" if tests.failed else ""
    also = f", {tests.num_passed} passed" if tests.num_passed else ""
    return line(("✗ ", palette.bad), (said, palette.bad), (also, palette.muted), took, (first, palette.text))


def _model_rows(trip: Trip, width: int, palette: Palette) -> list[Row]:
    kinds = (("kept", "●", palette.good), ("loaded", "○", palette.warning), ("failed", "✗", palette.bad))
    made: list[Row] = []
    for action, mark, style in kinds:
        models = [model for model in trip.models if model.action == action]
        if models:
            told = [_model(model, mark, style, palette) for model in models]
            made.append(Row(_labelled(action, told, trip, width, palette), _MODELS))
    return made


def _model(model: ModelOutcome, mark: str, style: str, palette: Palette) -> Text:
    home = {"resident": "", "hosted": "hosted", "worker": "not resident"}[model.home]
    size = words.size(model.size_bytes) if model.size_bytes else ""
    is_told_why = model.action != "kept" or model.home == "worker"
    took = words.duration(model.took_s) if model.action == "loaded" else ""
    about = " ".join(part for part in (size, home, took, f"({model.why})" if is_told_why and model.why else "") if part)
    return line((f"{mark} ", style), (f"{model.name} ", palette.text), (about, palette.muted))


def _why(trip: Trip, width: int, palette: Palette) -> list[Row]:
    if not trip.why:
        return []
    return [Row(_labelled("why", [line((trip.why, palette.text))], trip, width, palette), _WHY)]


def _labelled(label: str, parts: Sequence[Text], trip: Trip, width: int, palette: Palette) -> Text:
    cells = min(waterfall.name_cells(trip), max(width // 3, 9))
    name = padded(line((f"  {label}", palette.muted)), cells)
    return fitted(line(name, fitting(parts, width - cells, counts=palette.muted)), width)
