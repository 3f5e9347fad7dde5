"""A problem in the user's app as lines: what, where in the user's own paths, the code, a caret, a hint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.text import Text

from hotloop.devloop.words import count

if TYPE_CHECKING:
    from pathlib import Path

    from hotloop.events import Frame, Problem

CONTEXT_LINES = 3
MAX_CALLERS = 3
MAX_MESSAGE_LINES = 8
_OURS = "/hotloop/gpu_runtime/user_env/"  # where we raised for the user's code; says nothing to the user


def problem_lines(problem: Problem, project: Path) -> list[Text]:
    """Lay a problem out; the project's files are read for the lines above the wrong one, if they are still the same."""
    lines = _headline(problem)
    where = problem.where
    if where is not None:
        lines += _callers(problem, where)
        lines.append(Text.assemble("  ", (f"{where.file}:{where.line}", "bold"), (f" in {where.function}", "dim")))
        lines += _code(where, project)
    innermost = problem.frames[-1] if problem.frames else None
    if innermost is not None and not innermost.is_project and _OURS not in innermost.file:
        place = f"  raised in {innermost.file}:{innermost.line} in {innermost.function}"
        lines.append(Text(place, style="dim"))
    if problem.hidden_frames:
        hidden = count(problem.hidden_frames, "frame")
        lines.append(Text(f"  {hidden} of libraries not shown", style="dim"))
    if problem.hint:
        lines.append(hint_line(problem.hint))
    return lines


def hint_line(hint: str) -> Text:
    """What to type or change next."""
    return Text.assemble("  ", ("hint: ", "cyan"), hint)


def _headline(problem: Problem) -> list[Text]:
    first, *rest = problem.message.splitlines() or [""]
    head = Text.assemble(("✗ ", "bold red"), (problem.type, "bold red"), f": {first}" if first else "")
    more = [Text(f"  {line}") for line in rest[:MAX_MESSAGE_LINES]]
    if len(rest) > MAX_MESSAGE_LINES:
        more.append(Text(f"  … {len(rest) - MAX_MESSAGE_LINES} more lines", style="dim"))
    return [head, *more]


def _callers(problem: Problem, where: Frame) -> list[Text]:
    outer = [frame for frame in problem.frames if frame.is_project and frame is not where][-MAX_CALLERS:]
    return [Text(f"  from {frame.file}:{frame.line} in {frame.function}", style="dim") for frame in outer]


def _code(frame: Frame, project: Path) -> list[Text]:
    if not frame.source.strip():
        return []
    above = _lines_above(frame, project)
    width = len(str(frame.line))
    numbered = [
        Text(f"    {frame.line - len(above) + i:>{width}} │ {line}".rstrip(), style="dim")
        for i, line in enumerate(above)
    ]
    numbered.append(Text.assemble("    ", (f"{frame.line:>{width}}", "bold"), (" │ ", "dim"), frame.source.rstrip()))
    return [*numbered, *_caret(frame, width)]


def _caret(frame: Frame, width: int) -> list[Text]:
    source = frame.source.rstrip()
    if not 0 <= frame.column < max(len(source), 1):
        return []
    end = frame.end_column if frame.end_column > frame.column else frame.column + 1
    space = "".join("\t" if c == "\t" else " " * cell_len(c) for c in source[: frame.column])
    marks = "^" * max(cell_len(source[frame.column : min(end, len(source))]), 1)
    return [Text.assemble("    ", " " * width, (" │ ", "dim"), space, (marks, "bold red"))]


def _lines_above(frame: Frame, project: Path) -> list[str]:
    try:
        lines = (project / frame.file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    if frame.line > len(lines) or lines[frame.line - 1].strip() != frame.source.strip():
        return []  # edited since: other lines would mislead
    return lines[max(frame.line - 1 - CONTEXT_LINES, 0) : frame.line - 1]
