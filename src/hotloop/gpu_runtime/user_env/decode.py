# pyright: basic
# The values here are whatever a request held, and the types whatever the user wrote.
"""Turn JSON values into the types that an endpoint's annotations name.

`decoder` does the thinking once, when the app is checked; the closures it gives are what runs for each request.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import sys
import typing
from collections.abc import Callable, Iterable
from typing import Any

from hotloop.gpu_runtime.user_env import arrays, hints
from hotloop.gpu_runtime.user_env.hints import UnknownType
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


@dataclasses.dataclass(frozen=True, slots=True)
class Field:
    """One named value in an object."""

    name: str
    hint: Any
    is_required: bool
    decode: Decoder


def decoder(hint: Any) -> Decoder:
    """Make the function that turns a JSON value into a type, raising `Mismatch` if it can't.

    Raises:
        UnknownType: No JSON value makes this type.
    """
    return _Compiler().compile(hint)


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


class _Compiler:
    """Makes one decoder; remembers the classes on the way, since a class may hold itself."""

    def __init__(self) -> None:
        self._classes: dict[Any, Decoder] = {}

    def compile(self, hint: Any) -> Decoder:
        if _has_constraints(hint):
            return _validated(_pydantic().TypeAdapter(hint).validate_python)
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

    def _class(self, hint: Any, origin: type) -> Decoder:
        if hints.key_of(origin) in NAMED:
            return NAMED[hints.key_of(origin)](origin)
        if issubclass(origin, enum.Enum):
            return member_of(origin)
        if _is_pydantic(origin):
            return _validated(hint.model_validate if hasattr(hint, "model_validate") else origin.model_validate)
        if _is_record(origin):
            return self._record(origin)
        return self._container(hint, origin)

    def _record(self, cls: Any) -> Decoder:
        if cls not in self._classes:
            self._classes[cls] = lambda value: self._classes[cls](value)  # noqa: PLW0108  for a class that holds itself
            self._classes[cls] = _record_decoder(cls, self._fields(cls))
        return self._classes[cls]

    def _fields(self, cls: Any) -> list[Field]:
        try:
            annotations = typing.get_type_hints(cls, include_extras=True)
        except Exception as error:  # noqa: BLE001 - the user's annotations are code
            raise UnknownType(cls, f"its annotations can't be evaluated: {error}") from None
        return [
            Field(name, hints.strip(annotations[name]), is_required, self.compile(annotations[name]))
            for name, is_required in _field_names(cls, annotations)
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
        members = tuple(hints.strip(member) for member in members)
        by_type = {JSON_TYPES[member]: self.compile(member) for member in members if member in JSON_TYPES}
        others = [self.compile(member) for member in members if member is not type(None)]
        shown = " or ".join("null" if member is type(None) else hints.text_of(member) for member in members)

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


# --- records: dataclasses, TypedDicts, named tuples -------------------------------------------------------------


def _is_record(cls: Any) -> bool:
    return dataclasses.is_dataclass(cls) or _is_typed_dict(cls) or _is_named_tuple(cls)


def _is_typed_dict(cls: Any) -> bool:
    return issubclass(cls, dict) and hasattr(cls, "__required_keys__")  # typing's or typing_extensions'


def _is_named_tuple(cls: Any) -> bool:
    return issubclass(cls, tuple) and hasattr(cls, "_field_defaults")


def _field_names(cls: Any, annotations: dict[str, Any]) -> list[tuple[str, bool]]:
    """List the fields and whether each is required."""
    if dataclasses.is_dataclass(cls):
        missing = dataclasses.MISSING
        return [
            (field.name, field.default is missing and field.default_factory is missing)
            for field in dataclasses.fields(cls)
            if field.init
        ]
    if _is_named_tuple(cls):
        return [(name, name not in cls._field_defaults) for name in cls._fields]
    return [(name, _is_required_key(cls, name, hint)) for name, hint in annotations.items()]


def _is_required_key(cls: Any, name: str, hint: Any) -> bool:
    # __required_keys__ is wrong for annotations kept as text (from __future__ import annotations), so look first.
    origin = getattr(typing.get_origin(hint), "_name", "")
    return origin == "Required" or (origin != "NotRequired" and name in cls.__required_keys__)


def _record_decoder(cls: Any, fields: list[Field]) -> Decoder:
    decode = object_decoder(fields)
    if _is_typed_dict(cls):
        return decode
    names = [field.name for field in fields]
    is_named_tuple = _is_named_tuple(cls)

    def build(value: Any) -> Any:
        if is_named_tuple and type(value) is list and len(value) <= len(names):
            value = dict(zip(names, value, strict=False))  # JSON writes a named tuple as a list
        found = decode(value)
        try:
            return cls(**found)
        except ValueError as error:  # from __post_init__: the user's own check of the value
            raise Mismatch(_first_line(error)) from error

    return build


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


# --- pydantic, if the user has it -------------------------------------------------------------------------------


def _pydantic() -> Any:
    return sys.modules.get("pydantic")


def _is_pydantic(cls: type) -> bool:
    return _pydantic() is not None and issubclass(cls, _pydantic().BaseModel)


def _has_constraints(hint: Any) -> bool:
    """Whether an Annotated type carries checks that only pydantic can make, such as ``Field(ge=0)``."""
    packages = {type(extra).__module__.partition(".")[0] for extra in getattr(hint, "__metadata__", ())}
    return _pydantic() is not None and not packages.isdisjoint({"pydantic", "annotated_types"})


def _validated(validate: Callable[[Any], Any]) -> Decoder:
    def decode(value: Any) -> Any:
        try:
            return validate(value)
        except ValueError as error:  # pydantic's ValidationError is one
            raise _first_mismatch(error) from error

    return decode


def _first_mismatch(error: Any) -> Mismatch:
    details = error.errors(include_url=False) if hasattr(error, "errors") else []
    if not details:
        return Mismatch(_first_line(error))
    first = details[0]
    message = first["msg"][:1].lower() + first["msg"][1:]
    return Mismatch(message, *reversed(first["loc"]))


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
