# pyright: basic
# (it takes code objects apart)
"""A code object in pieces: up to where nothing is left on the stack, which is mostly one statement.

Its instructions are given with names and constants, so that they are the same whatever else is in the file.
"""

from __future__ import annotations

import dis
import functools
import inspect
import sys
import types
from collections.abc import Iterator
from typing import Any

from hotloop.frozen import frozen
from hotloop.gpu_runtime.user_env.fingerprint.reached import ENDS_EFFECT, SILENT, Statement
from hotloop.gpu_runtime.user_env.vault.code import constant_text

DEFINE_NAMES = ("MAKE_FUNCTION", "LOAD_BUILD_CLASS")
CALL_NAMES = ("CALL", "CALL_FUNCTION_EX", "CALL_KW")
_ENDS_PLAIN = ("STORE_NAME", "STORE_GLOBAL", "DELETE_NAME", "RETURN_VALUE", "RETURN_CONST", "IMPORT_NAME")


def _codes(*names: str) -> frozenset[int]:
    return frozenset(dis.opmap[name] for name in names if name in dis.opmap)


_PLAIN, _EFFECT, _SILENT = _codes(*_ENDS_PLAIN), _codes(*ENDS_EFFECT), _codes(*SILENT)
_ENDS = _PLAIN | _EFFECT
_DEFINES = _codes(*DEFINE_NAMES)
_CALLS = _codes(*CALL_NAMES)
COMPREHENSIONS = frozenset({"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"})
_STORE, _IMPORT = dis.opmap["STORE_NAME"], dis.opmap["IMPORT_NAME"]
_JUMPS_IF_FALSE = ("POP_JUMP_IF_FALSE", "POP_JUMP_FORWARD_IF_FALSE")
_CONSTANT, _NAME, _JUMP = frozenset(dis.hasconst), frozenset(dis.hasname), frozenset([*dis.hasjrel, *dis.hasjabs])
# The lowest bits of these arguments are no part of the name's number (the comments of `dis` in CPython's source say so).
_FLAG_BITS = {
    dis.opmap[name]: bits
    for name, bits in {"LOAD_GLOBAL": 1, "LOAD_ATTR": int(sys.version_info >= (3, 12)), "LOAD_SUPER_ATTR": 2}.items()
    if name in dis.opmap
}
_DISPLAYS = ("BUILD_LIST", "BUILD_MAP", "BUILD_CONST_KEY_MAP", "BUILD_SET", "LIST_EXTEND", "DICT_UPDATE", "SET_UPDATE")


@frozen
class Part:
    """A piece of a code object, up to where nothing is left on the stack: mostly one statement.

    Attributes:
        is_effect: It ends as an expression, or stores into something, that may change it.
        is_stored: It ends by assigning a name.
        is_definition: It makes a function or a class.
        imports: The module that it imports; empty for none.
        decorators: Of a definition, what makes its decorators.
        end: The position of its last instruction, in units of code.
        never_runs: It is for where the module is the program, or for a type checker: an app is imported.
    """

    statement: Statement
    is_effect: bool
    is_stored: bool
    is_definition: bool
    has_call: bool
    imports: str
    decorators: Statement
    end: int
    never_runs: bool


@functools.lru_cache(maxsize=1024)
def parts_of(code: types.CodeType) -> tuple[Part, ...]:
    """A module's or a class body's pieces, in the order in which they stand there."""
    units = code.co_code
    operations = units[0::2]
    idle = _never_run(code)
    found: list[Part] = []
    begin = 0
    for at, operation in enumerate(operations):
        if operation not in _ENDS:
            continue
        within = operations[begin:at]
        statement = _decoded(code, units, begin, at + 1)
        found.append(
            Part(
                statement,
                operation in _EFFECT,
                operation == _STORE,
                not _DEFINES.isdisjoint(within) and not _only_comprehends(code, statement),
                not _CALLS.isdisjoint(within),
                statement[-1][1] if operation == _IMPORT else "",
                _decorators(code, units, begin, at) if not _DEFINES.isdisjoint(within) else [],
                at,
                any(first < at < end for first, end in idle),
            )
        )
        begin = at + 1
    return tuple(found)


