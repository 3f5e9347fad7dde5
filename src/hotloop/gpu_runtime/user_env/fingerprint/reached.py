# pyright: basic
# (it reads the project's namespaces)
"""What code of the project some statements run, as far as names tell, and whether it does more than return a value."""

from __future__ import annotations

import dis
import functools
import sys
import types
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from hotloop.gpu_runtime.user_env.fingerprint import uses
from hotloop.gpu_runtime.user_env.fingerprint.uses import Uses
from hotloop.gpu_runtime.user_env.vault.code import codes_within, is_of_project

if TYPE_CHECKING:
    from hotloop.gpu_runtime.user_env.source import Project

SILENT = (*uses.SILENT, "COPY", "SWAP")
ENDS_EFFECT = ("POP_TOP", "STORE_ATTR", "STORE_SUBSCR", "DELETE_ATTR", "DELETE_SUBSCR")
MAX_FUNCTIONS = 200
_CALLED_UNNAMED = ("__init__", "__new__", "__call__", "__post_init__", "__enter__", "__init_subclass__")

Statement = list[tuple[str, Any]]


class Reached:
    """The project's code that some statements run, as far as names tell.

    Attributes:
        uses: What the statements and that code refer to, by module.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._functions: dict[int, types.FunctionType] = {}
        self._owners: dict[int, Any] = {}  # classes, whose methods count once their names are met
        self._names: set[str] = set(_CALLED_UNNAMED)
        self.uses: dict[str, Uses] = {}

    @property
    def codes(self) -> list[types.CodeType]:
        """Functions that are called, and what these name, and so on."""
        return [each.__code__ for each in self._functions.values()]

    @property
    def modules(self) -> set[str]:
        """The modules of the project in which it stands."""
        return {each.__globals__.get("__name__", "") for each in self._functions.values()} | {
            each.__module__ for each in self._owners.values()
        }

    def with_namespaces(self) -> list[tuple[types.CodeType, dict[str, Any]]]:
        """The code, each with the globals that it sees."""
        return [(each.__code__, each.__globals__) for each in self._functions.values()]

    def start(self, module: str, found: Iterable[Statement]) -> None:
        """Add what statements of a module name."""
        own = self.uses.setdefault(module, Uses())
        for statement in found:
            for (operation, name), (after, _) in zip(statement, [*statement[1:], ("", None)], strict=True):
                if operation in {"LOAD_NAME", "LOAD_GLOBAL"}:
                    own.names.add(name)
                elif operation in {"LOAD_ATTR", "LOAD_METHOD"}:
                    own.attributes.add(name)
                if operation in {"LOAD_NAME", "LOAD_GLOBAL", "LOAD_ATTR"} and after not in uses.OF_ATTRIBUTE:
                    own.passed.add("." + name if operation == "LOAD_ATTR" else name)
        self._names |= own.attributes
        namespace = sys.modules[module].__dict__
        self.add([namespace.get(name) for name in own.names])

    def note(self, names: Iterable[str]) -> None:
        """Add names by which methods may be called."""
        self._names.update(names)

    def add(self, values: Iterable[Any]) -> None:
        """Add values, and all that the code in them names."""
        waiting = list(values)
        while waiting and len(self._functions) < MAX_FUNCTIONS:
            waiting += self._take(waiting.pop())
            if not waiting:
                waiting = self._methods()

    def _take(self, each: Any) -> list[Any]:
        """What a value leads to."""
        if isinstance(each, types.FunctionType):
            return self._function(each)
        if isinstance(each, types.ModuleType):
            is_own = self._project.owns_module(each.__name__)
            return [each.__dict__.get(name) for name in self._names] if is_own else []
        parts = next((parts for kind, parts in _PARTS if isinstance(each, kind)), None)
        if parts is not None:
            return parts(each)
        for base in (each if isinstance(each, type) else type(each)).__mro__:
            if id(base) not in self._owners and self._project.owns_module(base.__module__):
                self._owners[id(base)] = base
        return [each.__wrapped__] if type(each) is functools._lru_cache_wrapper else []  # noqa: SLF001

    def _function(self, each: types.FunctionType) -> list[Any]:
        if id(each) in self._functions or not is_of_project(each.__code__, self._project):
            return []
        self._functions[id(each)] = each
        used = self.uses.setdefault(each.__globals__.get("__name__", ""), Uses())
        inner = [each.__code__, *codes_within(each.__code__)]
        for code in inner:
            used.add(code, each.__globals__.get("__package__") or "")
        self._names |= used.attributes
        named = [each.__globals__.get(name) for code in inner for name in code.co_names]
        named += [sys.modules[name] for name in used.imports if name in sys.modules and self._project.owns_module(name)]
        return [*named, *(cell.cell_contents for cell in each.__closure__ or () if cell != types.CellType())]

    def _methods(self) -> list[Any]:
        found = [vars(owner).get(name) for owner in self._owners.values() for name in self._names & vars(owner).keys()]
        return [
            each for each in found if id(getattr(each, "__func__", each)) not in self._functions and _is_callable(each)
        ]


_PARTS: tuple[tuple[Any, Any], ...] = (
    (functools.partial, lambda each: [each.func, *each.args]),
    (types.MethodType, lambda each: [each.__func__, each.__self__]),
    (staticmethod | classmethod, lambda each: [each.__func__]),
    (property, lambda each: [each.fget, each.fset]),
)


def _is_callable(value: Any) -> bool:
    return isinstance(value, types.FunctionType | staticmethod | classmethod)


_HARMLESS = ("logging", "warnings")


def is_restless(code: types.CodeType, namespace: dict[str, Any]) -> bool:
    """Whether a function changes something that it did not make itself: then calling it is more than its result."""
    return any(not is_harmless(namespace.get(root, root)) for root in changed_roots(code))


def changes_others(code: types.CodeType, namespace: dict[str, Any]) -> bool:
    """Whether a function changes something that is not a global of the project's: of those, the values are compared."""
    found = [namespace.get(root, root) for root in changed_roots(code)]
    return any(not is_harmless(each) and type(each) not in {list, dict, set} for each in found)


