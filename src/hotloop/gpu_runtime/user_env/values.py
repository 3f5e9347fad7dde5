# pyright: basic
# The values are whatever a request holds and the user's functions return.
"""From a request to an endpoint's arguments, and from its result to a response.

A request is an object by parameter name, in JSON or MessagePack, a query string or a form, with files or without; if
exactly one parameter is bytes or a numpy array, the body may be that parameter itself, and the others come from the
query string. A result is written as JSON, bytes as they are, and as MessagePack or an array in numpy's own format for a
client that asks for it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hotloop.gpu_runtime.user_env import arrays, decode, forms, jsonable, msgpack, multipart, records, strict_json
from hotloop.gpu_runtime.user_env.scalars import Mismatch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hotloop.gpu_runtime.user_env.resolve import RequestParameter

JSON = "application/json"
OCTETS = "application/octet-stream"
FORM = "application/x-www-form-urlencoded"
TEXT = "text/plain"
_ANYTHING = frozenset({"", "*/*", JSON})
_BYTES = (bytes, bytearray, memoryview)
_NEVER_RAW = frozenset({JSON, multipart.TYPE, *msgpack.TYPES})


class BadRequest(Exception):
    """A request is not what its endpoint takes.

    Attributes:
        status: 400 malformed, 415 a content type that is not understood, 422 well-formed but wrong.
        message: What was expected where, and what came.
        where: The path to the value, such as ``text[2].name``; empty for the whole body.
    """

    def __init__(self, status: int, message: str, where: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.where = where


class RequestDecoder:
    """Turns an endpoint's requests into arguments. Made once an endpoint; the work an annotation asks for is done then."""

    def __init__(self, parameters: Iterable[RequestParameter]) -> None:
        fields = [records.Field(p.name, p.hint, p.is_required, decode.decoder(p.hint)) for p in parameters]
        self._required = records.required_of(fields)
        self._decode = records.fields_decoder({field.name: field.decode for field in fields})
        self._texts = {field.name: forms.text_reader(field) for field in fields}
        self._parts = {field.name: forms.part_reader(field) for field in fields}
        self._raw = _raw_field(fields)
        self._text = fields[0].name if len(fields) == 1 and fields[0].hint is str else ""

    def decode(self, header: dict[str, Any], body: bytes | memoryview) -> dict[str, Any]:
        """Give the arguments of one request.

        Args:
            header: The item of a call frame: ``type`` (the content type) and ``query`` are looked at.
            body: Its body.

        Raises:
            BadRequest: The request is not what the endpoint takes.
        """
        try:
            query = header.get("query")
            kind = header.get("type") or ""
            found = self._from_body(kind, body) if body else self._from_nothing(kind)
            if query:
                found = _merged(found, self._from_query(query))
            records.require(self._required, found)
        except Mismatch as error:
            where = error.where
            raise BadRequest(422, f"{where or 'body'}: {error.message}", where) from None
        return found

    def decode_alike(
        self, header: dict[str, Any], sizes: Iterable[int], payload: bytes | memoryview
    ) -> list[dict[str, Any]] | None:
        """Give the arguments of requests that differ in their bodies only, if these are JSON and nothing is wrong.

        Args:
            header: As for `decode`, of all of them.
            sizes: How many bytes each body has.
            payload: The bodies.

        Returns:
            None if they have to be looked at one by one, with `decode`.
        """
        if header.get("type") != JSON or header.get("query"):
            return None
        found: list[dict[str, Any]] = []
        start = 0
        try:
            for size in sizes:
                end = start + size
                arguments = self._decode(strict_json.loads_bytes(bytes(payload[start:end])))
                records.require(self._required, arguments)
                found.append(arguments)
                start = end
        except Exception:  # noqa: BLE001 - a validator of the user's raised, or it is no JSON
            return None
        return found

    def _from_body(self, content_type: str, body: bytes | memoryview) -> dict[str, Any]:
        kind = content_type.partition(";")[0].strip().lower()
        if self._raw is not None and kind not in _NEVER_RAW and not kind.endswith("+json"):
            found = self._raw(kind, body)
            if found is not None:
                return found
        body = bytes(body)
        if kind == JSON or kind.endswith("+json"):
            return self._decode(_parsed(body))
        if kind in msgpack.TYPES:
            return self._decode(_unpacked(body))
        if kind == multipart.TYPE:
            return self._from_parts(content_type, body)
        if kind == FORM and not body.lstrip().startswith(b"{"):  # curl -d '{...}' says it is a form
            return self._from_query(body.decode("utf-8", "replace"))
        if kind == TEXT and self._text:
            return {self._text: _decoded_text(body)}
        if kind in {"", TEXT, FORM}:
            return self._decode(_parsed(body))
        raise BadRequest(415, f"body: expected {JSON}, got {kind}")

    def _from_nothing(self, content_type: str) -> dict[str, Any]:
        """Read an empty body: no bytes if it is said to be bytes, else none at all."""
        if self._raw is None or content_type.partition(";")[0].strip().lower() != OCTETS:
            return {}
        return self._raw(OCTETS, b"") or {}

    def _from_query(self, query: str) -> dict[str, Any]:
        from urllib.parse import parse_qsl

        return _read_all(self._texts, parse_qsl(query, keep_blank_values=True))

    def _from_parts(self, content_type: str, body: bytes) -> dict[str, Any]:
        try:
            parts = multipart.parse(content_type, body)
        except multipart.Malformed as error:
            raise BadRequest(400, f"body: not {multipart.TYPE}: {error}") from None
        return _read_all(self._parts, [(part.name, part) for part in parts])