def _decorators(code: types.CodeType, units: bytes, begin: int, end: int) -> Statement:
    """What makes the decorators of a definition: all that comes before its defaults, annotations or bases."""
    operations = units[0::2]
    made = max(at for at in range(begin, end) if operations[at] in _DEFINES)
    if operations[made] == dis.opmap["LOAD_BUILD_CLASS"]:
        return _decoded(code, units, begin, made)
    num_decorators = sum(operations[at] in _CALLS for at in range(made, end))
    depth = extended = 0
    last = begin
    for at in range(begin, made):
        operation, argument = operations[at], units[2 * at + 1] | extended
        extended = argument << 8 if operation == dis.EXTENDED_ARG else 0
        depth += dis.stack_effect(operation, argument if operation >= dis.HAVE_ARGUMENT else None, jump=False)
        if depth == num_decorators:
            last = at + 1
    return _decoded(code, units, begin, last)


def _only_comprehends(code: types.CodeType, statement: Statement) -> bool:
    # Before Python 3.12 a comprehension is a function that is called at once; a generator expression is one always.
    names = [name for operation, name in statement if operation == "LOAD_CONST" and type(name) is str]
    return bool(names) and all(name.rpartition(".")[2] in COMPREHENSIONS for name in names)


def comprehended(code: types.CodeType, statement: Statement) -> Statement:
    """The names that comprehensions in a statement load."""
    names = {name for operation, name in statement if operation == "LOAD_CONST" and type(name) is str}
    inner = [each for each in code.co_consts if isinstance(each, types.CodeType) and each.co_qualname in names]
    return [("LOAD_NAME", name) for each in inner if each.co_name in COMPREHENSIONS for name in each.co_names]


def _never_run(code: types.CodeType) -> list[tuple[int, int]]:
    """Where what is under ``if __name__ == "__main__":`` or ``if TYPE_CHECKING:`` begins and ends, in units of code."""
    if {"__name__", "TYPE_CHECKING"}.isdisjoint(code.co_names):
        return []
    steps = [each for each in dis.get_instructions(code) if each.opname not in {*SILENT, "TO_BOOL", "NOT_TAKEN"}]
    return [
        (jump.offset // 2, jump.argval // 2)
        for number, jump in enumerate(steps)
        if jump.opname in _JUMPS_IF_FALSE and _is_never_true(steps[max(0, number - 3) : number])
        if not steps[number + 1].is_jump_target  # as it is where there is an `or`
    ]


def _is_never_true(test: list[dis.Instruction]) -> bool:
    if test[-1:] and test[-1].argval == "TYPE_CHECKING":
        return True
    is_compared = test[-1:] and test[-1].opname == "COMPARE_OP" and "==" in str(test[-1].argval)
    return bool(is_compared) and [each.argval for each in test[:2]] == ["__name__", "__main__"]


def class_bodies(code: types.CodeType) -> Iterator[types.CodeType]:
    """The bodies of the classes that a module defines, those inside others with them."""
    for each in code.co_consts:
        if isinstance(each, types.CodeType) and not each.co_flags & inspect.CO_OPTIMIZED:
            yield each
            yield from class_bodies(each)


def _decoded(code: types.CodeType, units: bytes, begin: int, end: int) -> Statement:
    """The instructions of a part of a code object, their arguments as names and constants."""
    found: Statement = []
    extended = 0
    for at in range(begin, end):
        operation, argument = units[2 * at], units[2 * at + 1] | extended
        extended = argument << 8 if operation == dis.EXTENDED_ARG else 0
        if operation not in _SILENT:
            found.append((dis.opname[operation], _shown(code, operation, argument)))
    return found


def _shown(code: types.CodeType, operation: int, argument: int) -> Any:
    if operation in _CONSTANT:
        value = code.co_consts[argument]
        return value.co_qualname if isinstance(value, types.CodeType) else constant_text(value)
    if operation in _NAME:
        return code.co_names[argument >> _FLAG_BITS.get(operation, 0)]
    return None if operation in _JUMP else argument


@functools.lru_cache(maxsize=256)
def displayed(code: types.CodeType) -> frozenset[str]:
    """The names that are assigned once, and that by writing a list, a dictionary or a set out."""
    parts = parts_of(code)
    assigned = [part.statement[-1][1] for part in parts if part.statement[-1][0] in {"STORE_NAME", "DELETE_NAME"}]
    find_labels: Any = dis.findlabels
    targets = set(find_labels(code.co_code))  # there `other or {}` goes on
    return frozenset(
        part.statement[-1][1]
        for part in parts
        if part.is_stored
        and len(part.statement) > 1
        and part.statement[-2][0] in _DISPLAYS
        and not any("JUMP" in operation for operation, _ in part.statement)
        and 2 * part.end not in targets
        and assigned.count(part.statement[-1][1]) == 1
    )
