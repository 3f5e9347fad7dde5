# pyright: basic
# The values here are whatever a request held, and the types whatever the user wrote.
"""Decode single values: strings, numbers, bytes, dates, enums, choices. Knows nothing of what they are part of."""

from __future__ import annotations

import binascii
import enum
import json
import re
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

Decoder = Callable[[Any], Any]
Step = str | int


class Mismatch(Exception):
    """A value is not what its type says.

    Attributes:
        message: What was expected and what came.
        path: Steps to the value, innermost first: names and indices.
    """

    def __init__(self, message: str, *path: Step) -> None:
        super().__init__(message)
        self.message = message
        self.path: list[Step] = list(path)

    @property
    def where(self) -> str:
        """The path as one writes it: ``text[2].name``."""
        steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in reversed(self.path))
        return "".join(steps).removeprefix(".")


def refuse(what: str, value: Any) -> NoReturn:
    """Raise `mismatch`, without the error that led to it."""
    raise mismatch(what, value) from None


def mismatch(what: str, value: Any) -> Mismatch:
    """Say what was expected and what came instead."""
    return Mismatch(f"expected {what}, got {described(value)}")


def described(value: Any) -> str:
    """Write a JSON value for an error, shortly."""
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    if isinstance(value, dict):
        return "an object" if value else "an empty object"
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, str | int | float | None) else repr(value)
    return text if len(text) <= 40 else f"{text[:36]}...{text[-1] if isinstance(value, str) else ''}"


def anything(value: Any) -> Any:
    """Decode a value without an annotation: as it is."""
    return value


def _string(value: Any) -> str:
    if type(value) is not str:
        refuse("a string", value)
    return value


def _integer(value: Any) -> int:
    if type(value) is int:
        return value
    if type(value) is float and value.is_integer():  # JSON has one type of number
        return int(value)
    refuse("an integer", value)


def _number(value: Any) -> float:
    if type(value) is float:
        return value
    if type(value) is int:
        try:
            return float(value)
        except OverflowError:
            refuse("a number that fits a float", value)
    refuse("a number", value)


def _boolean(value: Any) -> bool:
    if type(value) is not bool:
        refuse("true or false", value)
    return value


def _null(value: Any) -> None:
    if value is not None:
        refuse("null", value)


def _bytes(value: Any) -> bytes:
    if type(value) is bytes:  # MessagePack has them
        return value
    if type(value) is not str:
        refuse("a string of base64", value)
    try:
        return binascii.a2b_base64(value.encode("ascii"), strict_mode=True)
    except ValueError:  # binascii.Error and UnicodeEncodeError are both
        refuse("a string of base64", value)


SCALARS: dict[Any, Decoder] = {
    Any: anything,
    object: anything,
    str: _string,
    int: _integer,
    float: _number,
    bool: _boolean,
    type(None): _null,
    bytes: _bytes,
    bytearray: lambda value: bytearray(_bytes(value)),
}
# A list whose entries all have this very type already needs no second look, which a C loop finds out.
EXACT: dict[Decoder, frozenset[type]] = {
    _string: frozenset({str}),
    _integer: frozenset({int}),
    _number: frozenset({float}),
    _boolean: frozenset({bool}),
}
# What a union tries first: the member whose JSON type the value has.
JSON_TYPES: dict[Any, type] = {str: str, int: int, float: float, bool: bool, type(None): type(None)}


def _parsed(what: str, parse: Callable[[str], Any]) -> Decoder:
    def decode(value: Any) -> Any:
        if type(value) is not str:
            refuse(what, value)
        try:
            return parse(value)
        except (ValueError, ArithmeticError):
            refuse(what, value)

    return decode


# What `Decimal` reads beyond it, such as "NaN" and "1_0", is no number in JSON either.
DECIMAL_PATTERN = r"^[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]{1,4})?$"
_DECIMAL = re.compile(DECIMAL_PATTERN.replace("$", r"\Z"))


def _decimal(hint: Any) -> Decoder:
    def parse(text: str) -> Any:
        if not _DECIMAL.match(text):
            raise ValueError(text)
        return hint(text)

    read = _parsed("a decimal number", parse)
    return lambda value: read(str(value) if type(value) in {int, float} else value)


def _duration(hint: Any) -> Decoder:
    def decode(value: Any) -> Any:
        try:
            return hint(seconds=_number(value))
        except (Mismatch, OverflowError, ValueError):
            refuse("a number of seconds", value)

    return decode


NAMED: dict[tuple[str, str], Callable[[Any], Decoder]] = {
    ("datetime", "datetime"): lambda hint: _parsed("a time such as 2025-01-31T12:00:00Z", hint.fromisoformat),
    ("datetime", "date"): lambda hint: _parsed("a date such as 2025-01-31", hint.fromisoformat),
    ("datetime", "time"): lambda hint: _parsed("a time of day such as 12:30:00", hint.fromisoformat),
    ("datetime", "timedelta"): _duration,
    ("uuid", "UUID"): lambda hint: _parsed("a UUID", hint),
    ("decimal", "Decimal"): _decimal,
}


def choice(values: tuple[Any, ...]) -> Decoder:
    """Decode a Literal: its value; an Enum's member as it is written."""
    return _one_of((written_choice(value), value) for value in values)


def member_of(cls: type[enum.Enum]) -> Decoder:
    """Decode an Enum: by its values; by its names where a value is nothing that JSON has."""
    return _one_of((written_member(member), member) for member in cls)


def _one_of(pairs: Iterable[tuple[Any, Any]]) -> Decoder:
    """Decode by what is written: 1.0 is 1, as for JSON Schema, and true is not."""
    known = {(type(written) is bool, written): value for written, value in pairs}
    texts = [described(written) for _, written in known]
    shown = "one of " + ", ".join(texts) if len(texts) > 1 else "".join(texts)

    def decode(value: Any) -> Any:
        try:
            return known[type(value) is bool, value]
        except (KeyError, TypeError):  # unhashable: a list or an object
            refuse(shown, value)

    return decode


def written_member(member: enum.Enum) -> str | int | float | bool | None:
    """Say how an Enum's member is written in JSON: its value if that is a plain one, else its name."""
    value = member.value
    for plain in (bool, int, str, float):
        if isinstance(value, plain):
            return plain(value)
    return None if value is None else member.name


def written_choice(value: Any) -> Any:
    """Say how a Literal's value is written in JSON."""
    return written_member(value) if isinstance(value, enum.Enum) else value
