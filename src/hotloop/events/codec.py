"""Events and records as JSON, and records back. Knows no event: what makes some need not import all."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable

JsonObject = dict[str, Any]


def to_json(value: Any) -> JsonObject:
    """Turn an event (or a record inside one) into a JSON object; tuples become lists."""
    return {name: _plain(getattr(value, name)) for name in _names(cast("type[Any]", type(value)))}


@functools.cache
def _names(record_type: type[Any]) -> tuple[str, ...]:
    return tuple(each.name for each in dataclasses.fields(record_type))


def _plain(value: Any) -> Any:
    # `dataclasses.asdict` copies each leaf, which takes five times as long; nobody changes what is sent.
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, tuple | list):
        return [_plain(each) for each in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in cast("dict[str, Any]", value).items()}
    return to_json(value)


_TIMES = ("at_s", "imported_at_s")  # of CLOCK_MONOTONIC; the others are seconds since 1970


def with_times(data: JsonObject, here: Callable[[float], float]) -> JsonObject:
    """Translate the times of an event, given as a JSON object, from the clock of the machine that made it."""
    return {**data, **{name: here(data[name]) for name in _TIMES if name in data}}


def record_from_json(record_type: type[Any], data: JsonObject) -> Any:
    """Turn a JSON object back into a record such as `Problem` or `Iteration`."""
    return _build(record_type, data)


def _build(record_type: type[Any], data: JsonObject) -> Any:
    hints = _hints(record_type)
    known = {name: _convert(hints[name], value) for name, value in data.items() if name in hints}
    return record_type(**known)


_HINTS: dict[type[Any], dict[str, Any]] = {}


def _hints(record_type: type[Any]) -> dict[str, Any]:
    if record_type not in _HINTS:
        _HINTS[record_type] = typing.get_type_hints(record_type)
    return _HINTS[record_type]


def _convert(hint: Any, value: Any) -> Any:
    if value is None:
        return None
    origin = typing.get_origin(hint)
    if origin is types.UnionType or origin is typing.Union:
        return _convert(next(a for a in typing.get_args(hint) if a is not type(None)), value)
    if origin is tuple:
        arguments = typing.get_args(hint)
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(_convert(arguments[0], item) for item in value)
        return tuple(_convert(a, item) for a, item in zip(arguments, value, strict=True))
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _build(hint, value)
    return value
