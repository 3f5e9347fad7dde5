"""Answers are read the same however the bytes come in pieces, and what is malformed is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotloop.gpu_runtime.user_env.client.response import MAX_HEAD_BYTES, Malformed, ResponseReader

bodies = st.lists(st.binary(min_size=1, max_size=50), max_size=6)
extensions = st.sampled_from([b"", b";x=1", b" ; y"])
names = st.sampled_from(["content-type", "x-a", "x-b"])


def read(pieces):
    reader = ResponseReader()
    body = [part for piece in pieces for part in reader.feed(piece)]
    reader.check()
    return reader, b"".join(body)


def cut(data, places):
    ends = sorted({place % (len(data) + 1) for place in places} | {len(data)})
    return [data[a:b] for a, b in zip([0, *ends], ends, strict=False)]


@given(bodies, extensions, st.lists(st.integers(0, 10_000), max_size=12), st.booleans())
def test_any_cut_of_an_answer_reads_the_same(pieces, extension, places, is_chunked):
    whole = b"".join(pieces)
    if is_chunked:
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        body = b"".join(b"%x%b\r\n%b\r\n" % (len(p), extension, p) for p in pieces) + b"0\r\nx-trailer: 1\r\n\r\n"
    else:
        head, body = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(whole), whole

    reader, found = read(cut(head + body, places))

    assert (reader.status, found, reader.is_done, reader.is_stream) == (200, whole, True, is_chunked)
    assert reader.keeps_alive


@given(st.lists(st.tuples(names, st.text("abc ,;=", max_size=9)), max_size=6))
def test_headers_come_back_by_lower_case_name_with_the_values_of_one_name_joined(fields):
    lines = "".join(f"{name.title()}: {value}\r\n" for name, value in fields)

    reader, _ = read([f"HTTP/1.1 204 No\r\n{lines}\r\n".encode()])

    expected = {}
    for name, value in fields:
        expected.setdefault(name, []).append(value.strip())
    assert reader.headers == {name: ", ".join(values) for name, values in expected.items()}
    assert reader.is_done


@given(st.binary(max_size=200))
def test_whatever_comes_is_an_answer_or_malformed(data):
    reader = ResponseReader()
    try:
        reader.feed(data)
        reader.end()
    except Malformed:
        return
    assert reader.has_head


def test_what_comes_before_the_answer_proper_is_skipped():
    reader, body = read([b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx"])

    assert (reader.status, body, reader.is_done) == (200, b"x", True)


def test_a_body_without_a_length_ends_with_the_connection():
    reader, body = read([b"HTTP/1.1 200 OK\r\n\r\nab", b"c"])
    assert not reader.is_done

    reader.end()

    assert (body, reader.is_done, reader.keeps_alive) == (b"abc", True, False)


@pytest.mark.parametrize("head", ["HTTP/1.1 200 OK\r\nconnection: close", "HTTP/1.0 200 OK"])
def test_a_connection_that_the_server_closes_is_not_kept(head):
    reader, _ = read([f"{head}\r\ncontent-length: 0\r\n\r\n".encode()])

    assert (reader.is_done, reader.keeps_alive) == (True, False)


def test_bytes_behind_an_answer_spoil_its_connection():
    reader, body = read([b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nxHTTP/1.1 200 OK\r\n"])

    assert (body, reader.is_done, reader.keeps_alive) == (b"x", True, False)


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 20\r\n\r\n",
        b"HTTP/1.1 0200\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nname : value\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0x5\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nxy\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\r\n",
    ],
)
def test_what_is_malformed_is_refused(data):
    with pytest.raises(Malformed):
        read([data])


@pytest.mark.parametrize(("extra", "is_refused"), [(-1, False), (0, False), (1, True)])
def test_a_head_may_have_so_many_bytes(extra, is_refused):
    start = b"HTTP/1.1 204 No\r\nx: "
    data = start + b"y" * (MAX_HEAD_BYTES + extra - len(start)) + b"\r\n\r\n"

    if is_refused:
        with pytest.raises(Malformed, match="larger than"):
            read([data])
    else:
        assert read([data])[0].is_done


def test_an_endless_head_is_refused_before_it_ends():
    with pytest.raises(Malformed, match="larger than"):
        read([b"HTTP/1.1 204 No\r\nx: " + b"y" * MAX_HEAD_BYTES])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "before an answer came"),
        (b"HTTP/1.1 200", "before an answer came"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nx", "within the answer"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n", "within the answer"),
    ],
)
def test_an_answer_that_is_cut_off_is_no_answer(data, said):
    reader, _ = read([data])

    with pytest.raises(Malformed, match=said):
        reader.end()
