# pyright: basic
# The values here are whatever a request held, and the types whatever the user wrote.
"""Objects with named fields: an endpoint's parameters, dataclasses, TypedDicts, named tuples."""

from __future__ import annotations

import dataclasses
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


def field_names(cls: Any, annotations: dict[str, Any]) -> list[tuple[str, bool]]:
    """List the fields and whether each is required."""
    if dataclasses.is_dataclass(cls):
        missing = dataclasses.MISSING
        return [
            (field.name, field.default is missing and field.default_factory is missing)
            for field in dataclasses.fields(cls)
            if field.init
        ]
    if is_named_tuple(cls):
        return [(name, name not in cls._field_defaults) for name in cls._fields]
    return [(name, _is_required_key(cls, name, hint)) for name, hint in annotations.items()]


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
