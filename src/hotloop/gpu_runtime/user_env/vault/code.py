"""Say where a function's code stands in its module, find it there again, and tell whether it is still the same code.

Functions are stored by place, never by value: what runs after a reload is the code of the freshly imported module.
"""

from __future__ import annotations

import dis
import functools
import importlib
import sys
from collections.abc import Iterator
from hashlib import blake2b
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any, cast

from hotloop.frozen import frozen

if TYPE_CHECKING:
    from hotloop.gpu_runtime.user_env.source import Project

_CONST_OPS = tuple(sorted(dis.hasconst))
_EXTENDED_ARG = dis.EXTENDED_ARG
_OPTIMIZED = 0x1  # a function's body, not a module's or a class's
_HAS_DOCSTRING = 0x4000000  # 3.13+; before it the first constant is the docstring, or None


@frozen
class Place:
    """Where a code object stands: the nth of its qualified name in a module's source, and what it was.

    Attributes:
        is_only: No other code has that name, and it is a ``def`` of the module or a class: its place alone says what
            it is, whatever its body has become.
    """

    module: str
    name: str
    nth: int
    digest: str
    is_only: bool


def hashed(*parts: object) -> str:
    """Digest of values whose repr says all about them."""
    hasher = blake2b(digest_size=16)
    for part in parts:
        data = part if isinstance(part, bytes) else repr(part).encode("utf-8", "surrogatepass")
        hasher.update(len(data).to_bytes(8, "little"))
        hasher.update(data)
    return hasher.hexdigest()


@functools.lru_cache(maxsize=4096)
def code_digest(code: CodeType) -> str:
    """Digest of what a code object does; docstrings, comments, lines and file names do not count."""
    arguments, constants = _numbered_by_use(code)
    return hashed(
        code.co_code[0::2],
        arguments,
        [constant_text(each) for each in constants],
        code.co_names,
        code.co_varnames,
        code.co_freevars,
        code.co_cellvars,
        code.co_flags & ~_HAS_DOCSTRING,
        (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount),
        code.co_exceptiontable,
    )


def run_digest(code: CodeType) -> str:
    """Digest of what running a code object does. A module's or a class's own statements only define what is in them."""
    return code_digest(code) if code.co_flags & _OPTIMIZED else shallow_digest(code)


@functools.lru_cache(maxsize=4096)
def shallow_digest(code: CodeType) -> str:
    """Digest of a code object's own instructions: bodies of what it defines do not count, their names do."""
    arguments, constants = _numbered_by_use(code)
    shown = [each.co_qualname if isinstance(each, CodeType) else constant_text(each) for each in constants]
    return hashed(code.co_code[0::2], arguments, shown, code.co_names)


def _numbered_by_use(code: CodeType) -> tuple[bytes, list[object]]:
    # A docstring takes a slot among the constants; numbering them by use makes it vanish with its slot.
    operations, arguments = code.co_code[0::2], bytearray(code.co_code[1::2])
    numbers: dict[int, int] = {}
    for at in sorted(_positions(operations, _CONST_OPS)):
        if at and operations[at - 1] == _EXTENDED_ARG:
            return code.co_code[1::2], list(code.co_consts)  # more than 256 constants: docstrings count there
        arguments[at] = numbers.setdefault(arguments[at], len(numbers)) & 0xFF
    return bytes(arguments), [code.co_consts[number] for number in numbers]


def _positions(operations: bytes, wanted: tuple[int, ...]) -> Iterator[int]:
    for operation in wanted:
        at = operations.find(operation)
        while at >= 0:
            yield at
            at = operations.find(operation, at + 1)


def constant_text(value: Any) -> object:
    """What a constant is, the same in every process: a value whose repr says all about it."""
    if isinstance(value, CodeType):
        return code_digest(value)
    if isinstance(value, frozenset):
        return "frozenset", sorted(repr(constant_text(each)) for each in cast("frozenset[Any]", value))
    if isinstance(value, tuple):
        return "tuple", [constant_text(each) for each in cast("tuple[Any, ...]", value)]
    return type(value).__name__, repr(value)


def is_of_project(code: CodeType, project: Project) -> bool:
    """Whether code was compiled from a file of the project (``<frozen os>`` and ``<string>`` are no files)."""
    return code.co_filename[:1] == "/" and project.owns_file(code.co_filename)


def codes_within(code: CodeType) -> Iterator[CodeType]:
    """Every code object defined inside another, in the order of the source."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from codes_within(constant)


def codes_by_name(code: CodeType) -> dict[str, list[CodeType]]:
    """The code objects inside a module's, by qualified name; the module's own is ``<module>``."""
    found: dict[str, list[CodeType]] = {"<module>": [code]}
    for each in codes_within(code):
        found.setdefault(each.co_qualname, []).append(each)
    return found


def module_code(module: str, project: Project) -> CodeType | None:
    """The top-level code of a module: of the revision for the project's, of the installed file for others."""
    code = project.code_of(module)
    if code is not None:
        return code
    loader = getattr(getattr(sys.modules.get(module), "__spec__", None), "loader", None)
    get_code = getattr(loader, "get_code", None)
    try:
        return get_code(module) if get_code else None
    except (ImportError, OSError):
        return None


def place_of(function: FunctionType, project: Project) -> Place | None:
    """Where a function's code stands, None if it stands in no module's source (``exec``, a notebook)."""
    module, code = function.__globals__.get("__name__", ""), function.__code__
    top = module_code(module, project)
    if top is None:
        return None
    named = codes_by_name(top).get(code.co_qualname, [])
    nth = next((nth for nth, each in enumerate(named) if each is code or each == code), None)
    if nth is None:
        return None
    return Place(module, code.co_qualname, nth, code_digest(code), len(named) == 1 and "<" not in code.co_qualname)


def code_at(place: Place, project: Project) -> CodeType | None:
    """The same code in the module as it is now: at the same place, else the only one like it; None if it changed."""
    importlib.import_module(place.module)
    top = module_code(place.module, project)
    named = codes_by_name(top).get(place.name, []) if top else []
    if place.is_only and len(named) == 1:
        return named[0]
    if place.nth < len(named) and code_digest(named[place.nth]) == place.digest:
        return named[place.nth]
    return next((each for each in named if code_digest(each) == place.digest), None)


def name_in_module(value: Any) -> tuple[str, str] | None:
    """The module and name under which a function or class can be had, None if under none."""
    for module in dict.fromkeys((getattr(value, "__module__", None), _home(value))):
        namespace = getattr(sys.modules.get(module or ""), "__dict__", {})
        if module and (name := _name_in(namespace, value)):
            return module, name
    return None


def _home(value: Any) -> str | None:
    return getattr(value, "__globals__", {}).get("__name__")


def _name_in(namespace: dict[str, Any], value: Any) -> str:
    found: Any = None
    parts = getattr(value, "__qualname__", "").split(".")
    for depth, part in enumerate(parts):
        found = namespace.get(part) if depth == 0 else getattr(found, part, None)
    if found is value:
        return ".".join(parts)
    return next((name for name, each in list(namespace.items()) if each is value), "")
