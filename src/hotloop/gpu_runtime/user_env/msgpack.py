# pyright: basic
# The values are whatever a request holds and the user's functions return.
"""MessagePack: the values that JSON has, and bytes. It says the same as the JSON of a value would, in fewer bytes.

Reading trusts no length: what a header claims is checked against what is there before anything is made of it.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any, NoReturn

from hotloop.gpu_runtime.user_env.jsonable import NotEncodable, simplify

TYPES = ("application/msgpack", "application/x-msgpack", "application/vnd.msgpack")
MAX_DEPTH = 100
MAX_VALUES = 4_000_000  # an empty map is 1 byte on the wire and 64 in memory; and it is a second or two of reading
_TIMESTAMP = -1


class Malformed(ValueError):
    """The bytes are no MessagePack, or more of it than is read."""


def unpack(body: bytes) -> Any:
    """Read one value; timestamps become text as ISO 8601 has it, keys that are numbers become text.

    Raises:
        Malformed: What is wrong, and at which byte.
    """
    reader = _Reader(body)
    value = reader.value(0)
    reader.check_is_over()
    return value


def pack(value: Any) -> bytes:
    """Write a value.

    Raises:
        NotEncodable: With the path to what can't be written.
    """
    out = bytearray()
    try:
        _write(out, value, 0)
    except _Unwritable as error:
        raise NotEncodable("result" + "".join(reversed(error.steps)), error.message) from None
    return bytes(out)


# --- reading ----------------------------------------------------------------------------------------------------


class _Reader:
    """Goes through the bytes once."""

    __slots__ = ("_at", "_data", "_num_left")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._num_left = MAX_VALUES

    def value(self, depth: int) -> Any:
        at = self._at
        try:
            first = self._data[at]
        except IndexError:
            self._refuse("it ends too early")
        self._at = at + 1
        if first < 0x80:
            return first
        if first >= 0xE0:
            return first - 0x100
        if first < 0x90:
            return self.map(first & 0x0F, depth)
        if first < 0xA0:
            return self.array(first & 0x0F, depth)
        if first < 0xC0:
            return self.text(first & 0x1F)
        return _READERS[first - 0xC0](self, depth)

    def number(self, form: struct.Struct) -> Any:
        at = self._at
        try:
            (found,) = form.unpack_from(self._data, at)
        except struct.error:
            self._refuse("it ends too early")
        self._at = at + form.size
        return found

    def text(self, length: int) -> str:
        data = self.binary(length)
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            self._at += error.start - length
            self._refuse("a string is not UTF-8")

    def binary(self, length: int) -> bytes:
        at = self._at
        if length > len(self._data) - at:
            self._refuse(f"it ends too early: {length} bytes are announced")
        self._at = at + length
        return self._data[at : at + length]

    def array(self, count: int, depth: int) -> list[Any]:
        self._announce(count, 1, depth)
        value, depth = self.value, depth + 1
        return [value(depth) for _ in range(count)]

    def map(self, count: int, depth: int) -> dict[str, Any]:
        self._announce(count, 2, depth)
        found: dict[str, Any] = {}
        for _ in range(count):
            key = self.value(depth + 1)
            if type(key) is int:
                key = str(key)
            elif type(key) is not str:
                self._refuse("a map's key is neither a string nor an integer")
            found[key] = self.value(depth + 1)
        return found

    def extension(self, length: int) -> str:
        kind = self.number(_INT8)
        data = self.binary(length)
        if kind != _TIMESTAMP or length not in {4, 8, 12}:
            self._refuse(f"extension type {kind} of {length} bytes is not understood")
        return self._time(data)

    def invalid(self) -> NoReturn:
        self._refuse("it is no MessagePack")

    def check_is_over(self) -> None:
        if self._at != len(self._data):
            self._refuse(f"{len(self._data) - self._at} bytes follow the value")

    def _time(self, data: bytes) -> str:
        import datetime as dt

        if len(data) == 12:
            nanoseconds, seconds = struct.unpack(">Iq", data)
        else:
            both = int.from_bytes(data, "big")
            nanoseconds, seconds = (both >> 34, both & 0x3_FFFF_FFFF) if len(data) == 8 else (0, both)
        epoch = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
        try:
            return (epoch + dt.timedelta(seconds=seconds, microseconds=nanoseconds // 1000)).isoformat()
        except OverflowError:
            self._refuse("a timestamp is out of range")

    def _announce(self, count: int, num_each: int, depth: int) -> None:
        """Check what a container claims to hold; a value is one byte at the least."""
        if depth >= MAX_DEPTH:
            self._refuse(f"it is nested more than {MAX_DEPTH} levels deep")
        if count * num_each > len(self._data) - self._at:
            self._refuse(f"it ends too early: {count} entries are announced")
        self._num_left -= count * num_each
        if self._num_left < 0:
            self._refuse(f"it holds more than {MAX_VALUES} values; send an array as the bytes of a .npy file")

    def _refuse(self, what: str) -> NoReturn:
        msg = f"{what} (byte {self._at})"
        raise Malformed(msg) from None


_INT8, _UINT8, _UINT16, _UINT32, _UINT64 = map(struct.Struct, (">b", ">B", ">H", ">I", ">Q"))
_INT16, _INT32, _INT64, _FLOAT32, _FLOAT64 = map(struct.Struct, (">h", ">i", ">q", ">f", ">d"))


def _plain(value: Any) -> Callable[[_Reader, int], Any]:
    return lambda reader, _: value


def _fixed(form: struct.Struct) -> Callable[[_Reader, int], Any]:
    return lambda reader, _: reader.number(form)


def _sized(form: struct.Struct, read: Callable[[_Reader, int], Any]) -> Callable[[_Reader, int], Any]:
    return lambda reader, _: read(reader, reader.number(form))


def _nested(form: struct.Struct, read: Callable[[_Reader, int, int], Any]) -> Callable[[_Reader, int], Any]:
    return lambda reader, depth: read(reader, reader.number(form), depth)


def _extension(length: int) -> Callable[[_Reader, int], Any]:
    return lambda reader, _: reader.extension(length)


# By the first byte, from 0xc0 to 0xdf, as the specification lists them.
_READERS: tuple[Callable[[_Reader, int], Any], ...] = (
    _plain(None), lambda reader, _: reader.invalid(), _plain(False), _plain(True),
    *(_sized(form, _Reader.binary) for form in (_UINT8, _UINT16, _UINT32)),
    *(_sized(form, _Reader.extension) for form in (_UINT8, _UINT16, _UINT32)),
    *map(_fixed, (_FLOAT32, _FLOAT64, _UINT8, _UINT16, _UINT32, _UINT64, _INT8, _INT16, _INT32, _INT64)),
    *map(_extension, (1, 2, 4, 8, 16)),
    *(_sized(form, _Reader.text) for form in (_UINT8, _UINT16, _UINT32)),
    *(_nested(form, _Reader.array) for form in (_UINT16, _UINT32)),
    *(_nested(form, _Reader.map) for form in (_UINT16, _UINT32)),
)  # fmt: skip


# --- writing ----------------------------------------------------------------------------------------------------


class _Unwritable(Exception):
    """A value has no form; ``steps`` lead to it, innermost first."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        self.steps: list[str] = []


