# pyright: basic
# The exceptions are the user's: any class, with any attributes.
"""Describe an exception of the user's as an `events.Problem`: their lines, their paths, what to type next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from hotloop.events.codec import JsonObject, to_json
from hotloop.events.records import Problem
from hotloop.gpu_runtime.user_env import advice
from hotloop.gpu_runtime.user_env.client.failure import ClientError
from hotloop.gpu_runtime.user_env.source import Project
from hotloop.gpu_runtime.user_env.tracebacks import frames_of

_MAX_CAUSES = 5
_MAX_MESSAGE = 4000


def from_exception(
    error: BaseException, project: Project, packages: Iterable[str] = (), holders: advice.Holders = ()
) -> JsonObject:
    """Describe an exception: JSON of `events.Problem`.

    Args:
        error: What was raised.
        project: The revision that ran.
        packages: The requirements that the app declares, to name the one that provides a missing module.
        holders: What is known to be in memory, with its bytes, to name the largest when there is no more.
    """
    cause = shown(error)
    frames, hidden = frames_of(cause, project)
    advices = (
        advice.hint_for(each, _text_of(each), project, tuple(packages), holders) for each in (cause, *_causes(cause))
    )
    problem = Problem(
        type=_type_name(cause),
        message=_relative(_message(error, cause), project),
        frames=tuple(frames),
        hidden_frames=0 if isinstance(cause, SyntaxError) else hidden,  # those are the importer's
        hint=_relative(next(filter(None, advices), ""), project),
    )
    return to_json(problem)


def where_of(problem: JsonObject) -> str:
    """Name the user's innermost line in a problem, as ``file:line``; empty if none of theirs was involved."""
    places = [f"{frame['file']}:{frame['line']}" for frame in problem["frames"] if frame["is_project"]]
    return places[-1] if places else ""


def under(problem: JsonObject, caller: JsonObject) -> JsonObject:
    """Describe a failed call as the failure of who called it: what was raised there, with the caller's lines around."""
    frames, hidden = [*caller["frames"], *problem["frames"]], caller["hidden_frames"] + problem["hidden_frames"]
    return {**problem, "frames": frames, "hidden_frames": hidden}


def as_text(problem: JsonObject) -> str:
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


def shown(error: BaseException) -> BaseException:
    """Give the exception that people are told of: a group of one is that one."""
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
        return str(error).removesuffix(f"\nhint: {error.hint}") if isinstance(error, ClientError) else str(error)
    except Exception as inner:  # noqa: BLE001 - its __str__ is the user's code
        return f"<its __str__ raised {type(inner).__name__}>"


def _relative(text: str, project: Project) -> str:
    return text.replace(f"{project.root}/", "")