@functools.lru_cache(maxsize=4096)
def changed_roots(code: types.CodeType) -> frozenset[str]:
    """The names through which a function, and those in it, change what they did not make; empty ones are not known."""
    return frozenset(root for each in (code, *codes_within(code)) for root in _changed(each))


def _changed(code: types.CodeType) -> Iterator[str]:
    own = {code.co_varnames[0]} if code.co_argcount and code.co_varnames[0] in {"self", "cls"} else set[str]()
    steps: list[uses.Step] = []
    for each in uses.steps_of(dis.get_instructions(code)):
        name = each.opname
        if name in {"STORE_GLOBAL", "DELETE_GLOBAL"}:
            yield ""
        if name in {"STORE_FAST", "STORE_DEREF"}:
            if steps and steps[-1].opname.startswith(("BUILD_", "LIST_", "DICT_", "SET_", "MAP_")):
                own.add(each.argval)
            else:
                own.discard(each.argval)
            steps = []
        elif name in ENDS_EFFECT:
            if any(step.opname.startswith("LOAD") for step in steps):
                yield from _foreign(name, steps, own)
            steps = []
        elif name not in SILENT:
            steps.append(each)


def _foreign(name: str, steps: list[uses.Step], own: set[str]) -> Iterator[str]:
    """The name through which a statement changes what the function did not make, if it does."""
    if name == "POP_TOP" and not any(step.opname.startswith("CALL") for step in steps):
        return
    roots = [step for step in steps if step.opname.startswith(("LOAD_FAST", "LOAD_GLOBAL", "LOAD_DEREF", "LOAD_NAME"))]
    if not roots:
        return
    if name == "POP_TOP":
        if roots[0].argval not in own:
            yield roots[0].argval if roots[0].opname == "LOAD_GLOBAL" else ""
    # obj.name = value: what is stored into was loaded last, a key after it.
    elif roots[-1].argval not in own and not (
        name.endswith("SUBSCR") and any(each.argval in own for each in roots[-2:])
    ):
        yield ""


def is_harmless(value: Any) -> bool:
    """Whether a value is for telling something: `print`, or of `logging` or `warnings`. What `super` leads to is reached by name."""
    return (
        (
            type(value) is str and value in {"print", "super"}
        )  # an array compares with anything, and is then neither true nor false
        or getattr(type(value), "__module__", "").startswith(_HARMLESS)
        or (isinstance(value, types.ModuleType) and value.__name__.startswith(_HARMLESS))
    )
