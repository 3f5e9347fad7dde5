# pyright: basic
# The exceptions are the user's: any class, with any attributes.
"""Describe an exception of the user's as an `events.Problem`: their lines, their paths, what to type next."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from hotloop import events
from hotloop.gpu_runtime.user_env.app import AppError
from hotloop.gpu_runtime.user_env.made import is_made_by_hotloop
from hotloop.gpu_runtime.user_env.source import Project
from hotloop.gpu_runtime.user_env.tracebacks import frames_of

_MAX_CAUSES = 5
_MAX_MESSAGE = 4000
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
    frames, hidden = frames_of(shown, project)
    problem = events.Problem(
        type=_type_name(shown),
        message=_relative(_message(error, shown), project),
        frames=tuple(frames),
        hidden_frames=0 if isinstance(shown, SyntaxError) else hidden,  # those are the importer's
        hint=_relative(_hint(shown, project, tuple(packages)), project),
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
        return str(error)
    except Exception as inner:  # noqa: BLE001 - its __str__ is the user's code
        return f"<its __str__ raised {type(inner).__name__}>"


def _relative(text: str, project: Project) -> str:
    return text.replace(f"{project.root}/", "")


# --- what to type next ------------------------------------------------------------------------------------------


def _hint(error: BaseException, project: Project, packages: tuple[str, ...]) -> str:
    if isinstance(error, AppError):
        return error.hint
    if isinstance(error, ModuleNotFoundError) and error.name:
        return _own_module_hint(error.name, project) or _install_hint(error.name, packages)
    return _gpu_hint(_text_of(error)) if isinstance(error, RuntimeError) else ""


def _gpu_hint(text: str) -> str:
    if "CUDA error" not in text:
        return ""
    if "illegal memory access" in text:
        return "if the app changes a model's weights in place, declare it with @app.model(mutable=True): they are shared otherwise"
    return "the line may be a later one than the cause's: CUDA_LAUNCH_BLOCKING=1 dev serve names the operation"


def _own_module_hint(module: str, project: Project) -> str:
    """Name the project's own module that was probably meant: to install a misspelt name is dangerous advice."""
    top = module.partition(".")[0]
    own = {path.split("/")[0].removesuffix(".py") for path in project.manifest}
    close = difflib.get_close_matches(top, own - {top}, n=1, cutoff=0.8)
    return f"did you mean {close[0]!r}, which is in the project?" if close else ""


def _install_hint(module: str, packages: tuple[str, ...]) -> str:
    top = module.partition(".")[0]
    if top in sys.modules:
        return f"{top} is there, but has no {module.removeprefix(top + '.')!r}: its version or the name is another"
    if top in sys.stdlib_module_names:
        return f"{top} belongs to Python, but not to this one ({sys.executable})"
    requirement = _requirement_for(top, packages)
    if is_made_by_hotloop():
        return (
            f"add {requirement} to what the app asks for: its lock, requirements.txt, pyproject.toml or packages=[...]"
        )
    return f"{sys.executable} -m pip install {requirement}"


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
