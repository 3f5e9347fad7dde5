"""What a type annotation says: how it is written, and whether it is a scalar."""

from __future__ import annotations

import enum
import types
import typing
from typing import Any, Final

READABLE = (
    "use str, int, float, bool, bytes, list, dict, tuple, set, Optional, Literal, an Enum, a dataclass, a TypedDict, "
    "a pydantic model, a numpy array or a datetime; an image is bytes"
)
_SCALARS = frozenset({str, int, float, bool})
_NAMED_SCALARS = frozenset(
    {("datetime", "datetime"), ("datetime", "date"), ("datetime", "time"), ("uuid", "UUID"), ("decimal", "Decimal")}
)
_WRAPPERS = (typing.Annotated, typing.Required, typing.NotRequired, typing.Final, typing.ClassVar)


class _Required:
    """The default of a parameter that has none."""

    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED: Final[Any] = _Required()


class UnknownType(Exception):
    """Nothing can be made of a request for this type.

    Attributes:
        hint: The part of the annotation that is not understood.
        why: More about it, or an empty string.
    """

    def __init__(self, hint: Any, why: str = "") -> None:
        super().__init__(f"{text_of(hint)}{': ' if why else ''}{why}")
        self.hint = hint
        self.why = why


def strip(hint: Any) -> Any:
    """Take off what changes nothing in the value: Annotated, Required, NewType, a ``type`` alias, a bare TypeVar."""
    while True:
        if isinstance(hint, typing.NewType):
            hint = hint.__supertype__
        elif isinstance(hint, typing.TypeVar):
            hint = hint.__bound__ or Any
        elif is_alias(hint):
            hint = value_of_alias(hint)
        elif _wrapper_of(hint) in _WRAPPERS:
            hint = typing.get_args(hint)[0]
        elif hint is None:
            return type(None)
        else:
            return hint


def is_alias(hint: Any) -> bool:
    """Whether it is a ``type`` alias, with arguments or without: typing's from Python 3.12, or typing_extensions'."""
    return "TypeAliasType" in {type(hint).__name__, type(typing.get_origin(hint)).__name__}


def without_aliases(hint: Any) -> Any:
    """What it is, if it is an alias, or an alias of one."""
    while is_alias(hint):
        hint = value_of_alias(hint)
    return hint


def value_of_alias(hint: Any) -> Any:
    """What an alias stands for, its arguments put in.

    Raises:
        UnknownType: It can't be evaluated.
    """
    alias = typing.get_origin(hint) or hint
    try:
        value = alias.__value__
    except Exception as error:  # noqa: BLE001  evaluated now, and written by the user
        raise UnknownType(alias, f"it can't be evaluated: {error}") from None
    return put_in(value, dict(zip(alias.__type_params__, typing.get_args(hint), strict=False)))


def put_in(hint: Any, given: dict[Any, Any]) -> Any:
    """Give a type with what is given for its type parameters in their places."""
    if isinstance(hint, typing.TypeVar):
        return given.get(hint, hint)
    left = getattr(hint, "__parameters__", ()) if typing.get_origin(hint) else ()
    return hint[tuple(given.get(parameter, parameter) for parameter in left)] if left and given else hint


def _wrapper_of(hint: Any) -> Any:
    origin = typing.get_origin(hint)
    name = getattr(origin, "__name__", getattr(origin, "_name", ""))
    return typing.Required if name in {"Required", "NotRequired", "ReadOnly"} else origin


def is_union(hint: Any) -> bool:
    """Whether it is a Union or an Optional, however written."""
    return typing.get_origin(hint) in {typing.Union, types.UnionType}


def is_scalar(hint: Any) -> bool:
    """Whether a value fits in a query string as one word."""
    hint = strip(hint)
    if is_union(hint):
        return all(is_scalar(member) for member in typing.get_args(hint))
    if typing.get_origin(hint) is typing.Literal or hint is type(None):
        return True
    return isinstance(hint, type) and (
        hint in _SCALARS or issubclass(hint, enum.Enum) or key_of(hint) in _NAMED_SCALARS
    )


def key_of(hint: Any) -> tuple[str, str]:
    """The module and name of a class, to know it without importing it."""
    return (getattr(hint, "__module__", ""), getattr(hint, "__qualname__", ""))


def text_of(hint: Any) -> str:
    """Write a type as a user would, without the modules it comes from."""
    if hint is None or hint is type(None):
        return "None"
    if hint is Any:
        return "Any"
    if hint is Ellipsis:
        return "..."
    arguments = typing.get_args(hint)
    if is_union(hint):
        return " | ".join(text_of(member) for member in arguments)
    origin = typing.get_origin(hint)
    if origin is typing.Annotated:
        return text_of(arguments[0])
    if origin is typing.Literal:
        return f"Literal[{', '.join(map(repr, arguments))}]"
    if origin is not None and arguments:
        return f"{_name_of(origin)}[{', '.join(text_of(argument) for argument in arguments)}]"
    return _name_of(hint)


def _name_of(hint: Any) -> str:
    if isinstance(hint, list):  # the parameters of a Callable
        return repr(hint)  # pyright: ignore[reportUnknownArgumentType]
    return getattr(hint, "__qualname__", "") or getattr(hint, "__name__", "") or repr(hint).removeprefix("typing.")
