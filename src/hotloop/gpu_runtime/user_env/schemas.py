# pyright: basic
# The types are whatever the user wrote; pydantic is the user's, if anyone's.
"""What values a type annotation takes, as JSON Schema (2020-12, as OpenAPI 3.1 has it). Says what `decode` does."""

from __future__ import annotations

import collections.abc
import enum
import re
import typing
from collections.abc import Callable
from typing import Any, Literal

from hotloop.gpu_runtime.user_env import arrays, hints, records
from hotloop.gpu_runtime.user_env.scalars import DECIMAL_PATTERN, written_choice, written_member
from hotloop.gpu_runtime.user_env.validators import has_constraints, is_pydantic, pydantic

Schema = dict[str, Any]
Mode = Literal["validation", "serialization"]  # pydantic's words: what is read, what is written

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]")
_BASE64: Schema = {
    "type": "string",
    "contentEncoding": "base64",
    "pattern": "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$",
}
_PLAIN: dict[Any, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
    bytes: _BASE64,
    bytearray: _BASE64,
    memoryview: _BASE64,
    Any: {},
    object: {},
}
_NAMED: dict[tuple[str, str], Schema] = {
    ("datetime", "datetime"): {"type": "string", "format": "date-time"},
    ("datetime", "date"): {"type": "string", "format": "date"},
    ("datetime", "time"): {"type": "string", "format": "time"},
    ("datetime", "timedelta"): {
        "type": "number",
        "minimum": -86_399_999_913_600,  # `timedelta.min` and `timedelta.max`
        "maximum": 86_399_999_999_999,
        "description": "Seconds.",
    },
    ("uuid", "UUID"): {"type": "string", "format": "uuid"},
    ("decimal", "Decimal"): {
        "anyOf": [
            {"type": "string", "pattern": DECIMAL_PATTERN},
            {"type": "number"},
        ],  # some readers know no list of types
        "description": "A decimal number; text keeps it exact.",
    },
}
_LISTS = frozenset({
    list, tuple, set, frozenset, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection,
    collections.abc.Set,
})  # fmt: skip
_DICTS = frozenset({dict, collections.abc.Mapping, collections.abc.MutableMapping})


