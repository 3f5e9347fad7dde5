"""What went wrong, the user's own line first: what it says, where, the code with carets, what to do, who called it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len

from hotloop.devloop import words
from hotloop.tui.actions import USUAL_KEYS
from hotloop.tui.panels import source, waterfall
from hotloop.tui.panels.iteration import title
from hotloop.tui.panels.lines import (
    TAB_CELLS,
    Row,
    background,
    blank,
    clean,
    finished,
    fitted,
    fitting,
    kept,
    line,
    padded,
    spread,
    wrapped,
)
from hotloop.tui.panels.meanings import badge, phase_name, title_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.text import Text

    from hotloop.events import FailedTest, Frame, Problem, TestsFinished
    from hotloop.tui.palette import Palette
    from hotloop.tui.panels.source import Numbered
    from hotloop.tui.state import State, Trip

LINES_ABOVE, LINES_BELOW = 2, 1
MAX_MESSAGE_LINES = 6
MAX_TESTS = 5
ACTIONS = (
    ("edit", "open in editor"),
    ("locals", "variables"),
    ("copy", "copy"),
    ("reload", "retry"),
    ("undo", "undo edit"),
)

# What goes first where rows are few.
_AIR, _CALLERS, _FAR_CODE, _ACTIONS, _MORE_MESSAGE, _HINT_REST, _CODE, _CARET, _HINT = 9, 8, 7, 6, 5, 4, 3, 2, 1


def draw(
    state: State,
    width: int,
    height: int,
    palette: Palette,
    now_s: float,
    *,
    keys: Mapping[str, str] = USUAL_KEYS,
) -> list[Text]:
    """Draw why the iteration that is looked at failed: its own problem, that of a probe, or the tests that failed."""
    trip = state.trip
    if trip is None:
        return finished([title("Error", "nothing failed", width, palette)], width, height, palette)
    problem = problem_of(trip)
    rows = [Row(_title(trip, width, palette, now_s))]
    if problem is not None:
        rows += [blank(_AIR), *_problem_rows(problem, state, width, palette, keys)]
    if trip.tests is not None and trip.tests.outcome in {"failed", "broken"}:
        rows += [blank(_AIR), *_test_rows(trip.tests, width, palette, is_alone=problem is None)]
    if len(rows) == 1:
        rows += [blank(_AIR), Row(line(("  nothing failed", palette.muted)))]
    else:
        rows += [blank(_AIR), Row(_actions(width, palette, keys), _ACTIONS)]
    return finished(kept(rows, height), width, height, palette)


def problem_of(trip: Trip) -> Problem | None:
    """Give what is wrong with an iteration: what kept it from serving, else what a probe raised."""
    raised = (report.problem for report in trip.probes if not report.is_ok and report.problem is not None)
    return trip.problem or next(raised, None)


def place_of(trip: Trip) -> tuple[str, int] | None:
    """Give the file and line to open: the user's innermost frame, else the first test that failed."""
    problem = problem_of(trip)
    if problem is not None and problem.where is not None:
        return problem.where.file, problem.where.line
    failed = trip.tests.failed if trip.tests is not None else ()
    return next(((test.file, test.line) for test in failed if test.file), None)


def _title(trip: Trip, width: int, palette: Palette, now_s: float) -> Text:
    took = words.duration(waterfall.elapsed_s(trip, now_s))
    until = "  to the error" if width > 60 and trip.problem is not None else ""
    right = line(("✗ ", palette.bad), (took, f"bold {palette.strong}"), (until, palette.muted))
    name = title_of(trip) if width >= 45 else f"#{trip.number}"
    left = line((name, f"bold {palette.strong}"), "  ", badge(_failed_in(trip), palette.bad))
    return spread(left, right, width)


def _failed_in(trip: Trip) -> str:
    if any(not report.is_ok for report in trip.probes):
        return "probe failed"
    if trip.problem is not None:
        begun = [phase for phase in trip.phases if phase.is_live or phase.took_s]
        return f"failed in {phase_name(begun[-1].name)}" if begun else "failed"
    return "tests failed" if trip.tests is not None and trip.tests.outcome in {"failed", "broken"} else trip.outcome


# --- the problem ------------------------------------------------------------------------------------------------


