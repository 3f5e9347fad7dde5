# pyright: basic
# The frames are the user's.
"""Describe the local variables of the user's frames when something failed, and hand the descriptions to the runtime.

It keeps them, not this process: they outlive a worker that failed to start, and nothing here holds on to what they
describe. Nothing is done before something fails.
"""

from __future__ import annotations

import inspect
import os
import re
import time
import types
from collections.abc import Callable
from typing import Any

from hotloop.events.codec import JsonObject, to_json
from hotloop.events.records import Frame
from hotloop.gpu_runtime.user_env.client.failure import ClientError
from hotloop.gpu_runtime.user_env.describing import HIDDEN_NAME, HIDDEN_VALUE, bases, describe
from hotloop.gpu_runtime.user_env.problem import shown, under, where_of
from hotloop.gpu_runtime.user_env.redaction import of_name
from hotloop.gpu_runtime.user_env.source import Project
from hotloop.gpu_runtime.user_env.tracebacks import own_steps
from hotloop.variables import KeptFailure, Of, Variable, VariableFrame

MAX_FRAMES = 12
MAX_NAMES = 24
MAX_NAME_CHARACTERS = 80
CALL_PAUSE_S = 0.1  # calls may fail by the thousand, and only the newest few are kept
_NAME = re.compile(r"[^\W\d]\w*")
_NO_NEWS = (types.ModuleType, types.FunctionType, types.BuiltinFunctionType, type)


class Variables:
    """Describes failures to the runtime.

    Args:
        project: The revision that runs.
        tell: Sends a frame to the runtime, from any thread.
    """

    def __init__(self, project: Project, tell: Callable[[dict[str, Any]], object]) -> None:
        self._project = project
        self._tell = tell
        self._next_call_s = 0.0
        self._last_call: JsonObject = {}

    def keep(self, error: BaseException, problem: JsonObject, of: Of, name: str = "") -> JsonObject:
        """Have the local variables of a failure kept, if lines of the user's were involved.

        Args:
            error: What was raised.
            problem: What is told of it.
            of: What failed.
            name: What that is called.

        Returns:
            The problem, which names the failure if there is something to ask for. That of a probe is that of the call
            which failed under it: there are the lines and the variables that matter.
        """
        cause, call = shown(error), self._last_call
        if isinstance(cause, ClientError) and call and (cause.type, cause.where) == (call["type"], where_of(call)):
            return under(call, problem)
        frames, num_more = frames_of(cause, self._project)
        if not any(frame.variables for frame in frames):
            return problem
        failure = KeptFailure(
            os.urandom(6).hex(), of, problem["type"], where_of(problem), name, frames=frames, num_more=num_more
        )
        self._tell({"kind": "locals", "failure": to_json(failure)})
        return {**problem, "failure": failure.id}

    def keep_call(self, error: BaseException, problem: JsonObject) -> None:
        """Have those of a call kept, unless another one failed just now."""
        now_s = time.monotonic()
        self._last_call = {}
        if now_s >= self._next_call_s:
            self._next_call_s = now_s + CALL_PAUSE_S
            self._last_call = self.keep(error, problem, "call")


def frames_of(error: BaseException, project: Project) -> tuple[tuple[VariableFrame, ...], int]:
    """Describe the project's frames under an exception, innermost first, and say how many were left out."""
    steps, num_more = own_steps(error, project, MAX_FRAMES)
    return tuple(_described(frame, place) for frame, place in reversed(steps)), num_more


def _described(frame: types.FrameType, place: Frame) -> VariableFrame:
    found = _named(frame)
    order = [*(name for name in _NAME.findall(place.source) if name in found), *found]
    names = list(dict.fromkeys(order))
    variables = tuple(_variable(name, found[name]) for name in names[:MAX_NAMES])
    num_more = len(names) - len(variables)
    return VariableFrame(place.file, place.line, place.function, place.source.strip(), variables, num_more)


def _named(frame: types.FrameType) -> dict[str, Any]:
    found = frame.f_locals
    if type(found) is not dict and not frame.f_code.co_flags & inspect.CO_OPTIMIZED:
        return {}  # a class's body may have a namespace of the user's own
    is_module = found is frame.f_globals
    return {
        name: value
        for name, value in list(found.items())
        if type(name) is str and name.isidentifier() and not name.startswith("__")
        if not (is_module and _is_of_any_module(value))
    }


def _is_of_any_module(value: Any) -> bool:
    """Whether a global is what every module has: modules, functions, classes."""
    return any(base is each for base in bases(value) for each in _NO_NEWS)


def _variable(name: str, value: Any) -> Variable:
    text = describe(value, of_name(name))
    return Variable(name[:MAX_NAME_CHARACTERS], text, is_hidden=text in {HIDDEN_NAME, HIDDEN_VALUE})