class Schemas:
    """Makes schemas; classes are described once and referred to.

    Attributes:
        components: The classes' schemas by name, for ``#/components/schemas``.
    """

    def __init__(self) -> None:
        self.components: dict[str, Schema] = {}
        self._names: dict[Any, str] = {}

    def of(self, hint: Any, mode: Mode = "validation") -> Schema:
        """Describe a type; one that can't be described takes anything, as far as the schema knows."""
        try:
            return self._of(hint, mode)
        except Exception:  # noqa: BLE001 - annotations and pydantic's hooks are code of the user's
            return {}

    def add(self, name: str, schema: Schema) -> Schema:
        """Keep a schema under a name that is free, and give the reference to it."""
        name = self._free(name)
        self.components[name] = schema
        return _reference(name)

    def _of(self, hint: Any, mode: Mode) -> Schema:
        if hints.is_alias(hint):
            return self._alias(hint, mode)
        if has_constraints(hint):
            return self._foreign(mode, pydantic().TypeAdapter(hint).json_schema)
        hint = hints.strip(hint)
        if isinstance(hint, typing.Hashable) and hint in _PLAIN:
            return dict(_PLAIN[hint])
        if hints.is_union(hint):
            return {"anyOf": [self.of(member, mode) for member in typing.get_args(hint)]}
        origin = typing.get_origin(hint) or hint
        if origin is typing.Literal:
            return {"enum": [written_choice(value) for value in typing.get_args(hint)]}
        if arrays.is_array_type(origin):
            return self._array(hint)
        return self._class(hint, origin, mode) if isinstance(origin, type) else {}

    def _alias(self, hint: Any, mode: Mode) -> Schema:
        """Describe what it stands for: where that may hold the alias itself, under its name."""
        value = hints.value_of_alias(hint)
        is_open = hints.is_union(value) or typing.get_origin(value) in {tuple, *_LISTS, *_DICTS}
        return self._once(hint, mode, lambda: self._of(value, mode)) if is_open else self._of(value, mode)

    def _class(self, hint: Any, origin: Any, mode: Mode) -> Schema:
        named = _NAMED.get(hints.key_of(origin))
        if named is not None:
            return dict(named)
        if issubclass(origin, enum.Enum):
            return self._once(origin, mode, lambda: {"enum": [written_member(member) for member in origin]})
        if is_pydantic(origin):
            model = hint if hasattr(hint, "model_json_schema") else origin
            return self._foreign(mode, model.model_json_schema)
        if records.is_named_tuple(origin):
            return self._once(hint, mode, lambda: self._named_tuple(hint, origin, mode))
        if records.is_record(origin):
            return self._once(hint, mode, lambda: self._record(hint, origin, mode))
        return self._container(origin, typing.get_args(hint), mode)

    def _record(self, hint: Any, cls: Any, mode: Mode) -> Schema:
        annotations = records.annotations_of(hint)
        fields = dict(records.field_names(cls, annotations))
        names = list(fields) if mode == "validation" else records.written_names(cls, annotations)
        schema = object_of(
            {name: self.of(annotations.get(name, Any), mode) for name in names},
            [name for name in names if fields.get(name, True)],
        )
        return schema | ({"description": cls.__doc__.strip()} if _has_own_text(cls) else {})

    def _named_tuple(self, hint: Any, cls: Any, mode: Mode) -> Schema:
        """Describe one: read from an object or a list, written as a list."""
        annotations = records.annotations_of(hint)
        names = records.field_names(cls, annotations)
        values = [self.of(annotations.get(name, Any), mode) for name, _ in names]
        least = sum(is_required for _, is_required in names) if mode == "validation" else len(names)
        entries = _tuple_of(values, least)
        return entries if mode == "serialization" else {"anyOf": [self._record(hint, cls, mode), entries]}

    def _container(self, origin: Any, arguments: tuple[Any, ...], mode: Mode) -> Schema:
        if origin is tuple and arguments and arguments[-1] is not Ellipsis:
            return _tuple_of([self.of(argument, mode) for argument in arguments], len(arguments))
        if origin in _LISTS:
            return {"type": "array", "items": self.of(arguments[0], mode) if arguments else {}}
        if origin in _DICTS:
            key, item = arguments or (str, Any)
            return {"type": "object", "additionalProperties": self.of(item, mode)} | _keys(key)
        return {}

    def _array(self, hint: Any) -> Schema:
        name = self._names.get("numbers")
        if name is None:
            name = self._names["numbers"] = self._free("NestedNumbers")
            lists: Schema = {"type": "array", "items": _reference(name)}
            self.components[name] = {"anyOf": [{"type": "number"}, {"type": "boolean"}, lists]}
        dtype = arrays.dtype_of(hint) if arrays.is_numpy_type(hint) else None
        text = f"Nested lists of one shape{'' if dtype is None else f', read as {dtype}'}."
        return _reference(name) | {"description": text}

    def _once(self, cls: Any, mode: Mode, make: Callable[[], Schema]) -> Schema:
        """Describe a class or an alias when it is met first, for each mode if they differ; it may hold itself."""
        differs = mode == "serialization" and _is_written_otherwise(cls, set())
        key = (cls, "Output" if differs else "")
        if key not in self._names:
            arguments = map(hints.text_of, typing.get_args(cls))
            name = self._names[key] = self._free("_".join([cls.__name__, *arguments]) + key[1])
            self.components[name] = {}
            self.components[name] = make()
        return _reference(self._names[key])

    def _foreign(self, mode: Mode, make: Callable[..., Schema]) -> Schema:
        """Take in a schema of pydantic's with the classes it defines, under names that mean nothing else here."""
        for number in range(1, 1000):
            suffix = ("" if mode == "validation" else "Output") + ("" if number == 1 else str(number))
            schema = make(ref_template=f"#/components/schemas/{{model}}{suffix}", mode=mode)
            defined = {f"{name}{suffix}": value for name, value in schema.pop("$defs", {}).items()}
            if all(self.components.get(name, value) == value for name, value in defined.items()):
                self.components.update(defined)
                return schema
        return {}

    def _free(self, name: str) -> str:
        name = _NOT_IN_NAMES.sub("_", name)
        free, number = name, 2
        while free in self.components:
            free, number = f"{name}{number}", number + 1
        return free


def object_of(properties: dict[str, Schema], required: list[str]) -> Schema:
    """Describe an object that has these properties and no others."""
    schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return schema | ({"required": required} if required else {})


def _tuple_of(entries: list[Schema], least: int) -> Schema:
    """Describe a list whose entries have a type each, of which some may be left out at the end."""
    count = len(entries)
    if not count:
        return {"type": "array", "maxItems": 0}
    return {"type": "array", "prefixItems": entries, "items": False, "minItems": least, "maxItems": count}


def _keys(hint: Any) -> Schema:
    """Describe an object's names where they are not any text."""
    hint = hints.strip(hint)
    if hint is int:
        return {"propertyNames": {"pattern": "^-?[0-9]+$"}}
    if typing.get_origin(hint) is typing.Literal:
        return {"propertyNames": {"enum": [str(written_choice(value)) for value in typing.get_args(hint)]}}
    return {}


def _is_written_otherwise(hint: Any, seen: set[Any]) -> bool:
    """Whether values of a type are written in another way than they are read."""
    if hints.is_alias(hint):
        if hint in seen:
            return False
        seen.add(hint)
    hint = hints.strip(hint)
    if id(hint) in seen:
        return False
    seen.add(id(hint))
    origin = typing.get_origin(hint) or hint
    if not isinstance(origin, type):
        return any(_is_written_otherwise(member, seen) for member in typing.get_args(hint) if hints.is_union(hint))
    if records.is_named_tuple(origin) or is_pydantic(origin):
        return True
    parts = typing.get_args(hint)
    if records.is_record(origin):
        annotations = records.annotations_of(hint)
        if [name for name, _ in records.field_names(origin, annotations)] != records.written_names(origin, annotations):
            return True
        parts = (*parts, *annotations.values())
    return any(_is_written_otherwise(part, seen) for part in parts)


def _has_own_text(cls: Any) -> bool:
    text = cls.__dict__.get("__doc__")
    return isinstance(text, str) and not text.startswith(f"{cls.__name__}(")  # what dataclass writes by itself


def _reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}
