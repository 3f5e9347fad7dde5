# pyright: basic
# (it reads the project's namespaces)
"""Whether a decorator of the project's gives back a function that it made, and does nothing else, as one that times calls.

What is decorated by it has no effect when it is imported: an edit of the wrapper, or of what that names, loads no model but
those whose loaders call it. Told by the decorator's own instructions, not those of the wrapper, which are for later; what
is not told for sure is taken for an effect.
"""

from __future__ import annotations

import builtins
import dis
import functools
import types
from typing import TYPE_CHECKING, Any

from hotloop.gpu_runtime.user_env.fingerprint.uses import Step, steps_of
from hotloop.gpu_runtime.user_env.vault.code import is_of_project

if TYPE_CHECKING:
    from hotloop.gpu_runtime.user_env.source import Project

# What a decorator may call: it runs nothing of what it is given, and tells nobody of it.
_HARMLESS = frozenset({
    *(f"builtins.{name}" for name in ("callable", "getattr", "isinstance", "len", "print", "repr", "str")),
    *(f"functools.{name}" for name in ("cache", "lru_cache", "partial", "wraps")),
    *(f"contextlib.{name}" for name in ("asynccontextmanager", "contextmanager")),
    *(f"inspect.{name}" for name in ("isasyncgenfunction", "iscoroutinefunction", "isgeneratorfunction", "signature")),
    "asyncio.coroutines.iscoroutinefunction",
    "logging.getLogger",
})  # fmt: skip
_MODULES = frozenset({"asyncio", "contextlib", "functools", "inspect", "logging"})
_PLAIN = frozenset({str, bytes, int, float, bool, types.NoneType})
_RETURNS = ("RETURN_VALUE", "RETURN_CONST")
_ENDS = ("STORE_FAST", "STORE_DEREF", "POP_TOP", *_RETURNS)
_JUMP = "POP_JUMP"
_VALUES = (
    "LOAD_FAST",
    "LOAD_DEREF",
    "LOAD_CLOSURE",
    "LOAD_CONST",
    "LOAD_SMALL_INT",
    "LOAD_GLOBAL",
    "LOAD_ATTR",
    "LOAD_METHOD",
)
_MAKES = (
    "MAKE_",
    "SET_FUNCTION_ATTRIBUTE",
    "BUILD_TUPLE",
    "BUILD_MAP",
    "BUILD_CONST_KEY_MAP",
    "BUILD_STRING",
)
_TELLS = ("IS_OP", "TO_BOOL", "FORMAT_", "CONVERT_VALUE", "KW_NAMES", "NOT_TAKEN", "COPY", "SWAP", "UNARY_NOT")
_CALLS = ("CALL", "CALL_KW")

Callee = tuple[str, str]  # a global, and the attribute of it that is called; empty if it is itself


def only_wraps(decorator: object, project: Project, *, is_called: bool) -> bool:
    """Whether it gives a wrapper back and does nothing else.

    Args:
        decorator: What stands after the ``@``.
        project: Whose function it must be.
        is_called: There are arguments after it: what it returns then decorates.
    """
    if not isinstance(decorator, types.FunctionType) or not is_of_project(decorator.__code__, project):
        return False
    codes = [decorator.__code__]
    if is_called:
        if decorator.__closure__ or not all(map(_is_plain, _defaults(decorator))):
            return False  # that may be what it gives back
        codes += [each for each in decorator.__code__.co_consts if isinstance(each, types.CodeType)]
    namespace = {**vars(builtins), **decorator.__globals__}
    return all(_is_quiet(code, decorator, namespace) for code in codes)


def _is_quiet(code: types.CodeType, decorator: types.FunctionType, namespace: dict[str, Any]) -> bool:
    done = _done(code)
    if done is None:
        return False
    called, named = done
    values = [namespace.get(name) for name in named]
    return all(_is_harmless(callee, namespace) for callee in called) and all(
        value is decorator or _is_plain(value) or _full_name(value) in _HARMLESS | _MODULES for value in values
    )


def _defaults(function: types.FunctionType) -> list[Any]:
    return [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]


def _is_plain(value: Any) -> bool:
    """Whether it does nothing when it is called with a function: no callable, or a type, as annotations name."""
    is_type = isinstance(value, type) and value.__module__ == "builtins"
    return is_type or type(value) in _PLAIN or type(value).__module__ == "typing"


def _full_name(value: Any) -> str:
    if isinstance(value, types.ModuleType):
        return value.__name__
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}"


def _is_harmless(callee: Callee, namespace: dict[str, Any]) -> bool:
    name, attribute = callee
    value = namespace.get(name)
    if attribute:
        value = vars(value).get(attribute) if isinstance(value, types.ModuleType) else None
    return _full_name(value) in _HARMLESS


@functools.lru_cache(maxsize=1024)
def _done(code: types.CodeType) -> tuple[frozenset[Callee], frozenset[str]] | None:
    """What a function calls, without those in it, and the globals that it names.

    None if it does more than call globals, make functions and return.
    """
    if not _is_empty_at_jumps(code):
        return None
    found: set[Callee] = set()
    named: set[str] = set()
    statement: list[Step] = []
    for step in steps_of(dis.get_instructions(code)):
        name = step.opname
        if name in _ENDS or name.startswith(_JUMP):
            callee = _callee(statement)
            if callee is None:
                return None
            found |= callee
            statement = []
        elif name in _CALLS or name.startswith((*_VALUES, *_MAKES, *_TELLS)):
            statement.append(step)
            named |= {step.argval} if name == "LOAD_GLOBAL" else set()
        else:
            return None
    return frozenset(found), frozenset(named)


def _is_empty_at_jumps(code: types.CodeType) -> bool:
    """Whether nothing is on the stack where it jumps: else what is called stands before it, and its arguments after it."""
    depth = 0
    for each in dis.get_instructions(code):
        depth += dis.stack_effect(each.opcode, each.arg if each.opcode >= dis.HAVE_ARGUMENT else None, jump=False)
        if each.opname.startswith(_JUMP) and depth:
            return False
        if each.opname in _RETURNS:
            depth = 0
    return True


def _callee(statement: list[Step]) -> set[Callee] | None:
    """The one global that a statement calls, if any; it may then call what that gave with a function made there."""
    num_calls = sum(step.opname in _CALLS for step in statement)
    if not num_calls:
        return set()
    is_decorating = any(step.opname == "MAKE_FUNCTION" for step in statement)
    loads = [step for step in statement if step.opname.startswith("LOAD_")]
    if not loads or loads[0].opname != "LOAD_GLOBAL" or num_calls > 1 + is_decorating:
        return None
    is_of_module = len(loads) > 1 and loads[1].opname in {"LOAD_ATTR", "LOAD_METHOD"}
    return {(loads[0].argval, loads[1].argval if is_of_module else "")}
