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
from typing import TYPE_CHECKING, Any

from hotloop.gpu_runtime.user_env.vault.code import code_digest, hashed, is_of_project

if TYPE_CHECKING:
    from hotloop.gpu_runtime.user_env.source import Project

_ENDS_PLAIN = frozenset({"STORE_NAME", "STORE_GLOBAL", "DELETE_NAME", "RETURN_VALUE", "RETURN_CONST", "IMPORT_NAME"})
_ENDS_EFFECT = frozenset({"POP_TOP", "STORE_ATTR", "STORE_SUBSCR", "DELETE_ATTR", "DELETE_SUBSCR"})
_SILENT = frozenset({"RESUME", "NOP", "CACHE", "PRECALL", "PUSH_NULL", "EXTENDED_ARG", "COPY", "SWAP"})
_MAX_FUNCTIONS = 200

Statement = list[tuple[str, Any]]


def effects_of(modules: list[str], project: Project) -> dict[str, Any]:
    """The effects of importing each of these modules.

    Returns:
        By module: a digest (empty: none), and the digests of the sources that it was taken from.
    """
    return {module: _effects(module, project) for module in modules if project.code_of(module) is not None}


def changed_effect(before: dict[str, Any], fresh: tuple[str, ...], project: Project) -> str:
    """Name a module whose effects are others now; those of unchanged sources are not looked at."""
    modules = project.modules()
    for module in modules:
        known = before.get(module)
        if known is not None and all(_source(name, project) == digest for name, digest in known["sources"].items()):
            continue
        now = _effects(module, project)
        if now["digest"] != (known or {"digest": ""})["digest"] and not (known is None and module in fresh):
            return module
    gone = (name for name, each in before.items() if each["digest"] and name not in modules and name not in fresh)
    return next(gone, "")


def _source(module: str, project: Project) -> str:
    return hashed(project.source_of(getattr(sys.modules.get(module), "__file__", None) or "") or b"")


def _effects(module: str, project: Project) -> dict[str, Any]:
    code = project.code_of(module)
    namespace = sys.modules[module].__dict__
    statements = [each for each in _statements(code, namespace) if each] if code else []
    names = {name for each in statements for operation, name in each if operation == "LOAD_NAME"}
    functions = _reached([namespace.get(name) for name in names], project)
    sources = {name: _source(name, project) for name in {module, *(each.__globals__["__name__"] for each in functions)}}
    bodies = sorted(code_digest(each.__code__) for each in functions)
    return {"digest": hashed(statements, bodies) if statements else "", "sources": sources}


def _statements(code: types.CodeType, namespace: dict[str, Any]) -> list[Statement]:
    found: list[Statement] = []
    current: Statement = []
    for instruction in dis.get_instructions(code):
        name = instruction.opname
        if name in _SILENT:
            continue
        current.append((name, _shown(instruction)))
        if name in _ENDS_EFFECT:
            if len(current) > 1 and not _is_of_hotloop(current, namespace):
                found.append(current)
            current = []
        elif name in _ENDS_PLAIN:
            if _is_decorated(current) and not _is_of_hotloop(current, namespace):
                found.append(current)
            current = []
    return found


def _shown(instruction: dis.Instruction) -> Any:
    value = instruction.argval
    if isinstance(value, types.CodeType):
        return value.co_qualname
    if instruction.opcode in dis.hasjrel or instruction.opcode in dis.hasjabs:
        return None
    return value if isinstance(value, str) else repr(value)


def _is_decorated(statement: Statement) -> bool:
    defines = any(name in {"MAKE_FUNCTION", "LOAD_BUILD_CLASS"} for name, _ in statement)
    return defines and statement[0][0] == "LOAD_NAME" and statement[-1][0] == "STORE_NAME"


def _is_of_hotloop(statement: Statement, namespace: dict[str, Any]) -> bool:
    # @app.endpoint and the like: what the app defines is compared by itself.
    operation, name = statement[0]
    if operation != "LOAD_NAME":
        return False
    return type(namespace.get(name)).__module__.partition(".")[0] == "hotloop"


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
