# pyright: basic
# The exceptions are the user's: any class, with any attributes.
"""Turn a traceback into `events.Frame` records: which lines to show, with their text and the columns to mark.

The text of a line comes from the revision that ran, never from the disk, where a newer one may lie already.
"""

from __future__ import annotations

import itertools
import linecache
from pathlib import Path
from types import CodeType, FrameType, TracebackType

from hotloop.events.records import Frame
from hotloop.gpu_runtime.user_env.app import AppError
from hotloop.gpu_runtime.user_env.source import Project

_PACKAGE = Path(__file__).parents[2]
_OURS = (f"{_PACKAGE}/", f"{_PACKAGE.resolve()}/")  # the runner reaches it by a link
_MAX_FRAMES = 60
_IMPORTERS = ("<frozen importlib", "<frozen runpy", "<frozen zipimport")


def frames_of(error: BaseException, project: Project) -> tuple[list[Frame], int]:
    """Give the frames to show, outermost first, and how many more there were."""
    tracer = _Tracer(project)
    return _kept([*tracer.walk(error.__traceback__), *tracer.own_place(error)])


def own_steps(error: BaseException, project: Project, limit: int) -> tuple[list[tuple[FrameType, Frame]], int]:
    """Give the project's innermost frames, outermost first, each as Python has it and as it is shown; and how many more."""
    tracer, steps = _Tracer(project), []
    step = error.__traceback__
    while step is not None:
        if project.owns_file(step.tb_frame.f_code.co_filename):
            steps.append(step)
        step = step.tb_next
    return [(each.tb_frame, tracer.frame(each)) for each in steps[-limit:]], max(len(steps) - limit, 0)


class _Tracer:
    """Makes frames; reads each file's lines once, for a recursion has a thousand frames in one."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._lines: dict[str, list[str]] = {}

    def walk(self, traceback: TracebackType | None) -> list[Frame | None]:
        """Give each step's frame; None for one that is never shown: hotloop's own and the import system's."""
        found: list[Frame | None] = []
        while traceback is not None:
            code = traceback.tb_frame.f_code
            found.append(None if self._is_machinery(code.co_filename) else self.frame(traceback))
            traceback = traceback.tb_next
        return found

    def own_place(self, error: BaseException) -> list[Frame]:
        """Give the place that an exception itself names, and that no step of the traceback is at."""
        if isinstance(error, SyntaxError) and error.filename and error.lineno:
            return [self._syntax_frame(error, str(error.filename), error.lineno)]
        if isinstance(error, AppError) and error.file:
            return [self._make(error.file, error.line, "<module>")]
        return []

    def _is_machinery(self, file: str) -> bool:
        if file.startswith(_OURS):
            return not self._project.root.startswith(_OURS)  # a template, run where it is kept
        return file.startswith(_IMPORTERS)

    def frame(self, step: TracebackType) -> Frame:
        """Give the frame of one step."""
        code = step.tb_frame.f_code
        line = step.tb_lineno or code.co_firstlineno
        columns = _columns(step, code, self._line(code.co_filename, line))
        return self._make(code.co_filename, line, getattr(code, "co_qualname", code.co_name), columns)

    def _syntax_frame(self, error: SyntaxError, file: str, line: int) -> Frame:
        error = self._recompiled(error, file)
        text = self._line(file, line) or (error.text or "").rstrip("\r\n")
        start = (error.offset or 0) - 1  # counted in characters from 1; 0 if unknown
        if start < 0:
            return self._make(file, line, "<module>", text=text)
        end = (error.end_offset or 0) - 1 if error.end_lineno in {None, line} else len(text)
        return self._make(file, line, "<module>", (start, max(end, start + 1)), text)

    def _recompiled(self, error: SyntaxError, file: str) -> SyntaxError:
        """Get the error again from text: up to Python 3.12, its columns are counted in bytes when bytes are compiled."""
        source = self._project.source_of(file)
        if source is None or source.isascii():
            return error
        try:
            compile(_decoded(source), file, "exec", dont_inherit=True)
        except SyntaxError as again:
            return again if again.lineno == error.lineno else error
        except ValueError:  # a null byte
            return error
        return error

    def _make(
        self, file: str, line: int, function: str, columns: tuple[int, int] = (-1, -1), text: str | None = None
    ) -> Frame:
        source = self._line(file, line) if text is None else text
        is_project = not file.startswith("<") and self._project.owns_file(file)
        return Frame(self._project.relative(file), line, function, source, *columns, is_project=is_project)

    def _line(self, file: str, number: int) -> str:
        if file not in self._lines:
            source = self._project.source_of(file)
            # Python ends a line at no other character, whatever str.splitlines thinks of form feeds.
            lines = linecache.getlines(file) if source is None else _decoded(source).split("\n")
            self._lines[file] = [text.rstrip("\r\n") for text in lines]
        lines = self._lines[file]
        return lines[number - 1] if 0 < number <= len(lines) else ""


def _columns(step: TracebackType, code: CodeType, text: str) -> tuple[int, int]:
    """Say which columns of the line the instruction covers, in characters; -1 if unknown."""
    position = next(itertools.islice(code.co_positions(), step.tb_lasti // 2, None), (None,) * 4)
    first, last, column, end_column = position
    if first != step.tb_lineno or column is None or end_column is None or not text:
        return -1, -1
    end = _characters(text, end_column) if last == first else len(text.rstrip())
    return _characters(text, column), end


def _characters(text: str, offset: int) -> int:
    """Turn an offset in UTF-8 bytes into one in characters."""
    return len(text.encode("utf-8", "replace")[:offset].decode("utf-8", "replace"))


def _decoded(source: bytes) -> str:
    import importlib.util

    try:
        return importlib.util.decode_source(source)
    except (SyntaxError, UnicodeDecodeError):  # the encoding is what is wrong with it
        return source.decode("utf-8", "replace").replace("\r\n", "\n")


def _kept(frames: list[Frame | None]) -> tuple[list[Frame], int]:
    """Keep the project's frames and what lies below the last of them; all that is not ours if there is none."""
    last = max((index for index, frame in enumerate(frames) if frame is not None and frame.is_project), default=-1)
    kept = [frame for index, frame in enumerate(frames) if frame is not None and (frame.is_project or index > last)]
    if len(kept) > _MAX_FRAMES:  # a recursion without end
        kept = kept[: _MAX_FRAMES // 2] + kept[-_MAX_FRAMES // 2 :]
    return kept, len(frames) - len(kept)
