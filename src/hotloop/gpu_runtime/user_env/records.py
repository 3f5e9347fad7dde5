# pyright: basic
# The values here are whatever a request held, and the types whatever the user wrote.
"""Objects with named fields: an endpoint's parameters, dataclasses, TypedDicts, named tuples."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable, Iterable
from typing import Any

from hotloop.frozen import frozen
from hotloop.gpu_runtime.user_env import hints
from hotloop.gpu_runtime.user_env.scalars import Decoder, Mismatch, refuse
from hotloop.gpu_runtime.user_env.validators import first_line


@frozen
class Field:
    """One named value in an object."""

    name: str
    hint: Any
    is_required: bool
    decode: Decoder


def object_decoder(fields: Iterable[Field]) -> Callable[[Any], dict[str, Any]]:
    """Make the function that decodes an object of named values, refusing unknown and missing ones."""
    fields = tuple(fields)
    decode = fields_decoder({field.name: field.decode for field in fields})
    required = required_of(fields)

    def decode_all(value: Any) -> dict[str, Any]:
        found = decode(value)
        require(required, found)
        return found

    return decode_all


def fields_decoder(known: dict[str, Decoder]) -> Callable[[Any], dict[str, Any]]:
    """Make the function that decodes the named values of an object, refusing unknown ones."""

    def decode(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            refuse("an object", value)
        found: dict[str, Any] = {}
        name = ""
        try:
            for name, item in value.items():
                decode_item = known.get(name)
                if decode_item is None:
                    raise unknown_field(name, known)
                found[name] = decode_item(item)
        except Mismatch as error:
            error.path.append(name)
            raise
        return found

    return decode


def required_of(fields: Iterable[Field]) -> tuple[tuple[str, Any], ...]:
    """List the names and types without which an object is not complete."""
    return tuple((field.name, field.hint) for field in fields if field.is_required)


def require(required: tuple[tuple[str, Any], ...], found: dict[str, Any]) -> None:
    """Raise `Mismatch` if a required value is missing."""
    for name, hint in required:
        if name not in found:
            msg = f"missing, expected {hints.text_of(hint)}"
            raise Mismatch(msg, name)


def unknown_field(name: str, known: Iterable[str]) -> Mismatch:
    """Say that no field has this name, and which one was probably meant."""
    import difflib

    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        advice = f"did you mean {close[0]!r}?"
    else:
        advice = f"expected {', '.join(map(repr, names))}" if names else "expected none"
    return Mismatch(f"unknown field, {advice}")


def is_record(cls: Any) -> bool:
    """Whether a class is a dataclass, a TypedDict or a named tuple."""
    return dataclasses.is_dataclass(cls) or _is_typed_dict(cls) or is_named_tuple(cls)


def _is_typed_dict(cls: Any) -> bool:
    return issubclass(cls, dict) and hasattr(cls, "__required_keys__")  # typing's or typing_extensions'


def is_named_tuple(cls: Any) -> bool:
    """Whether a class is one."""
    return issubclass(cls, tuple) and hasattr(cls, "_field_defaults")


def annotations_of(record: Any) -> dict[str, Any]:
    """Give the types of a record's fields by name, with what is given for its type parameters in their places.

    Args:
        record: Its class, or that with arguments (``Page[Item]``).

    Raises:
        Exception: An annotation can't be evaluated.
    """
    cls = typing.get_origin(record) or record
    hints_here = typing.get_type_hints(cls, include_extras=True)
    if not hasattr(cls, "__orig_bases__"):
        return {name: _of_init(hint) for name, hint in hints_here.items()}
    # Each base has type parameters of its own, though they may be the same objects.
    given = dict(zip(getattr(cls, "__parameters__", ()), typing.get_args(record), strict=False))
    inherited: dict[str, Any] = {}
    for base in reversed(cls.__dict__.get("__orig_bases__", cls.__bases__)):
        origin = typing.get_origin(base) or base
        if isinstance(origin, type) and origin not in {typing.Generic, typing.Protocol}:
            inherited |= annotations_of(hints.put_in(base, given))
    own = {name: hints.put_in(_of_init(hints_here[name]), given) for name in inspect.get_annotations(cls)}
    # What a TypedDict inherits counts as its own.
    return {**own, **inherited} if _is_typed_dict(cls) else {**inherited, **own}


def _of_init(hint: Any) -> Any:
    return hint.type if isinstance(hint, dataclasses.InitVar) else hint


def field_names(cls: Any, annotations: dict[str, Any]) -> list[tuple[str, bool]]:
    """List the fields that a value is made from, and whether each is required."""
    if dataclasses.is_dataclass(cls):
        missing = dataclasses.MISSING
        written = {field.name for field in dataclasses.fields(cls)}
        return [
            (field.name, field.default is missing and field.default_factory is missing)
            for field in cls.__dataclass_fields__.values()
            if field.init and (field.name in written or _is_for_init(field))
        ]
    if is_named_tuple(cls):
        return [(name, name not in cls._field_defaults) for name in cls._fields]
    return [(name, _is_required_key(cls, name, hint)) for name, hint in annotations.items()]


def _is_for_init(field: dataclasses.Field[Any]) -> bool:
    """Whether it is an ``InitVar``: `dataclasses.fields` has neither these nor class variables."""
    return getattr(field, "_field_type", None) is getattr(dataclasses, "_FIELD_INITVAR", ...)


def written_names(cls: Any, annotations: dict[str, Any]) -> list[str]:
    """List the fields that a value is written with."""
    if dataclasses.is_dataclass(cls):
        return [field.name for field in dataclasses.fields(cls)]
    return [name for name, _ in field_names(cls, annotations)]


def _is_required_key(cls: Any, name: str, hint: Any) -> bool:
    # __required_keys__ is wrong for annotations kept as text (from __future__ import annotations), so look first.
    origin = getattr(typing.get_origin(hint), "_name", "")
    return origin == "Required" or (origin != "NotRequired" and name in cls.__required_keys__)


def record_decoder(cls: Any, fields: list[Field]) -> Decoder:
    """Make the function that builds a class's instance from an object."""
    decode = object_decoder(fields)
    if _is_typed_dict(cls):
        return decode
    names = [field.name for field in fields]
    takes_lists = is_named_tuple(cls)

    def build(value: Any) -> Any:
        if takes_lists and type(value) is list and len(value) <= len(names):
            value = dict(zip(names, value, strict=False))  # JSON writes a named tuple as a list
        found = decode(value)
        try:
            return cls(**found)
        except ValueError as error:  # from __post_init__: the user's own check of the value
            raise Mismatch(first_line(error)) from error

    return build
