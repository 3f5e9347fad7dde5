# pyright: basic
# (it reads the project's namespaces)
"""What the project's modules do to others when they are imported: statements that patch, register, configure.

Nothing of a loader need name what such a statement changed deep inside a package, so the statements themselves count,
with the project's functions that they call. Definitions, imports and plain assignments have no such effect.
"""

from __future__ import annotations

import dis
import sys
import types
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from hotloop.gpu_runtime.user_env.vault.code import code_digest, constant_text, hashed, is_of_project

if TYPE_CHECKING:
    from hotloop.gpu_runtime.user_env.source import Project

_ENDS_PLAIN = ("STORE_NAME", "STORE_GLOBAL", "DELETE_NAME", "RETURN_VALUE", "RETURN_CONST", "IMPORT_NAME")
_ENDS_EFFECT = ("POP_TOP", "STORE_ATTR", "STORE_SUBSCR", "DELETE_ATTR", "DELETE_SUBSCR")
_SILENT_NAMES = ("RESUME", "NOP", "CACHE", "PRECALL", "PUSH_NULL", "EXTENDED_ARG", "COPY", "SWAP")
_MAX_FUNCTIONS = 200


def _codes(*names: str) -> frozenset[int]:
    return frozenset(dis.opmap[name] for name in names if name in dis.opmap)


_PLAIN, _EFFECT, _SILENT = _codes(*_ENDS_PLAIN), _codes(*_ENDS_EFFECT), _codes(*_SILENT_NAMES)
_ENDS = _PLAIN | _EFFECT
_DEFINES = _codes("MAKE_FUNCTION", "LOAD_BUILD_CLASS")
_STORE, _LOAD = dis.opmap["STORE_NAME"], dis.opmap["LOAD_NAME"]
_CONSTANT, _NAME, _JUMP = frozenset(dis.hasconst), frozenset(dis.hasname), frozenset([*dis.hasjrel, *dis.hasjabs])
# The lowest bits of these arguments are no part of the name's number (the comments of `dis` in CPython's source say so).
_FLAG_BITS = {
    dis.opmap[name]: bits
    for name, bits in {"LOAD_GLOBAL": 1, "LOAD_ATTR": int(sys.version_info >= (3, 12)), "LOAD_SUPER_ATTR": 2}.items()
    if name in dis.opmap
}

Statement = list[tuple[str, Any]]


class Effects:
    """The effects of importing the project's modules, each looked at once."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._known: dict[str, dict[str, Any]] = {}

    def of(self, module: str) -> dict[str, Any]:
        """The effects of one module: a digest (empty: none), and the digests of the sources that it was taken from."""
        if module not in self._known:
            self._known[module] = _effects(module, self._project)
        return self._known[module]

    def of_all(self, modules: list[str]) -> dict[str, Any]:
        """The effects of importing each of these modules, by module."""
        return {module: self.of(module) for module in modules if self._project.code_of(module) is not None}

    def changed(self, before: dict[str, Any], fresh: tuple[str, ...]) -> str:
        """Name a module whose effects are others now; those of unchanged sources are not looked at."""
        project = self._project
        modules = project.modules()
        for module in modules:
            known = before.get(module)
            if known is None:
                is_same = module in fresh or not self.of(module)["digest"]
            else:
                is_same = all(project.digest_of(name) == digest for name, digest in known["sources"].items())
                is_same = is_same or self.of(module)["digest"] == known["digest"]
            if not is_same:
                return module
        gone = (name for name, each in before.items() if each["digest"] and name not in modules and name not in fresh)
        return next(gone, "")


def _effects(module: str, project: Project) -> dict[str, Any]:
    code = project.code_of(module)
    namespace = sys.modules[module].__dict__
    found = list(statements(code, namespace)) if code else []
    names = {name for each in found for operation, name in each if operation == "LOAD_NAME"}
    functions = _reached([namespace.get(name) for name in names], project)
    sources = {
        name: project.digest_of(name) for name in {module, *(each.__globals__["__name__"] for each in functions)}
    }
    bodies = sorted(code_digest(each.__code__) for each in functions)
    return {"digest": hashed(found, bodies) if found else "", "sources": sources}


def statements(code: types.CodeType, namespace: dict[str, Any]) -> Iterator[Statement]:
    """The statements that do more than define, import or assign."""
    units = code.co_code
    operations = units[0::2]
    begin = 0
    for at, operation in enumerate(operations):
        if operation not in _ENDS:
            continue
        within = operations[begin:at]
        is_candidate = operation in _EFFECT or (operation == _STORE and not _DEFINES.isdisjoint(within))
        if is_candidate and not _is_of_hotloop(code, units, begin, at, namespace):
            statement = _decoded(code, units, begin, at + 1)
            if _is_effect(statement) if operation in _EFFECT else _is_decorated(statement):
                yield statement
        begin = at + 1


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


def _is_effect(statement: Statement) -> bool:
    is_annotation = statement[-1][0] == "STORE_SUBSCR" and ("LOAD_NAME", "__annotations__") in statement
    return len(statement) > 1 and not is_annotation


def _is_decorated(statement: Statement) -> bool:
    # What is made by `def` alone is stored as it was made; a default of a parameter may be a name.
    return statement[0][0] == "LOAD_NAME" and statement[-2][0] not in {"MAKE_FUNCTION", "SET_FUNCTION_ATTRIBUTE"}


def _is_of_hotloop(code: types.CodeType, units: bytes, begin: int, end: int, namespace: dict[str, Any]) -> bool:
    # @app.endpoint and the like: what the app defines is compared by itself.
    extended = 0
    for at in range(begin, end):
        operation, argument = units[2 * at], units[2 * at + 1] | extended
        extended = argument << 8 if operation == dis.EXTENDED_ARG else 0
        if operation == _LOAD:
            return type(namespace.get(code.co_names[argument])).__module__.partition(".")[0] == "hotloop"
        if operation not in _SILENT:
            break
    return False


def _reached(values: list[Any], project: Project) -> list[types.FunctionType]:
    """The project's functions among some values, and those that they name, and so on."""
    found: dict[int, types.FunctionType] = {}
    waiting = values
    while waiting and len(found) < _MAX_FUNCTIONS:
        each = waiting.pop()
        if not isinstance(each, types.FunctionType) or id(each) in found or not is_of_project(each.__code__, project):
            continue
        found[id(each)] = each
        waiting += [each.__globals__.get(name) for name in each.__code__.co_names]
        waiting += [cell.cell_contents for cell in each.__closure__ or () if cell != types.CellType()]
        module_values = [v for v in waiting if isinstance(v, types.ModuleType) and project.owns_module(v.__name__)]
        waiting += [getattr(module, name, None) for module in module_values for name in each.__code__.co_names]
    return list(found.values())