def _write(out: bytearray, value: Any, depth: int) -> None:
    if value is None or value is True or value is False:
        out.append(0xC0 if value is None else 0xC3 if value else 0xC2)
    elif isinstance(value, float):
        out += b"\xcb" + _FLOAT64.pack(value)
    elif isinstance(value, int):
        out += _integer(int(value))
    elif isinstance(value, str):
        _write_text(out, value)
    elif isinstance(value, bytes | bytearray | memoryview):
        data = bytes(value)
        out += _head(len(data), 0, -1, (0xC4, 0xC5, 0xC6)) + data
    else:
        _write_nested(out, value, depth)


def _write_nested(out: bytearray, value: Any, depth: int) -> None:
    if depth >= MAX_DEPTH:
        msg = f"is more than {MAX_DEPTH} levels deep, or contains itself"
        raise _Unwritable(msg)
    if isinstance(value, list | tuple):
        _write_array(out, value, depth + 1)
    elif isinstance(value, dict):
        _write_map(out, value, depth + 1)
    else:
        try:
            simpler = simplify(value)
        except TypeError as error:
            msg = f"can't be written as MessagePack: {error}"
            raise _Unwritable(msg) from None
        _write(out, simpler, depth + 1)


def _write_array(out: bytearray, value: Any, depth: int) -> None:
    out += _head(len(value), 0x90, 15, (None, 0xDC, 0xDD))
    for index, item in enumerate(value):
        try:
            _write(out, item, depth)
        except _Unwritable as error:
            error.steps.append(f"[{index}]")
            raise


def _write_map(out: bytearray, value: dict[Any, Any], depth: int) -> None:
    out += _head(len(value), 0x80, 15, (None, 0xDE, 0xDF))
    key: Any = ""
    try:
        for key, item in value.items():
            _write_text(out, key if isinstance(key, str) else _key(key))
            _write(out, item, depth)
    except _Unwritable as error:
        error.steps.append(f".{key}" if isinstance(key, str) and key.isidentifier() else f"[{key!r:.40}]")
        raise


def _write_text(out: bytearray, value: str) -> None:
    data = str.encode(value, "utf-8", "replace")  # half of a surrogate pair is no text
    out += _head(len(data), 0xA0, 31, (0xD9, 0xDA, 0xDB)) + data


def _key(key: Any) -> str:
    """Write a key as JSON would."""
    if not isinstance(key, int | float | bool | None):
        try:
            key = simplify(key)
        except TypeError as error:
            msg = f"is no key: {error}"
            raise _Unwritable(msg) from None
    if isinstance(key, str):
        return key
    if isinstance(key, int | float | bool | None):
        return json.dumps(key)
    msg = "is no key: a key is a string or a number"
    raise _Unwritable(msg)


def _integer(value: int) -> bytes:
    if -0x20 <= value < 0x80:
        return _INT8.pack(value)
    for code, form, low, high in _INTEGERS:
        if low <= value <= high:
            return bytes((code,)) + form.pack(value)
    msg = "is an integer of more than 64 bits: return it as a string"
    raise _Unwritable(msg)


_INTEGERS = (
    (0xCC, _UINT8, 0, 0xFF),
    (0xCD, _UINT16, 0, 0xFFFF),
    (0xCE, _UINT32, 0, 0xFFFF_FFFF),
    (0xCF, _UINT64, 0, 0xFFFF_FFFF_FFFF_FFFF),
    (0xD0, _INT8, -0x80, 0),
    (0xD1, _INT16, -0x8000, 0),
    (0xD2, _INT32, -0x8000_0000, 0),
    (0xD3, _INT64, -0x8000_0000_0000_0000, 0),
)


def _head(length: int, fixed: int, max_fixed: int, codes: tuple[int | None, int, int]) -> bytes:
    """Write how much follows, in as few bytes as it can be."""
    if length <= max_fixed:
        return bytes((fixed | length,))
    one, two, four = codes
    if one is not None and length < 0x100:
        return bytes((one, length))
    if length < 0x1_0000:
        return bytes((two,)) + _UINT16.pack(length)
    return bytes((four,)) + _UINT32.pack(length)
