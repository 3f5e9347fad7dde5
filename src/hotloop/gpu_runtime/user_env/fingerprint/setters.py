# pyright: basic
# (it looks at frames, and calls functions of packages)
"""Calls by which a loader sets packages up (``transformers.logging.set_verbosity_error()``): made again where its model is kept.

Such a call is one of a module's function by the project's own code; it is named as setters are, and returns nothing. What
it was given must be plain, or a package's: the project's own objects are for `record` to see.
"""

from __future__ import annotations

import base64
import dis
import enum
import importlib
import inspect
import pathlib
import pickle
from collections.abc import Callable, Iterable
from types import BuiltinFunctionType, CodeType, FrameType, FunctionType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hotloop.gpu_runtime.user_env.source import Project

_NAMES = ("set", "enable_", "disable_", "register_", "add_", "configure")
_MAX_WRAPPERS = 3  # frames of decorators between the project and the function
_PLAIN = (bool, int, float, complex, str, bytes, type(None), enum.Enum, pathlib.PurePath)


def may_set_up(code: CodeType) -> bool:
    """Whether a function is named as one that sets something up."""
    return code.co_name.startswith(_NAMES)


def call_of(frame: FrameType, project: Project, is_of_project: Callable[[CodeType], bool]) -> bytes:
    """A call that begins, as data; empty if it is not one of those that are made again."""
    try:
        return _call_of(frame, project, is_of_project)
    except Exception:  # noqa: BLE001  pickling its arguments runs any code, and the loader must not see what that raises
        return b""


def _call_of(frame: FrameType, project: Project, is_of_project: Callable[[CodeType], bool]) -> bytes:
    code = frame.f_code
    public = frame.f_globals.get(code.co_name)
    function = inspect.unwrap(public) if isinstance(public, FunctionType) else None
    if not isinstance(function, FunctionType) or function.__code__ is not code or code.co_posonlyargcount:
        return b""
    caller = frame.f_back
    for _ in range(0 if public is function else _MAX_WRAPPERS):
        if caller is None or is_of_project(caller.f_code):
            break
        caller = caller.f_back
    if caller is None or not is_of_project(caller.f_code):
        return b""
    positional, named = _arguments(frame, function)
    if not _can_be_passed_again([positional, named], project):
        return b""
    return pickle.dumps((frame.f_globals["__name__"], code.co_name, positional, named))


def has_returned(frame: FrameType) -> bool:
    """Whether a frame that ends does so by returning: a profile function is told the same of one that raises."""
    return dis.opname[frame.f_code.co_code[frame.f_lasti]] in {"RETURN_VALUE", "RETURN_CONST"}


def _arguments(frame: FrameType, function: FunctionType) -> tuple[list[Any], dict[str, Any]]:
    """What is passed on by position and by name: not what is the default anyway, which may be no value to pass."""
    code, values = frame.f_code, frame.f_locals
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    parameters = inspect.signature(function, follow_wrapped=False).parameters
    following = iter(code.co_varnames[len(names) :])
    more = list(values[next(following)]) if code.co_flags & inspect.CO_VARARGS else []
    named = dict(values[next(following)]) if code.co_flags & inspect.CO_VARKEYWORDS else {}
    if more:  # then all before it go by position
        first = names[: code.co_argcount]
        return [values[name] for name in first] + more, {n: values[n] for n in names[code.co_argcount :]} | named
    return [], {name: values[name] for name in names if values[name] is not parameters[name].default} | named


def _can_be_passed_again(value: Any, project: Project) -> bool:
    if isinstance(value, _PLAIN) or (type(value).__module__ == "torch" and type(value).__name__ in {"dtype", "device"}):
        return not isinstance(value, enum.Enum) or not project.owns_module(type(value).__module__)
    if type(value) is dict:
        return all(_can_be_passed_again(each, project) for pair in value.items() for each in pair)
    if type(value) in {list, tuple, set, frozenset}:
        return all(_can_be_passed_again(each, project) for each in value)
    if isinstance(value, (type, FunctionType, BuiltinFunctionType)):
        return not project.owns_module(value.__module__) and "<" not in value.__qualname__
    return False


def as_text(calls: Iterable[bytes]) -> list[str]:
    """Calls as JSON holds them; one that was made twice in a row, once."""
    found: list[str] = []
    for call in calls:
        text = base64.b64encode(call).decode()
        if found[-1:] != [text]:
            found.append(text)
    return found


def call_again(calls: Iterable[str]) -> list[str]:
    """Make calls again; returns a sentence about each that fails."""
    failed: list[str] = []
    for call in calls:
        module, name, positional, named = "", "", (), {}
        try:
            module, name, positional, named = pickle.loads(base64.b64decode(call))
            getattr(importlib.import_module(module), name)(*positional, **named)
        except Exception as error:  # noqa: BLE001  any function may raise anything
            failed.append(f"{module}.{name}(), which its loader called, failed when called again: {error!r}")
    return failed
