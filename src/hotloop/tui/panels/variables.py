"""The local variables of a failure: the user's frames, innermost first, each with its line and what its names held. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len

from hotloop.devloop import words
from hotloop.devloop.inspecting import nothing, what_failed
from hotloop.tui.panels.iteration import title
from hotloop.tui.panels.lines import finished, fitted, line, padded, spread, wrapped

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.text import Text

    from hotloop.tui.palette import Palette
    from hotloop.variables import KeptFailure, Locals, Variable, VariableFrame

MAX_NAME_CELLS = 24


def draw(
    answer: Locals | None,
    width: int,
    height: int,
    palette: Palette,
    *,
    first: int = 0,
    keys: Mapping[str, str] | None = None,
) -> list[Text]:
    """Draw what fits, from a line on; the title stays, and says what is below.

    Args:
        answer: What was answered; None while nothing was.
        width: In cells.
        height: In lines.
        palette: The colours.
        first: The first line below the title that is shown.
        keys: What to press, by action.
    """
    if answer is None:
        return finished([title("Local variables", "", width, palette)], width, height, palette)
    lines = lines_of(answer, width, palette, keys or {})
    room = max(height - 2, 1)
    begin = min(max(first, 0), max(len(lines) - room, 0))
    below = len(lines) - begin - room
    head = _head(answer, f"{below} below · ↓" if below > 0 else "Esc back", width, palette)
    return finished([head, line(), *lines[begin : begin + room]], width, height, palette)


def lines_of(answer: Locals | None, width: int, palette: Palette, keys: Mapping[str, str]) -> list[Text]:
    """Give all of it but the title, however high."""
    return [*_lines(answer, width, palette), *_others(answer, width, palette, keys)] if answer is not None else []


def _head(answer: Locals, right: str, width: int, palette: Palette) -> Text:
    left = line(("Local variables", f"bold {palette.strong}"))
    if answer.failure is not None:
        where = f"  {answer.failure.where}" if answer.failure.where else ""
        left = line(left, (f"  {answer.failure.type}", f"bold {palette.bad}"), (where, palette.muted))
    return spread(left, line((right, palette.muted)), width)


def _lines(answer: Locals, width: int, palette: Palette) -> list[Text]:
    failure = answer.failure
    if failure is None:
        return wrapped(line((nothing(answer), palette.text)), width)
    lines = [fitted(_about(failure, palette), width)]
    for index, frame in enumerate(failure.frames):
        lines += [line(), *_frame(frame, width, palette, is_innermost=index == 0)]
    if failure.num_more:
        more = f"{words.count(failure.num_more, 'outer frame')} of yours left out"
        lines += [line(), line((more, palette.muted))]
    return lines


def _about(failure: KeptFailure, palette: Palette) -> Text:
    return line((f"{what_failed(failure)}, {words.duration(failure.age_s)} before they were asked for", palette.muted))


def _frame(frame: VariableFrame, width: int, palette: Palette, *, is_innermost: bool) -> list[Text]:
    place = line((f"{frame.file}:{frame.line}", f"underline {palette.code}"), (f"  in {frame.function}", palette.muted))
    mark = ("▸ " if is_innermost else "  ", palette.bad)
    lines = [fitted(place, width), fitted(line(mark, (frame.source, f"bold {palette.strong}")), width)]
    column = min(max((cell_len(each.name) for each in frame.variables), default=0), MAX_NAME_CELLS) + 4
    for each in frame.variables:
        lines += _variable(each, min(column, max(width // 2, 6)), width, palette)
    if frame.num_more:
        lines.append(line((f"  {words.count(frame.num_more, 'more name')}", palette.muted)))
    return lines if frame.variables else [*lines, line(("  no local variables", palette.muted))]


def _variable(each: Variable, column: int, width: int, palette: Palette) -> list[Text]:
    style = f"italic {palette.warning}" if each.is_hidden else palette.text
    name = padded(line((f"  {each.name}", palette.model)), column - 2)
    rest = wrapped(line((each.value, style)), width - column)
    return [line(padded(name if not index else line(), column), text) for index, text in enumerate(rest)]


def _others(answer: Locals, width: int, palette: Palette, keys: Mapping[str, str]) -> list[Text]:
    """List the failures that can be looked at, the newest first."""
    shown = answer.failure.id if answer.failure is not None else ""
    if not [each for each in answer.kept if each.id != shown]:
        return []
    lines = [
        line(),
        line(
            ("kept failures", f"bold {palette.text}"),
            (f"  {keys.get('older', '[')} older  {keys.get('newer', ']')} newer", palette.muted),
        ),
    ]
    for each in answer.kept:
        is_shown = each.id == shown
        lines.append(
            fitted(
                line(
                    ("▸ " if is_shown else "  ", palette.code),
                    (f"{words.duration(each.age_s):>8}  ", palette.muted),
                    (each.type, palette.strong if is_shown else palette.text),
                    (f"  {each.where}  {what_failed(each)}", palette.muted),
                ),
                width,
            )
        )
    return lines
