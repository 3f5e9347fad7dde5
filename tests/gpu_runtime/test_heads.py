"""A request whose head was read before is the request that the parser makes of it."""

from typing import Any

import pytest

from hotloop.gpu_runtime.exchange import Request
from hotloop.gpu_runtime.heads import MAX_BYTES, MAX_HEADS, Head, Heads
from hotloop.gpu_runtime.limits import Limits, RefusedError
from hotloop.gpu_runtime.reader import RequestReader

POST = b"POST /a%20b?q=1 HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n"
STREAMS = {
    "a body": [POST + b"\r\nhello"],
    "another body behind the same head": [POST + b"\r\nhello", POST + b"\r\nworld"],
    "no body": [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"],
    "the line break of an older client between two": [POST + b"\r\nhello", b"\r\n", POST + b"\r\nworld"],
    "one that begins with it": [b"\r\n" + POST + b"\r\nhello"],
    "the body in a piece of its own": [POST + b"\r\n", b"hello"],
    "more behind it": [POST + b"\r\nhelloGET / HTTP/1.1\r\nHost: x\r\n\r\n"],
    "the beginning of more behind it": [POST + b"\r\nhelloGET /", b" HTTP/1.1\r\nHost: x\r\n\r\n"],
    "a head within a body": [POST[:-3] + b"99\r\n\r\n" + POST, b"\r\nhello"],
    "chunks": [b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"],
    "chunks without a body": [b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
    "the last of its connection": [POST + b"Connection: close\r\n\r\nhello", POST + b"\r\nhello"],
    "an old client": [b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"],
    "one that waits to send": [POST + b"Expect: 100-continue\r\n\r\n", b"hello"],
    "one that does not wait": [POST + b"Expect: 100-continue\r\n\r\nhello"],
    "no Host": [b"GET / HTTP/1.1\r\n\r\n"],
    "no HTTP": [b"GET\r\n\r\n"],
}


class Nowhere:
    """A connection that nothing is answered on."""

    backlog_bytes = 0

    def write(self, data): ...

    def finished(self, request): ...

    def abort(self): ...


def read(stream: list[bytes], limits: Limits) -> list[Any]:
    reader = RequestReader(Nowhere(), limits)
    owed: list[Any] = []
    for data in stream:
        reader.feed(data, 0.0)
        owed.append((reader.owes_continue, reader.backlog_bytes, reader.is_within_message))
    return [*owed, *map(shown, reader.backlog)]


def shown(item: Request | RefusedError) -> Any:
    if isinstance(item, RefusedError):
        return item.status, item.message
    return item.method, item.path, item.query, item.headers, bytes(item.body), item.keeps_alive, item.is_http10


@pytest.mark.parametrize("name", STREAMS)
def test_who_has_read_everything_before_reads_the_same(name):
    experienced = Limits(idle_timeout_s=1000.5)
    for stream in STREAMS.values():
        read(stream, experienced)
    fresh = Limits(idle_timeout_s=2000 + list(STREAMS).index(name))

    assert read(STREAMS[name], experienced) == read(STREAMS[name], fresh)


def test_what_is_kept_is_bounded():
    heads = Heads()
    head = Head("GET", "/", "", [])

    for number in range(MAX_HEADS):
        heads.keep(b"GET /%d HTTP/1.1\r\n\r\n" % number, head, 0)
    assert heads.find(b"GET /0 HTTP/1.1\r\n\r\n") == (head, b"")
    heads.keep(b"GET /one-more HTTP/1.1\r\n\r\n", head, 0)
    assert heads.find(b"GET /0 HTTP/1.1\r\n\r\n") is None
    assert heads.find(b"GET /one-more HTTP/1.1\r\n\r\n") == (head, b"")


@pytest.mark.parametrize(("size", "is_kept"), [(MAX_BYTES - 1, True), (MAX_BYTES, True), (MAX_BYTES + 1, False)])
def test_a_long_head_is_not_kept(size, is_kept):
    heads, data = Heads(), b"x" * (size - 4) + b"\r\n\r\n"
    heads.keep(data, Head("GET", "/", "", []), 0)

    assert (heads.find(data) is not None) == is_kept
