"""Forms with files: what clients send, what is refused, and the law that contents come out as they went in."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotloop.gpu_runtime.user_env import multipart
from hotloop.gpu_runtime.user_env.multipart import Malformed, Part, parse

TYPE = "multipart/form-data; boundary=XX"


def form(*parts: tuple[str, bytes]) -> bytes:
    return (
        b"".join(b"--XX\r\n" + head.encode() + b"\r\n\r\n" + content + b"\r\n" for head, content in parts) + b"--XX--"
    )


def field(name: str, content: bytes, more: str = "") -> tuple[str, bytes]:
    return f'Content-Disposition: form-data; name="{name}"{more}', content


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_contents_come_out_as_they_went_in(contents: list[bytes]):
    body = form(*(field(f"f{index}", content) for index, content in enumerate(contents)))
    wanted = [Part(f"f{index}", None, "", content) for index, content in enumerate(contents)]

    found = parse(TYPE, body) if not any(b"\r\n--XX" in content for content in contents) else wanted

    assert found == (wanted if contents else [])


@given(st.binary(max_size=300), st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(noise: bytes, more: bytes):
    for body in (noise, b"--XX\r\n" + noise, form(field("a", noise)) + more, form(field("a", b""))[: len(noise)]):
        with contextlib.suppress(Malformed):
            assert all(isinstance(part, Part) for part in parse(TYPE, body))


@pytest.mark.parametrize(
    ("head", "part"),
    [
        ('Content-Disposition: form-data; name="a"', Part("a", None, "", b"x")),
        ("content-disposition:form-data;name=a", Part("a", None, "", b"x")),
        (
            'Content-Disposition: form-data; name="a"; filename="b;c.png"\r\nContent-Type: IMAGE/png; q=1',
            Part("a", "b;c.png", "image/png", b"x"),
        ),
        (r'Content-Disposition: form-data; name="a"; filename="b\"c"', Part("a", 'b"c', "", b"x")),
        ("Content-Disposition: form-data; filename*=UTF-8''d; name=a; filename=c", Part("a", "c", "", b"x")),
        ('Content-Disposition: form-data; name="é"\r\nContent-Transfer-Encoding: 8bit', Part("é", None, "", b"x")),
    ],
)
def test_headers_as_clients_write_them(head: str, part: Part):
    assert parse(TYPE, form((head, b"x"))) == [part]


@pytest.mark.parametrize("content_type", [TYPE, 'multipart/form-data; charset=utf-8; boundary="XX"'])
def test_the_boundary_may_be_quoted(content_type: str):
    assert parse(content_type, form(field("a", b"1")) + b"\r\n") == [Part("a", None, "", b"1")]


@pytest.mark.parametrize(
    ("content_type", "body", "message"),
    [
        ("multipart/form-data", form(), "names no boundary"),
        (f"multipart/form-data; boundary={'x' * 71}", form(), "names no boundary"),
        (TYPE, b"preamble\r\n" + form(), "does not begin"),
        (TYPE, form(field("a", b"1"))[:-4], "part 1 has no end"),
        (TYPE, form(field("a", b"1")) + b"more", "follows the last"),
        (TYPE, b"--XX \r\n", "part 1 has no end"),
        (TYPE, form(("", b"")), "a header that can't be read"),
        (TYPE, b"--XX\r\nX: 1\r\n--XX--", "no headers"),
        (TYPE, form(("Content-Type: text/plain", b"")), "part 1 has no 'Content-Disposition"),
        (TYPE, form(("Content-Disposition: attachment; name=a", b"")), "part 1 has no 'Content-Disposition"),
        (TYPE, form(("Content-Disposition: form-data; name=a b", b"")), "parameters can't be read"),
        (TYPE, form(field("a", b"", "\r\nContent-Transfer-Encoding: base64")), "Content-Transfer-Encoding"),
        (TYPE, form(field("a", b"", "\r\nnonsense")), "header that can't be read"),
        (TYPE, form(field("a", b"", "\r\nX: 1\r\nx: 2")), "or one twice"),
    ],
)
def test_what_is_unclear_is_refused(content_type: str, body: bytes, message: str):
    with pytest.raises(Malformed, match=message):
        parse(content_type, body)


@pytest.mark.parametrize(("extra", "is_read"), [(-1, True), (0, True), (1, False)])
def test_the_number_of_parts_is_bounded(extra: int, is_read: bool):
    body = form(*[field("a", b"1")] * (multipart.MAX_PARTS + extra))

    if is_read:
        assert len(parse(TYPE, body)) == multipart.MAX_PARTS + extra
    else:
        with pytest.raises(Malformed, match="more than 256 parts"):
            parse(TYPE, body)


@pytest.mark.parametrize(("extra", "is_read"), [(-1, True), (0, True), (1, False)])
def test_the_size_of_a_text_is_bounded_and_that_of_a_file_is_not(extra: int, is_read: bool):
    content = b"1" * (multipart.MAX_TEXT_BYTES + extra)

    assert parse(TYPE, form(field("a", content, "; filename=x")))[0].content == content
    if is_read:
        assert parse(TYPE, form(field("a", content)))[0].content == content
    else:
        with pytest.raises(Malformed, match="send it with a filename"):
            parse(TYPE, form(field("a", content)))


@pytest.mark.parametrize(("extra", "is_read"), [(-1, True), (0, True), (1, False)])
def test_the_size_of_a_parts_headers_is_bounded(extra: int, is_read: bool):
    start = 'Content-Disposition: form-data; name="a"\r\nX: '
    head = start + "1" * (multipart.MAX_HEAD_BYTES - len(start) - len("\r\n\r\n") + extra)

    if is_read:
        assert parse(TYPE, form((head, b"1")))[0].name == "a"
    else:
        with pytest.raises(Malformed, match="more than 8192 bytes"):
            parse(TYPE, form((head, b"1")))
