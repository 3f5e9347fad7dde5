# pyright: basic
# The values are whatever the user's functions return.
"""Write values as JSON that every reader takes: no NaN, sets in one order, what JSON lacks as text or lists."""

from __future__ import annotations

import base64
import collections.abc
import dataclasses
import enum
import sys
from collections.abc import Callable, Iterable
from typing import Any

from hotloop.gpu_runtime.user_env import arrays, hints
from hotloop.gpu_runtime.user_env.json_encoder import encoder
from hotloop.gpu_runtime.user_env.scalars import written_member

MAX_DEPTH = 200
_AS_TEXT = frozenset({("uuid", "UUID"), ("decimal", "Decimal")})
_PLAIN_KEYS = (str, int, float, bool, type(None))


class NotEncodable(Exception):
    """A value has no form in JSON.

    Attributes:
        where: The path to it, such as ``result[3].score``.
        message: What it is and what to return instead.
    """

    def __init__(self, where: str, message: str) -> None:
        super().__init__(f"{where} {message}")
        self.where = where
        self.message = message


def dumps(value: Any) -> bytes:
    """Write a value as JSON, UTF-8.

    Raises:
        NotEncodable: With the path to what can't be written.
    """
    try:
        return _to_bytes(value)
    except (TypeError, ValueError, RecursionError):
        # The C encoder says neither where nor what. Walk the value in Python to find out, or to get around
        # what only keys of other types stopped.
        return _to_bytes(plain(value))


def plain(value: Any, where: str = "result", depth: int = 0) -> Any:
    """Turn a value into what the json module writes, all the way down.

    Raises:
        NotEncodable: With the path to what can't be written.
    """
    if depth > MAX_DEPTH:
        message = f"is more than {MAX_DEPTH} levels deep, or contains itself"
        raise NotEncodable(where, message)
    if isinstance(value, float) and (value != value or value in {float("inf"), float("-inf")}):  # noqa: PLR0124
        message = f"is {float(value)}, which JSON does not have: return None or a number there"
        raise NotEncodable(where, message)
    if isinstance(value, dict):
        return _object(value.items(), where, depth)
    if isinstance(value, list | tuple):
        return [plain(item, f"{where}[{index}]", depth + 1) for index, item in enumerate(value)]
    if isinstance(value, str | int | float | bool | None):
        return value
    try:
        simpler = simplify(value)
    except TypeError:
        raise NotEncodable(where, f"is {_described(value)}, which can't be written as JSON") from None
    return plain(simpler, where, depth + 1)


def _object(items: Iterable[tuple[Any, Any]], where: str, depth: int) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for key, item in items:
        name = plain(key, f"{where}'s key {key!r:.40}", depth + 1)
        if not isinstance(name, _PLAIN_KEYS):
            message = f"is {_described(key)}: a key is a string or a number"
            place = f"{where}'s key {key!r:.40}"
            raise NotEncodable(place, message)
        step = f".{name}" if isinstance(name, str) and name.isidentifier() else f"[{name!r}]"
        found[name] = plain(item, where + step, depth + 1)
    return found


def simplify(value: Any) -> Any:
    """Take one step from a value that JSON lacks towards one that it has.

    Raises:
        TypeError: There is none.
    """
    if arrays.is_array(value) or arrays.is_tensor(value) or arrays.is_numpy_scalar(value):
        return arrays.to_lists(value)
    if isinstance(value, enum.Enum):
        return written_member(value)
    if hasattr(value, "model_dump") and "pydantic" in sys.modules:
        return value.model_dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    for kinds, write in _FORMS:
        if isinstance(value, kinds):
            return write(value)
    return _named(value)


def _named(value: Any) -> Any:
    """Write a value of a module that may not be imported, so is known by its name."""
    for cls in type(value).__mro__:
        key = hints.key_of(cls)
        if key in _AS_TEXT or hasattr(value, "__fspath__"):
            return str(value)
        if key == ("datetime", "timedelta"):
            return value.total_seconds()
        if key[0] == "datetime" and hasattr(value, "isoformat"):
            return value.isoformat()
    msg = f"{_described(value)} has no form in JSON"
    raise TypeError(msg)


def _in_one_order(value: Iterable[Any]) -> list[Any]:
    # The order of a set of strings differs from process to process, and every probe's output would with it.
    try:
        return sorted(value)
    except TypeError:
        return sorted(value, key=lambda item: (type(item).__name__, repr(item)))


_FORMS: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    ((bytes, bytearray, memoryview), lambda value: base64.b64encode(value).decode("ascii")),
    ((collections.abc.KeysView, collections.abc.ItemsView), list),  # sets that have an order of their own
    (collections.abc.Set, _in_one_order),
    (collections.abc.Mapping, dict),
    ((collections.abc.Sequence, collections.abc.ValuesView, collections.deque), list),
)
_encode = encoder(ensure_ascii=False, allow_nan=False, default=simplify)
_encode_ascii = encoder(allow_nan=False, default=simplify)


def dumps_plainly(value: Any) -> bytes:
    """Write a value as `dumps` does, but say nothing of use if it can't be written.

    Raises:
        Exception: `dumps` may know another way, or say more.
    """
    return _encode(value).encode("utf-8")


def _to_bytes(value: Any) -> bytes:
    try:
        return _encode(value).encode("utf-8")
    except UnicodeEncodeError:  # half of a surrogate pair, which only an escape can write
        return _encode_ascii(value).encode("ascii")


def _described(value: Any) -> str:
    cls = type(value)
    name = cls.__qualname__ if cls.__module__ in {"builtins", "__main__"} else f"{cls.__module__}.{cls.__qualname__}"
    return f"a {name}" if name[0].lower() not in "aeiou" else f"an {name}"
