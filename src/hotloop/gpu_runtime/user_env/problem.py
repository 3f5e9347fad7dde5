# pyright: basic
# The exceptions are the user's: any class, with any attributes.
"""Describe an exception of the user's as a `events.Problem`: their lines, their paths, what to type next.

The text of a line comes from the revision that ran, never from the disk, where a newer one may lie already.
"""

from __future__ import annotations

import difflib
import itertools
import linecache
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import CodeType, TracebackType
from typing import Any

from hotloop import events
from hotloop.gpu_runtime.user_env.app import AppError
from hotloop.gpu_runtime.user_env.source import Project

_OURS = str(Path(__file__).resolve().parents[2]) + "/"
_MAX_CAUSES = 5
_MAX_MESSAGE = 4000
_MAX_FRAMES = 60
_REQUIREMENT = re.compile(r"[A-Za-z0-9._-]+")
# Import names that differ from the name to install, for what people use most on GPUs.
_INSTALL_NAMES = {
    "PIL": "pillow",
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python-headless",
    "dotenv": "python-dotenv",
    "faiss": "faiss-cpu",
    "google.protobuf": "protobuf",
    "llama_cpp": "llama-cpp-python",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}


def from_exception(error: BaseException, project: Project, packages: Iterable[str] = ()) -> events.JsonObject:
    """Describe an exception: JSON of `events.Problem`.

    Args:
        error: What was raised.
        project: The revision that ran.
        packages: The requirements that the app declares, to name the one that provides a missing module.
    """
    shown = _shown(error)
    frames, hidden = _kept([*_walk(shown.__traceback__, project), *_own_place(shown, project)])
    problem = events.Problem(
        type=_type_name(shown),
        message=_relative(_message(error, shown), project),
        frames=tuple(frames),
        hidden_frames=hidden,
        hint=_relative(_hint(shown, tuple(packages)), project),
    )
    return events.to_json(problem)


def where_of(problem: events.JsonObject) -> str:
    """Name the user's innermost line in a problem, as ``file:line``; empty if none of theirs was involved."""
    places = [f"{frame['file']}:{frame['line']}" for frame in problem["frames"] if frame["is_project"]]
    return places[-1] if places else ""


def as_text(problem: events.JsonObject) -> str:
    """Write a problem as lines for a log, like Python's traceback without the frames that are hidden."""
    lines = ["Traceback (most recent call last):"] if problem["frames"] else []
    for frame in problem["frames"]:
        lines.append(f'  File "{frame["file"]}", line {frame["line"]}, in {frame["function"]}')
        if frame["source"]:
            text = frame["source"]
            indent = len(text) - len(text.lstrip())
            lines.append(f"    {text.strip()}")
            if frame["column"] >= indent and frame["end_column"] > frame["column"]:
                lines.append(f"    {' ' * (frame['column'] - indent)}{'^' * (frame['end_column'] - frame['column'])}")
    lines.append(f"{problem['type']}: {problem['message']}" if problem["message"] else problem["type"])
    return "\n".join(lines)


# --- the exception ----------------------------------------------------------------------------------------------


