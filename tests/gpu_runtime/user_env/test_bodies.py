"""Bodies that are neither JSON nor a query: MessagePack and forms with files, from request to arguments and back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from hotloop.gpu_runtime.user_env import msgpack
from hotloop.gpu_runtime.user_env.hints import REQUIRED
from hotloop.gpu_runtime.user_env.resolve import RequestParameter
from hotloop.gpu_runtime.user_env.values import BadRequest, RequestDecoder, encode

FORM = "multipart/form-data; boundary=XX"


@dataclass
class Box:
    left: int
    name: str = "box"


def decoded(body: bytes, content_type: str, **hints: Any) -> dict[str, Any]:
    decoder = RequestDecoder(RequestParameter(name, hint, REQUIRED) for name, hint in hints.items())
    return decoder.decode({"type": content_type, "query": ""}, body)


def form(*parts: tuple[str, str, bytes]) -> bytes:
    heads = [f'--XX\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n' for name, more, _ in parts]
    pieces = [head.encode() + content + b"\r\n" for head, (_, _, content) in zip(heads, parts, strict=True)]
    return b"".join(pieces) + b"--XX--\r\n"


@pytest.mark.parametrize("content_type", [*msgpack.TYPES, "Application/MsgPack; charset=x"])
def test_arguments_come_as_messagepack(content_type: str):
    given = {"image": b"\x00\xff", "box": {"left": 3}, "tags": ["a"]}

    found = decoded(msgpack.pack(given), content_type, image=bytes, box=Box, tags=list[str])

    assert found == {"image": b"\x00\xff", "box": Box(3), "tags": ["a"]}


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"\xc1", 400, "body: not MessagePack: it is no MessagePack (byte 1)"),
        (b"\x90", 422, "body: expected an object, got an empty list"),
        (msgpack.pack({"count": b"12"}), 422, "count: expected an integer, got 2 bytes"),
        (msgpack.pack({}), 422, "count: missing, expected int"),
    ],
)
def test_messagepack_that_is_not_taken_says_why(body: bytes, status: int, message: str):
    with pytest.raises(BadRequest) as caught:
        decoded(body, "application/msgpack", count=int)

    assert (caught.value.status, caught.value.message) == (status, message)


def test_a_form_carries_files_text_lists_and_json():
    body = form(
        ("images", '; filename="a.png"\r\nContent-Type: image/png', b"\x89a"),
        ("images", '; filename="b.png"', b"--X\r\n"),
        ("count", "", b"3"),
        ("box", "\r\nContent-Type: application/json", b'{"left": 1}'),
        ("tags", "", b"x"),
        ("tags", "", b"y"),
    )

    found = decoded(body, FORM, images=list[bytes], count=int, box=Box, tags=list[str])

    assert found == {"images": [b"\x89a", b"--X\r\n"], "count": 3, "box": Box(1), "tags": ["x", "y"]}


def test_a_form_to_an_endpoint_of_one_bytes_parameter_is_no_raw_body():
    assert decoded(form(("image", "", b"\x00")), FORM, image=bytes | None) == {"image": b"\x00"}


def test_a_file_is_text_where_text_is_asked_for():
    assert decoded(form(("text", '; filename="a.txt"', "é".encode())), FORM, text=str) == {"text": "é"}


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"nothing", 400, "body: not multipart/form-data: it does not begin with the boundary that Content-Type names"),
        (form(("count", "", b"a")), 422, 'count: expected an integer, got "a"'),
        (form(("count", "", b"\xff")), 422, "count: expected text, byte 0 is not UTF-8"),
        (form(("count", "", b"1"), ("count", "", b"2")), 422, "count: expected one value, got 2"),
        (form(("count", "\r\nContent-Type: application/json", b"{")), 422, "count: expected JSON"),
        (form(("cuont", "", b"1")), 422, "cuont: unknown field, did you mean 'count'?"),
    ],
)
def test_a_form_that_is_not_taken_says_why(body: bytes, status: int, message: str):
    with pytest.raises(BadRequest) as caught:
        decoded(body, FORM, count=int)

    assert (caught.value.status, caught.value.message) == (status, message)


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("application/msgpack", "application/msgpack"),
        ("application/x-msgpack", "application/x-msgpack"),
        ("application/msgpack, application/json;q=0.5", "application/msgpack"),
        ("application/json, application/msgpack", "application/json"),
        ("*/*", "application/json"),
        ("text/msgpack", "application/json"),
    ],
)
def test_an_answer_is_messagepack_if_that_is_preferred(accept: str, kind: str):
    value = {"a": [1, None]}

    found, body = encode(value, accept)

    assert found == kind
    assert (json.loads(body) if kind == "application/json" else msgpack.unpack(body)) == value