def _problem_rows(problem: Problem, state: State, width: int, palette: Palette, keys: Mapping[str, str]) -> list[Row]:
    rows = _headline(problem, width, palette)
    where = problem.where
    if where is not None:
        rows.append(Row(_place(where, palette)))
        rows += _code(where, state.project, width, palette)
    rows += _hint(problem, width, palette)
    if state.shows_library:
        rows += [Row(_frame(frame, width, palette), _CALLERS) for frame in problem.frames if frame is not where]
    rows += _callers(problem, where, width, palette, keys["library"], is_told=state.shows_library)
    return rows


def _headline(problem: Problem, width: int, palette: Palette) -> list[Row]:
    first, *rest = problem.message.strip().splitlines() or [""]
    head = line((problem.type, f"bold {palette.bad}"), (f": {first}" if first else "", f"bold {palette.strong}"))
    told = wrapped(head, width)
    for each in rest:
        told += wrapped(line((each, palette.text)), width)
    if len(told) > MAX_MESSAGE_LINES:
        more = words.count(len(told) - MAX_MESSAGE_LINES + 1, "more line")
        told = [*told[: MAX_MESSAGE_LINES - 1], line((f"… {more} (y copies all)", palette.muted))]
    return [Row(text, _MORE_MESSAGE if index else 0) for index, text in enumerate(told)]


def _place(frame: Frame, palette: Palette) -> Text:
    return line((f"{frame.file}:{frame.line}", f"underline {palette.code}"), (f"  in {frame.function}", palette.muted))


def _code(frame: Frame, project: str, width: int, palette: Palette) -> list[Row]:
    numbered = source.around(project, frame, LINES_ABOVE, LINES_BELOW)
    gutter = max((len(str(each.number)) for each in numbered), default=1) + 2
    room = max(width - gutter - 6, 4)
    begin, end = _marked(frame)
    shift = max(min(end + 1 - room, begin - 4), 0)  # so much that the marked part is seen
    rows: list[Row] = []
    for each in numbered:
        is_hit = each.number == frame.line
        rank = 0 if is_hit else _CODE if abs(each.number - frame.line) == 1 else _FAR_CODE
        rows.append(Row(_code_line(each, gutter, shift, width, palette, is_hit=is_hit), rank))
        if is_hit and end > begin:
            caret = " " * (begin - shift) + "^" * (end - begin)
            ruled = line(" " * (gutter + 3), ("│ ", palette.muted), (caret, palette.bad))
            rows.append(Row(fitted(ruled, width), _CARET))
    return rows


def _code_line(each: Numbered, gutter: int, shift: int, width: int, palette: Palette, *, is_hit: bool) -> Text:
    text = clean(each.text.expandtabs(TAB_CELLS))
    code = line((text, f"bold {palette.strong}" if is_hit else palette.muted))
    if shift:
        lead = "…" if text[: shift + 1].strip() else " "
        code = line((lead, palette.muted), _without(code, shift + 1))
    number = (f"{each.number:>{gutter}} ", palette.text if is_hit else palette.muted)
    made = line(("▸ " if is_hit else "  ", palette.bad), number, ("│ ", palette.muted), code)
    if is_hit:
        made = padded(made, width)
        made.stylize_before(background(palette.strip))
    return made


def _without(text: Text, cells: int) -> Text:
    """Leave out the first cells."""
    used = 0
    for index, char in enumerate(text.plain):
        if used >= cells:
            return text[index:]
        used += cell_len(char)
    return line()


def _marked(frame: Frame) -> tuple[int, int]:
    """Give the cells that the carets stand under; none if the columns are not known."""
    text = frame.source.rstrip()
    if not 0 <= frame.column < len(text):
        return 0, 0
    stop = min(frame.end_column if frame.end_column > frame.column else frame.column + 1, len(text))
    begin = cell_len(clean(text[: frame.column].expandtabs(TAB_CELLS)))
    return begin, max(cell_len(clean(text[:stop].expandtabs(TAB_CELLS))), begin + 1)


def _hint(problem: Problem, width: int, palette: Palette) -> list[Row]:
    if not problem.hint:
        return []
    said = line(("hint ", f"bold {palette.good}"), (problem.hint, palette.text))
    return [Row(text, _HINT_REST if index else _HINT) for index, text in enumerate(wrapped(said, width)[:4])]


