# pyright: basic, reportMissingImports=false
# (it walks values of any type)
"""Find the value that keeps a model from being stored, and name the way to it as a user would write it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from hotloop.gpu_runtime.user_env.vault.packing import Packer, deep_recursion
from hotloop.gpu_runtime.user_env.vault.reducers import Refused

if TYPE_CHECKING:
    from hotloop.gpu_runtime.user_env.source import Project

_TRANSPARENT = frozenset({"_modules", "_parameters", "_buffers"})  # what torch looks attributes up in


def find(value: Any, project: Project, error: Exception) -> tuple[str, str, str]:
    """Descend to the innermost value that can't be stored by itself.

    Returns:
        The way to it, its type's name, and the reason.
    """
    path = ""
    seen = {id(value)}
    while getattr(error, "culprit", None) is not value and (step := _failing_part(value, project, seen)) is not None:
        name, value, error = step
        path += name
    return path, _type_name(value), _reason(error)


def _failing_part(value: Any, project: Project, seen: set[int]) -> tuple[str, Any, Exception] | None:
    for name, part in _parts(value):
        if id(part) in seen:
            continue
        seen.add(id(part))
        error = _failure(part, project)
        if error is not None:
            return name, part, error
    return None


def _failure(value: Any, project: Project) -> Exception | None:
    try:
        with deep_recursion():
            Packer(io.BytesIO(), project).dump(value)
    except Exception as error:  # noqa: BLE001 (any class in the graph may raise anything)
        return error
    return None


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from ((f"[{key!r}]", part) for key, part in list(value.items()))
        yield from (("<key>", key) for key in list(value))
    elif isinstance(value, list | tuple | set | frozenset):
        yield from ((f"[{number}]", part) for number, part in enumerate(value))
    for name, part in list((getattr(value, "__dict__", None) or {}).items()) if not isinstance(value, type) else ():
        if name in _TRANSPARENT and isinstance(part, dict):
            yield from ((f".{key}", each) for key, each in part.items())
        else:
            yield f".{name}", part
    yield from _hidden_parts(value)


def _hidden_parts(value: Any) -> Iterator[tuple[str, Any]]:
    for name in _slots(value):
        if hasattr(value, name):
            yield f".{name}", getattr(value, name)
    names = getattr(getattr(value, "__code__", None), "co_freevars", ())
    for name, cell in zip(names, getattr(value, "__closure__", None) or (), strict=False):
        if cell != type(cell)():
            yield f".<closure {name}>", cell.cell_contents
    for name in ("func", "args", "keywords", "__self__", "__func__"):
        if type(value).__module__ in {"functools", "builtins"} and not callable(getattr(type(value), name, None)):
            part = getattr(value, name, None)
            if part is not None:
                yield f".{name}", part


def _slots(value: Any) -> list[str]:
    names: list[str] = []
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        names += [slots] if isinstance(slots, str) else list(slots)
    return [name for name in names if name not in {"__dict__", "__weakref__"}]


def _type_name(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _reason(error: Exception) -> str:
    if isinstance(error, Refused):
        return str(error)
    text = str(error).strip().split("\n", 1)[0]
    return text or type(error).__name__
