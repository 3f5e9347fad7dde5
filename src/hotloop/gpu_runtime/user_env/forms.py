# pyright: basic
# The types are whatever the user wrote.
"""Read one parameter of a form or a query string: as text, as JSON, or as a file's bytes."""

from __future__ import annotations

import typing
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from hotloop.gpu_runtime.user_env import arrays, decode, hints, strict_json, texts
from hotloop.gpu_runtime.user_env.scalars import Mismatch

if TYPE_CHECKING:
    from hotloop.gpu_runtime.user_env.multipart import Part
    from hotloop.gpu_runtime.user_env.records import Field

_BINARY = (bytes, bytearray)
_ONE = "expected one value, got {}"


def without_none(hint: Any) -> Any:
    """Take None off an Optional of one type."""
    if not hints.is_union(hint):
        return hint
    members = [member for member in typing.get_args(hint) if member is not type(None)]
    return hints.strip(members[0]) if len(members) == 1 else hint


def is_binary(hint: Any) -> bool:
    """Whether a type is made of bytes as they are: bytes, or an array of numpy's."""
    return hint in _BINARY or arrays.is_numpy_type(hint)


def text_reader(field: Field) -> Callable[[list[str]], Any]:
    """Make what reads a parameter from the texts given for it: a list may be given several times."""
    item = item_of(field.hint)
    if item is not None and hints.is_scalar(item):
        read = texts.decoder(item, decode.decoder(item))
        return lambda values: _read_each(read, values)
    read_one = texts.decoder(field.hint, field.decode)
    return lambda values: read_one(_single(values))


def part_reader(field: Field) -> Callable[[list[Part]], Any]:
    """Make what reads a parameter from the parts given for it: files for bytes, text for everything else."""
    item = item_of(field.hint)
    if item is not None and is_binary(item):
        read_file = _file_reader(item)
        return lambda parts: _read_each(read_file, parts)
    hint = without_none(field.hint)
    if is_binary(hint):
        read = _file_reader(hint)
        return lambda parts: read(_single(parts))
    read_texts = text_reader(field)

    def read_parts(parts: list[Part]) -> Any:
        if any(part.type == "application/json" for part in parts):
            return field.decode(_json(_single(parts)))
        return read_texts([_text(part) for part in parts])

    return read_parts


def _file_reader(hint: Any) -> Callable[[Part], Any]:
    if hint in _BINARY:
        return lambda part: hint(part.content)
    read = arrays.decoder(hint)
    return lambda part: read(part.content if part.content.startswith(arrays.NPY_MAGIC) else _json(part))


def item_of(hint: Any) -> Any:
    """The type of a list's entries, None if it is no list of something."""
    hint = without_none(hint)
    return typing.get_args(hint)[0] if typing.get_origin(hint) is list else None


def _single(values: Sequence[Any]) -> Any:
    if len(values) > 1:
        raise Mismatch(_ONE.format(len(values)))
    return values[0]


def _read_each(read: Callable[[Any], Any], values: list[Any]) -> list[Any]:
    found: list[Any] = []
    try:
        found.extend(map(read, values))
    except Mismatch as error:
        error.path.append(len(found))
        raise
    return found


def _text(part: Part) -> str:
    try:
        return part.content.decode("utf-8")
    except UnicodeDecodeError as error:
        msg = f"expected text, byte {error.start} is not UTF-8"
        raise Mismatch(msg) from None


def _json(part: Part) -> Any:
    try:
        return strict_json.loads(_text(part))
    except (ValueError, RecursionError):
        msg = "expected JSON"
        raise Mismatch(msg) from None
