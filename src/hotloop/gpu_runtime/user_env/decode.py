# pyright: basic
# The values here are whatever a request held, and the types whatever the user wrote.
"""Turn JSON values into the types that an endpoint's annotations name.

`decoder` does the thinking once, when the app is checked; the closures it gives are what runs for each request.
"""

from __future__ import annotations

import collections.abc
import enum
import typing
from collections.abc import Callable
from typing import Any

from hotloop.gpu_runtime.user_env import arrays, hints
from hotloop.gpu_runtime.user_env.hints import UnknownType
from hotloop.gpu_runtime.user_env.records import Field, annotations_of, field_names, is_record, record_decoder
from hotloop.gpu_runtime.user_env.scalars import (
    EXACT,
    JSON_TYPES,
    NAMED,
    SCALARS,
    Decoder,
    Mismatch,
    anything,
    choice,
    member_of,
    mismatch,
    refuse,
)
from hotloop.gpu_runtime.user_env.texts import decoder as text_decoder
from hotloop.gpu_runtime.user_env.validators import (
    has_checks_only,
    has_constraints,
    is_pydantic,
    pydantic,
    validated,
)

_LIKE_LISTS: dict[Any, Any] = {
    list: list,
    tuple: tuple,
    set: set,
    frozenset: frozenset,
    collections.abc.Sequence: list,
    collections.abc.Iterable: list,
    collections.abc.Collection: list,
}
_LIKE_DICTS = frozenset({dict, collections.abc.Mapping, collections.abc.MutableMapping})


def decoder(hint: Any) -> Decoder:
    """Make the function that turns a JSON value into a type, raising `Mismatch` if it can't.

    Raises:
        UnknownType: No JSON value makes this type.
    """
    return _Compiler().compile(hint)


class _Compiler:
    """Makes one decoder; remembers the classes and aliases on the way, since one may hold itself."""

    def __init__(self) -> None:
        self._named: dict[Any, Decoder] = {}

    def compile(self, hint: Any) -> Decoder:
        if hints.is_alias(hint):
            return self._once(hint, lambda: self.compile(hints.value_of_alias(hint)))
        if has_constraints(hint):
            return self._constrained(hint)
        hint = hints.strip(hint)
        if isinstance(hint, typing.Hashable) and hint in SCALARS:
            return SCALARS[hint]
        if hints.is_union(hint):
            return self._union(typing.get_args(hint))
        origin = typing.get_origin(hint) or hint
        if origin is typing.Literal:
            return choice(typing.get_args(hint))
        if arrays.is_array_type(origin):
            return arrays.decoder(hint)
        if isinstance(origin, type):
            return self._class(hint, origin)
        raise UnknownType(hint)

    def _constrained(self, hint: Any) -> Decoder:
        check = validated(pydantic().TypeAdapter(hint).validate_python)
        if not has_checks_only(hint):
            return check
        decode = self.compile(hints.strip(hint))  # pydantic alone takes the text "5" for the number
        return lambda value: check(decode(value))

    def _class(self, hint: Any, origin: type) -> Decoder:
        if hints.key_of(origin) in NAMED:
            return NAMED[hints.key_of(origin)](origin)
        if issubclass(origin, enum.Enum):
            return member_of(origin)
        if is_pydantic(origin):
            return validated(hint.model_validate if hasattr(hint, "model_validate") else origin.model_validate)
        if is_record(origin):
            return self._once(hint, lambda: record_decoder(origin, self._fields(hint, origin)))
        return self._container(hint, origin)

    def _once(self, hint: Any, make: Callable[[], Decoder]) -> Decoder:
        if hint not in self._named:
            self._named[hint] = lambda value: self._named[hint](value)  # noqa: PLW0108  for one that holds itself
            self._named[hint] = make()
        return self._named[hint]

    def _fields(self, hint: Any, cls: Any) -> list[Field]:
        try:
            annotations = annotations_of(hint)
        except Exception as error:  # noqa: BLE001 - the user's annotations are code
            raise UnknownType(cls, f"its annotations can't be evaluated: {error}") from None
        return [
            Field(name, hints.strip(hint := annotations.get(name, Any)), is_required, self.compile(hint))
            for name, is_required in field_names(cls, annotations)  # those of `collections.namedtuple` have no types
        ]

    def _container(self, hint: Any, origin: type) -> Decoder:
        arguments = typing.get_args(hint)
        if origin is tuple and arguments and arguments[-1] is not Ellipsis:
            return _fixed([self.compile(argument) for argument in arguments])
        build = _LIKE_LISTS.get(origin)
        if build is not None:
            return _list(self.compile(arguments[0]) if arguments else anything, build)
        if origin in _LIKE_DICTS:
            key, item = arguments or (str, Any)
            return _mapping(text_decoder(key, self.compile(key)), self.compile(item))
        raise UnknownType(hint)

    def _union(self, members: tuple[Any, ...]) -> Decoder:
        plain = {member: hints.strip(member) for member in members}
        by_type = {JSON_TYPES[kind]: self.compile(member) for member, kind in plain.items() if kind in JSON_TYPES}
        others = [self.compile(member) for member, kind in plain.items() if kind is not type(None)]
        shown = " or ".join("null" if kind is type(None) else hints.text_of(kind) for kind in plain.values())

        def decode(value: Any) -> Any:
            exact = by_type.get(type(value))
            if exact is not None:
                return exact(value)
            for attempt in others:
                try:
                    return attempt(value)
                except Mismatch as error:
                    if len(others) == 1 and error.path:
                        raise
            raise mismatch(shown, value)

        return decode


# --- collections ------------------------------------------------------------------------------------------------


def _list(item: Decoder, build: Any) -> Decoder:
    exact = EXACT.get(item)

    def decode(value: Any) -> Any:
        if type(value) is not list:
            refuse("a list", value)
        if exact is not None and exact.issuperset(map(type, value)):
            return value if build is list else build(value)
        return _built(build, _items(item, value))

    return decode


def _items(item: Decoder, value: list[Any]) -> list[Any]:
    found: list[Any] = []
    try:
        found.extend(map(item, value))
    except Mismatch as error:
        error.path.append(len(found))  # extend keeps what came before the error
        raise
    return found


def _built(build: Any, items: list[Any]) -> Any:
    try:
        return items if build is list else build(items)
    except TypeError:
        msg = "expected entries that a set can hold, got a list or an object"
        raise Mismatch(msg) from None


def _fixed(items: list[Decoder]) -> Decoder:
    def decode(value: Any) -> Any:
        if type(value) is not list:
            refuse(f"a list of {len(items)}", value)
        if len(value) != len(items):
            msg = f"expected a list of {len(items)}, got {len(value)} entries"
            raise Mismatch(msg)
        found: list[Any] = []
        for index, (item, entry) in enumerate(zip(items, value, strict=True)):
            try:
                found.append(item(entry))
            except Mismatch as error:
                error.path.append(index)
                raise
        return tuple(found)

    return decode


def _mapping(key: Decoder, item: Decoder) -> Decoder:
    def decode(value: Any) -> Any:
        if not isinstance(value, dict):
            refuse("an object", value)
        found: dict[Any, Any] = {}
        name = ""
        try:
            for name, entry in value.items():
                found[key(name)] = item(entry)
        except Mismatch as error:
            error.path.append(name)
            raise
        return found

    return decode
