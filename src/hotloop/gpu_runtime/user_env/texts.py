# pyright: basic
# The types are whatever the user wrote.
"""Decode values that come as text: query strings, forms, the keys of JSON objects."""

from __future__ import annotations

import enum
import json
import math
import re
import typing
from collections.abc import Callable
from typing import Any

from hotloop.gpu_runtime.user_env import hints, strict_json
from hotloop.gpu_runtime.user_env.scalars import Decoder, Mismatch, mismatch, refuse, written_choice, written_member
from hotloop.gpu_runtime.user_env.validators import has_constraints

# What Python reads beyond it, such as "1_0" and "nan", is no number to anyone else.
_INTEGER = re.compile(r"[-+]?[0-9]+")
_NUMBER = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


def decoder(hint: Any, from_json: Decoder) -> Callable[[str], Any]:
    """Make the function that turns a text into a type, raising `Mismatch` if it can't.

    Args:
        hint: The type.
        from_json: Decodes the same type from a JSON value.
    """
    hint = hints.without_aliases(hint)
    is_checked = has_constraints(hint)
    hint = hints.strip(hint)
    if hint in (str, Any, object):
        return from_json if is_checked else lambda text: text
    if hints.is_union(hint):
        return _union(hint, from_json)
    choices = _choices(hint)
    if choices is not None:
        return _choice(choices, from_json)
    if hint in (int, float, bool):
        read = {int: _integer, float: _number, bool: _boolean}[hint]
        return (lambda text: from_json(read(text))) if is_checked else read
    if hints.key_of(hint) == ("datetime", "timedelta"):
        return lambda text: from_json(_number(text))
    if hints.key_of(hint)[0] in {"datetime", "uuid", "decimal"} or hint is bytes:
        return from_json
    return _json(from_json)


def _integer(text: str) -> int:
    if not _INTEGER.fullmatch(text):
        refuse("an integer", text)
    try:
        return int(text)
    except ValueError:  # more digits than Python reads
        refuse("an integer", text)


def _number(text: str) -> float:
    if not _NUMBER.fullmatch(text) or math.isinf(value := float(text)):
        refuse("a number", text)
    return value


def _boolean(text: str) -> bool:
    try:
        return _BOOLEANS[text.lower()]
    except KeyError:
        refuse("true or false", text)


def _choices(hint: Any) -> dict[str, Any] | None:
    """What may be written for a Literal or an Enum, and the JSON value that it stands for."""
    if typing.get_origin(hint) is typing.Literal:
        values = [written_choice(value) for value in typing.get_args(hint)]
    elif isinstance(hint, type) and issubclass(hint, enum.Enum):
        values = [written_member(member) for member in hint]
    else:
        return None
    return {value if isinstance(value, str) else json.dumps(value): value for value in values}


def _choice(choices: dict[str, Any], from_json: Decoder) -> Callable[[str], Any]:
    return lambda text: from_json(choices.get(text, text))


def _json(from_json: Decoder) -> Callable[[str], Any]:
    def decode(text: str) -> Any:
        try:
            value = strict_json.loads(text)
        except (ValueError, RecursionError):
            refuse("JSON", text)
        return from_json(value)

    return decode


def _union(hint: Any, from_json: Decoder) -> Callable[[str], Any]:
    """Try the members in order, text last: everything is text."""
    members = [member for member in typing.get_args(hint) if hints.strip(member) is not type(None)]
    ordered = sorted(members, key=lambda member: hints.strip(member) is str)
    attempts = [decoder(member, from_json) for member in ordered]
    shown = " or ".join(hints.text_of(member) for member in ordered)

    def decode(text: str) -> Any:
        for attempt in attempts:
            try:
                return attempt(text)
            except Mismatch:
                continue
        raise mismatch(shown, text)

    return decode
