# pyright: basic
# The arguments are whatever the user calls an endpoint with.
"""From an endpoint's arguments to the bytes of a request. Knows no socket.

Arguments go as one JSON object. Where exactly one of them is bytes or an array and the others are single words, it is
the body as it is and the others are the query: nothing is copied into text.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

from hotloop.frozen import frozen
from hotloop.gpu_runtime.user_env import arrays, jsonable
from hotloop.gpu_runtime.user_env.client.address import Address
from hotloop.gpu_runtime.user_env.scalars import written_member

PROBE_HEADER = "x-hotloop-probe"  # marks requests of hotloop's own
JSON = "application/json"
OCTETS = "application/octet-stream"
ACCEPT = f"{JSON}, application/x-ndjson"
ACCEPT_ARRAY = f"{arrays.NPY}, {ACCEPT}"
_BODILESS = frozenset({"GET", "HEAD", "DELETE"})
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+: [^\r\n\0]*")


@frozen
class Content:
    """What a request carries.

    Attributes:
        query: Without the question mark.
        is_raw: Whether the body is one argument as it is.
    """

    type: str
    query: str
    body: bytes
    is_raw: bool = False


def encode(method: str, arguments: Mapping[str, Any], *, can_be_raw: bool) -> Content:
    """Write an endpoint's arguments.

    Args:
        method: GET, HEAD and DELETE carry them in the query.
        arguments: By parameter.
        can_be_raw: False if the endpoint takes JSON only.

    Raises:
        TypeError: An argument has no form in JSON, or none in a query.
    """
    if method in _BODILESS:
        return Content("", urlencode(list(_pairs(arguments))), b"")
    raw = _raw_argument(arguments) if can_be_raw else ""
    if raw:
        rest = {name: value for name, value in arguments.items() if name != raw}
        kind, body = _raw_body(arguments[raw])
        return Content(kind, urlencode(list(_pairs(rest))), body, is_raw=True)
    try:
        return Content(JSON, "", jsonable.dumps(arguments if type(arguments) is dict else dict(arguments)))
    except jsonable.NotEncodable as error:
        where = error.where.removeprefix("result").removeprefix(".") or "the arguments"
        msg = f"{where} {error.message}"
        raise TypeError(msg) from None


def write(address: Address, method: str, path: str, content: Content, headers: Iterable[str]) -> bytes:
    """Write a whole request.

    Args:
        address: Where the server is.
        method: Upper case.
        path: As the endpoint has it.
        content: What the request carries.
        headers: Lines such as ``accept: */*``, checked by `header`.
    """
    target = address.target(f"{path}?{content.query}" if content.query else path)
    lines = [f"{method} {target} HTTP/1.1", f"host: {address.authority}", *headers]
    if address.proxy is not None and address.proxy.authorization and not address.is_tls:
        lines.append(f"proxy-authorization: {address.proxy.authorization}")
    if content.type:
        lines.append(f"content-type: {content.type}")
    if content.body or method not in _BODILESS:
        lines.append(f"content-length: {len(content.body)}")
    return "\r\n".join((*lines, "", "")).encode("latin-1") + content.body


def header(name: str, value: str) -> str:
    """Write a header of the user's.

    Raises:
        ValueError: It can't be one; its value is not shown, for it may be a key.
    """
    line = f"{name.lower()}: {value}"
    try:
        line.encode("latin-1")
    except UnicodeEncodeError:
        line = ""
    if not _HEADER.fullmatch(line):
        msg = f"the header {name!r} holds what no header can: a line break, or a character outside of Latin-1"
        raise ValueError(msg)
    return line


def _raw_argument(arguments: Mapping[str, Any]) -> str:
    """Name the one argument that can be the body; empty if there is none, or more than one."""
    found = ""
    for name, value in arguments.items():
        if isinstance(value, str | int | float):
            continue
        is_raw = isinstance(value, bytes | bytearray | memoryview) or arrays.can_be_npy(value)
        if found or not is_raw:
            return ""
        found = name
    return found


def _raw_body(value: Any) -> tuple[str, bytes]:
    if isinstance(value, bytes | bytearray | memoryview):
        return OCTETS, bytes(value)
    return arrays.NPY, arrays.to_npy(arrays.as_numpy(value))


def _pairs(arguments: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    for name, value in arguments.items():
        for item in value if isinstance(value, list | tuple) else [value]:
            yield name, _word(name, item)


def _word(name: str, value: Any) -> str:
    if isinstance(value, enum.Enum):  # also one that is a text or a number: `str` of it is the member's name
        value = written_member(value)
    simple = value if isinstance(value, str | int | float) else _simplified(name, value)
    if isinstance(simple, bool):
        return "true" if simple else "false"
    if isinstance(simple, str | int | float):
        return str(simple)
    msg = f"{name!r} is a {type(value).__name__}, which does not fit into a query"
    raise TypeError(msg)


def _simplified(name: str, value: Any) -> Any:
    try:
        return jsonable.plain(value, name)
    except jsonable.NotEncodable as error:
        raise TypeError(str(error)) from None