def _frame(frame: Frame, width: int, palette: Palette) -> Text:
    style = palette.text if frame.is_project else palette.muted
    place = line(("  ", style), (f"{frame.file}:{frame.line}", style), (f"  {frame.function}", palette.muted))
    return fitted(line(place, (f"  {frame.source.strip()}", palette.muted)), width)


def _callers(
    problem: Problem, where: Frame | None, width: int, palette: Palette, key: str, *, is_told: bool
) -> list[Row]:
    """Say who called the line, and how many frames of libraries are not shown."""
    own = [frame for frame in problem.frames if frame.is_project and frame is not where]
    below = [frame for frame in problem.frames if not frame.is_project]
    hidden = problem.hidden_frames + (0 if is_told else len(below))
    said: list[Text] = []
    if own and not is_told:
        more = f" and {len(own) - 1} more" if len(own) > 1 else ""
        said.append(line((f"called from {own[-1].file}:{own[-1].line} {own[-1].function}{more}", palette.muted)))
    if hidden:
        what = line((f"{words.count(hidden, 'library frame')} hidden", palette.muted))
        said.append(line(what, *([] if is_told else _key(key, " show", palette))))
    elif is_told:
        said.append(line(("all frames shown", palette.muted), *_key(key, " less", palette)))
    return [Row(fitting(said, width, gap=" · "), _CALLERS)] if said else []


def _key(key: str, does: str, palette: Palette) -> list[tuple[str, str]]:
    return [(" (", palette.muted), (key, f"bold {palette.code}"), (f"{does})", palette.muted)]


def _actions(width: int, palette: Palette, keys: Mapping[str, str]) -> Text:
    caps = [
        line((f" {keys[name]} ", f"bold reverse {palette.muted}"), (f" {does}", palette.muted))
        for name, does in ACTIONS
    ]
    return fitting(caps, width, gap="   ")


# --- tests ------------------------------------------------------------------------------------------------------


def _test_rows(tests: TestsFinished, width: int, palette: Palette, *, is_alone: bool) -> list[Row]:
    rank = 0 if is_alone else _MORE_MESSAGE
    rows = [Row(_tests_line(tests, palette), rank)]
    for index, test in enumerate(tests.failed[:MAX_TESTS]):
        rows += _failed_test(test, width, palette, rank if index == 0 else _MORE_MESSAGE)
    rest = (tests.num_failed or len(tests.failed)) - MAX_TESTS
    if rest > 0:
        rows.append(Row(line((f"  and {rest} more", palette.muted)), _MORE_MESSAGE))
    return rows


def _tests_line(tests: TestsFinished, palette: Palette) -> Text:
    if tests.outcome == "broken":
        said = f"the tests could not run: {tests.command}"
        code = f"  exit {tests.exit_code}" if tests.exit_code is not None else ""
        return line((said, f"bold {palette.bad}"), (code, palette.muted))
    count = tests.num_failed or len(tests.failed)
    passed = f", {tests.num_passed} passed" if tests.num_passed is not None else ""
    return line(
        (words.count(count, "test") + " failed" if count else "tests failed", f"bold {palette.bad}"),
        (f"{passed}  {words.duration(tests.took_s)}", palette.muted),
    )


def _failed_test(test: FailedTest, width: int, palette: Palette, rank: int) -> list[Row]:
    place = f"  {test.file}:{test.line}" if test.file and test.line else ""
    head = line(("✗ ", palette.bad), (test.name, palette.text), (place, f"underline {palette.code}" if place else ""))
    if not (test.error_type or test.message):
        return [Row(fitted(head, width), rank)]
    said = line("  ", (test.error_type, palette.bad), (": " if test.error_type and test.message else "", palette.muted))
    said.append_text(line((test.message, palette.muted)))
    return [Row(fitted(head, width), rank), Row(fitted(said, width), max(rank, _MORE_MESSAGE))]


def traceback_text(problem: Problem) -> str:
    """Write a problem as plain text to copy, as Python does: outermost frame first."""
    lines: list[str] = ["Traceback (most recent call last):"] if problem.frames else []
    for frame in problem.frames:
        lines.append(f'  File "{frame.file}", line {frame.line}, in {frame.function}')
        lines += [f"    {frame.source.strip()}"] if frame.source.strip() else []
    lines.append(f"{problem.type}: {problem.message}" if problem.message else problem.type)
    return "\n".join(lines)