def encode(value: Any, accept: str = "") -> tuple[str, bytes]:
    """Write a result.

    Args:
        value: What an endpoint returned.
        accept: The request's Accept header.

    Returns:
        The content type and the body.

    Raises:
        jsonable.NotEncodable: Part of it has no form in JSON.
    """
    if isinstance(value, _BYTES):
        return OCTETS, bytes(value)
    if accept in _ANYTHING:
        return JSON, jsonable.dumps(value)
    if arrays.NPY in accept and arrays.can_be_npy(value):
        return arrays.NPY, arrays.to_npy(arrays.as_numpy(value))
    if (packed := _asks_for_msgpack(accept)) is not None:
        return packed, msgpack.pack(value)
    if isinstance(value, str) and TEXT in accept and JSON not in accept:
        return f"{TEXT}; charset=utf-8", value.encode("utf-8", "replace")
    return JSON, jsonable.dumps(value)


def takes_json(accept: str) -> bool:
    """Whether `encode` writes lists as JSON for a client."""
    return accept in _ANYTHING or _asks_for_msgpack(accept) is None


def encode_alike(entries: list[Any], accept: str) -> list[bytes] | None:
    """Write results as JSON, if that is what all of them are written as; None if one of them needs a closer look."""
    if accept not in _ANYTHING or any([isinstance(entry, _BYTES) for entry in entries]):  # noqa: C419  a list is quicker
        return None
    try:
        return [jsonable.dumps_plainly(entry) for entry in entries]
    except Exception:  # noqa: BLE001 - `encode` says whose it is
        return None


def _asks_for_msgpack(accept: str) -> str | None:
    """Which name of MessagePack a client prefers to JSON."""
    if "msgpack" not in accept:
        return None
    named = next((kind for kind in msgpack.TYPES if kind in accept), None)
    return None if named is None or 0 <= accept.find(JSON) < accept.find(named) else named


def _read_all(readers: dict[str, Callable[[list[Any]], Any]], pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Read what was given by name, each maybe several times."""
    given: dict[str, list[Any]] = {}
    for name, value in pairs:
        given.setdefault(name, []).append(value)
    found: dict[str, Any] = {}
    for name, values in given.items():
        try:
            if name not in readers:
                raise records.unknown_field(name, readers)
            found[name] = readers[name](values)
        except Mismatch as error:
            error.path.append(name)
            raise
    return found


def _unpacked(body: bytes) -> Any:
    try:
        return msgpack.unpack(body)
    except msgpack.Malformed as error:
        raise BadRequest(400, f"body: not MessagePack: {error}") from None


def _parsed(body: bytes) -> Any:
    try:
        return strict_json.loads_bytes(body)
    except json.JSONDecodeError as error:
        msg = f"body: not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        raise BadRequest(400, msg) from None
    except UnicodeDecodeError as error:
        raise BadRequest(400, f"body: not JSON: byte {error.start} is not UTF-8") from None
    except RecursionError:
        raise BadRequest(400, "body: not JSON: nested too deep") from None
    except ValueError as error:  # NaN, or a number that is too large
        raise BadRequest(400, f"body: not JSON: {error}") from None


def _decoded_text(body: bytes) -> str:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRequest(400, f"body: byte {error.start} is not UTF-8") from None


def _merged(from_body: dict[str, Any], from_query: dict[str, Any]) -> dict[str, Any]:
    for name in from_query:
        if name in from_body:
            msg = "given in the query string and in the body"
            raise Mismatch(msg, name)
    return {**from_body, **from_query}


def _raw_field(fields: list[records.Field]) -> Callable[[str, bytes | memoryview], dict[str, Any] | None] | None:
    """Make what reads the body as the one parameter that is bytes or an array; None if there isn't exactly one."""
    raw = [(field.name, forms.without_none(field.hint)) for field in fields]
    raw = [(name, hint) for name, hint in raw if forms.is_binary(hint)]
    if len(raw) != 1:
        return None
    name, hint = raw[0]
    if hint in (bytes, bytearray):
        return lambda _, body: {name: hint(body)}
    dtype = arrays.dtype_of(hint)

    def read_array(kind: str, body: bytes | memoryview) -> dict[str, Any] | None:
        if kind != arrays.NPY and body[: len(arrays.NPY_MAGIC)] != arrays.NPY_MAGIC:
            return None
        try:
            return {name: arrays.from_npy(body, dtype)}
        except Mismatch as error:
            error.path.append(name)
            raise

    return read_array
