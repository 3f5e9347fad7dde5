"""Frozen, slotted dataclasses whose methods are compiled when they are first called: few of them ever are.

`dataclasses` writes six methods of every class as source for Python to compile, which takes longer than all else that a
module of them does; see docs/decisions/0012-records-are-made-quickly.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import MISSING, FrozenInstanceError, dataclass
from operator import attrgetter
from typing import Any, NoReturn, TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
def frozen(cls: type[T]) -> type[T]:
    """Make a class as ``dataclass(frozen=True, slots=True)`` does; the functions of `dataclasses` take it as one.

    Not kept: keyword-only fields, `dataclasses.InitVar`, fields that are no parameters, and the check that those without a
    default come first, which is a SyntaxError when the first instance is made.
    """
    made: Any = dataclass(init=False, repr=False, eq=False, slots=True)(cls)
    for name, method in {**_own_methods(made), **_METHODS}.items():
        if made.__dict__.get(name) is None:  # the class may define one itself
            setattr(made, name, method)
    return made


def _own_methods(made: Any) -> dict[str, Callable[..., Any]]:
    fields = dataclasses.fields(made)
    compared = [each.name for each in fields if each.compare]
    values: Callable[[Any], Any] = attrgetter(*compared) if compared else lambda _: ()

    def init(self: Any, *given: Any, **named: Any) -> None:
        made.__init__ = _compiled_init(made)
        made.__init__(self, *given, **named)

    def is_equal(self: Any, other: Any) -> bool:
        return values(self) == values(other) if other.__class__ is self.__class__ else NotImplemented

    def number(self: Any) -> int:
        return hash((values(self),))

    return {"__init__": init, "__eq__": is_equal, "__hash__": number}


def _compiled_init(made: Any) -> Callable[..., None]:
    names: dict[str, Any] = {"_MISSING": MISSING}
    parameters, lines = ["self"], ["pass"]
    for each in dataclasses.fields(made):
        name = value = parameter = each.name
        if each.default_factory is not MISSING:
            names[f"_make_{name}"] = each.default_factory
            parameter, value = f"{name}=_MISSING", f"_make_{name}() if {name} is _MISSING else {name}"
        elif each.default is not MISSING:
            names[f"_default_{name}"] = each.default
            parameter = f"{name}=_default_{name}"
        names[f"_set_{name}"] = getattr(made, name).__set__  # of the slot, which nothing guards
        parameters.append(parameter)
        lines.append(f"_set_{name}(self, {value})")
    if hasattr(made, "__post_init__"):
        lines.append("self.__post_init__()")
    exec(f"def __init__({', '.join(parameters)}):\n " + "\n ".join(lines), names)  # noqa: S102  as dataclasses does
    init: Callable[..., None] = names["__init__"]
    init.__qualname__ = f"{made.__qualname__}.__init__"
    return init


def _shown(self: Any) -> str:
    shown = [f"{each.name}={getattr(self, each.name)!r}" for each in dataclasses.fields(self) if each.repr]
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _refuse_to_set(self: Any, name: str, value: Any) -> NoReturn:
    msg = f"cannot assign to field {name!r}"
    raise FrozenInstanceError(msg)


def _refuse_to_delete(self: Any, name: str) -> NoReturn:
    msg = f"cannot delete field {name!r}"
    raise FrozenInstanceError(msg)


def _state(self: Any) -> list[Any]:
    return [getattr(self, each.name) for each in dataclasses.fields(self)]


def _set_state(self: Any, state: list[Any]) -> None:
    for each, value in zip(dataclasses.fields(self), state, strict=True):
        object.__setattr__(self, each.name, value)


_METHODS: dict[str, Callable[..., Any]] = {
    "__repr__": _shown,
    "__setattr__": _refuse_to_set,
    "__delattr__": _refuse_to_delete,
    "__getstate__": _state,
    "__setstate__": _set_state,
}