def _shown(error: BaseException) -> BaseException:
    """A group of one exception is that exception, for people."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _type_name(error: BaseException) -> str:
    return type(error).__qualname__


def _message(error: BaseException, shown: BaseException) -> str:
    lines = [_text_of(shown)]
    if isinstance(shown, BaseExceptionGroup):
        lines += [f"- {_type_name(member)}: {_text_of(member)}" for member in _leaves(shown)]
    elif error is not shown:
        lines.append(f"(the only one in: {_text_of(error)})")
    lines += [f"caused by {_type_name(cause)}: {_text_of(cause)}" for cause in _causes(shown)]
    lines += [str(note) for note in getattr(shown, "__notes__", None) or ()]
    text = "\n".join(lines)
    return text if len(text) <= _MAX_MESSAGE else f"{text[:_MAX_MESSAGE]}..."


def _leaves(group: BaseExceptionGroup[Any]) -> Iterator[BaseException]:
    for member in group.exceptions:
        if isinstance(member, BaseExceptionGroup):
            yield from _leaves(member)
        else:
            yield member


def _causes(error: BaseException) -> list[BaseException]:
    """What it was raised ``from``, nearest first. A cycle ends it."""
    found: list[BaseException] = []
    cause = error.__cause__
    while cause is not None and cause is not error and cause not in found and len(found) < _MAX_CAUSES:
        found.append(cause)
        cause = cause.__cause__
    return found


def _text_of(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return str(error.msg)
    try:
        if isinstance(error, KeyError) and len(error.args) == 1:
            return f"{error.args[0]!r} is not a key"
        return str(error)
    except Exception as inner:  # noqa: BLE001 - its __str__ is the user's code
        return f"<its __str__ raised {type(inner).__name__}>"


def _relative(text: str, project: Project) -> str:
    return text.replace(f"{project.root}/", "")


# --- where ------------------------------------------------------------------------------------------------------


def _walk(traceback: TracebackType | None, project: Project) -> Iterator[events.Frame | None]:
    """Give each frame, outermost first; None for one that is never shown."""
    chain: list[TracebackType] = []
    while traceback is not None:
        chain.append(traceback)
        traceback = traceback.tb_next
    for step in chain:
        code = step.tb_frame.f_code
        if _is_machinery(code.co_filename):
            yield None
        else:
            yield _frame_of(step, code, project)


def _is_machinery(file: str) -> bool:
    return file.startswith((_OURS, "<frozen importlib")) or file in {"<frozen runpy>", "<frozen zipimport>"}


def _frame_of(step: TracebackType, code: CodeType, project: Project) -> events.Frame:
    line = step.tb_lineno or code.co_firstlineno
    text = _line(code.co_filename, line, project)
    column, end_column = _columns(step, code, text)
    return events.Frame(
        file=project.relative(code.co_filename),
        line=line,
        function=getattr(code, "co_qualname", code.co_name),
        source=text,
        column=column,
        end_column=end_column,
        is_project=project.owns_file(code.co_filename),
    )


def _columns(step: TracebackType, code: CodeType, text: str) -> tuple[int, int]:
    """Say which columns of the line the instruction covers, in characters."""
    position = next(itertools.islice(code.co_positions(), step.tb_lasti // 2, None), (None,) * 4)
    first, last, column, end_column = position
    if first is None or column is None or end_column is None or not text or first != step.tb_lineno:
        return -1, -1
    end = _characters(text, end_column) if last == first else len(text.rstrip())
    return _characters(text, column), end


def _characters(text: str, offset: int) -> int:
    """Turn an offset in UTF-8 bytes into one in characters."""
    return len(text.encode("utf-8", "replace")[:offset].decode("utf-8", "replace"))


def _line(file: str, number: int, project: Project) -> str:
    source = project.source_of(file)
    if source is None:
        return linecache.getline(file, number).rstrip("\r\n")
    lines = _decoded(source).splitlines()
    return lines[number - 1] if 0 < number <= len(lines) else ""


def _decoded(source: bytes) -> str:
    import importlib.util

    try:
        return importlib.util.decode_source(source)
    except (SyntaxError, UnicodeDecodeError):  # the encoding is what is wrong with it
        return source.decode("utf-8", "replace")


def _own_place(error: BaseException, project: Project) -> list[events.Frame]:
    """The place that the exception itself names, which no frame of the traceback is at."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return [_syntax_frame(error, project)]
    if isinstance(error, AppError) and error.file:
        text = _line(error.file, error.line, project)
        file, is_project = project.relative(error.file), project.owns_file(error.file)
        return [events.Frame(file, error.line, "<module>", text, is_project=is_project)]
    return []


def _syntax_frame(error: SyntaxError, project: Project) -> events.Frame:
    file, line = str(error.filename), error.lineno or 1
    text = _line(file, line, project) or (error.text or "").rstrip("\r\n")
    start = max((error.offset or 0) - 1, -1)  # counted in characters from 1; 0 if unknown
    end = (error.end_offset or 0) - 1 if error.end_lineno in {None, line} else len(text)
    if start >= 0 and end <= start:
        end = start + 1
    return events.Frame(
        project.relative(file), line, "<module>", text, start, end if start >= 0 else -1, project.owns_file(file)
    )


def _kept(frames: list[events.Frame | None]) -> tuple[list[events.Frame], int]:
    """Keep the project's frames and what lies below the last of them; all that is not ours if there is none."""
    last = max((index for index, frame in enumerate(frames) if frame is not None and frame.is_project), default=-1)
    kept = [frame for index, frame in enumerate(frames) if frame is not None and (frame.is_project or index > last)]
    if len(kept) > _MAX_FRAMES:  # a recursion without end
        kept = kept[: _MAX_FRAMES // 2] + kept[-_MAX_FRAMES // 2 :]
    return kept, len(frames) - len(kept)


# --- what to type next ------------------------------------------------------------------------------------------


def _hint(error: BaseException, packages: tuple[str, ...]) -> str:
    if isinstance(error, AppError):
        return error.hint
    if isinstance(error, ModuleNotFoundError) and error.name:
        return _install_hint(error.name, packages)
    return ""


def _install_hint(module: str, packages: tuple[str, ...]) -> str:
    top = module.partition(".")[0]
    if top in sys.modules:
        return f"{top} is there, but has no {module.removeprefix(top + '.')!r}: its version or the name is another"
    if top in sys.stdlib_module_names:
        return f"{top} belongs to Python, but not to this one ({sys.executable})"
    return f"{sys.executable} -m pip install {_requirement_for(top, packages)}"


def _requirement_for(module: str, packages: tuple[str, ...]) -> str:
    """Choose the declared requirement that provides a module, else guess by the module's name."""
    wanted = _normal(_INSTALL_NAMES.get(module, module))
    for requirement in packages:
        name = _REQUIREMENT.match(requirement.strip())
        if name and _normal(name[0]) in {wanted, _normal(module)}:
            plain = name[0] == requirement.strip()
            return requirement.strip() if plain else f'"{requirement.strip()}"'
    names = {_normal(match[0]): match[0] for r in packages if (match := _REQUIREMENT.match(r.strip()))}
    close = difflib.get_close_matches(wanted, names, n=1, cutoff=0.8)
    return names[close[0]] if close else _INSTALL_NAMES.get(module, module)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
