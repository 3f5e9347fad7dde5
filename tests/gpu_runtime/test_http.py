"""The HTTP server, through raw sockets."""

from __future__ import annotations

import asyncio
import errno
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotloop.gpu_runtime import http
from hotloop.gpu_runtime.exchange import Request
from hotloop.gpu_runtime.head import split_target
from hotloop.gpu_runtime.limits import Limits
from hotloop.gpu_runtime.reader import ONE_PIECE_FROM_BYTES
from tests.gpu_runtime.front import Client, run, serving, until


def echo(request: Request) -> None:
    request.respond(200, [(b"x-path", request.path.encode())], request.body)


class Keeper:
    """Keeps requests, to be answered by the test."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.num_gone = 0

    def __call__(self, request: Request) -> None:
        self.requests.append(request)
        request.on_disconnect = self._gone

    def _gone(self) -> None:
        self.num_gone += 1

    async def request(self, number: int = 0) -> Request:
        await until(lambda: len(self.requests) > number)
        return self.requests[number]


async def send_and_read(data: bytes, on_request=echo, limits: Limits | None = None) -> bytes:
    async with serving(on_request, limits) as server:
        client = await Client.connect(server.port)
        client.send(data)
        return await client.reader.read()


def status_of(data: bytes) -> int:
    return int(data.split(b" ", 2)[1])


def test_a_connection_is_kept_for_the_next_request():
    async def main():
        async with serving(echo) as server:
            client = await Client.connect(server.port)
            bodies = [(await client.get("POST", f"/{n}", b"x" * n)).body for n in range(3)]
            assert server.num_connections == 1

            assert bodies == [b"", b"x", b"xx"]

    run(main())


def test_pipelined_requests_are_answered_in_order_and_one_at_a_time():
    async def main():
        keeper = Keeper()
        async with serving(keeper) as server:
            client = await Client.connect(server.port)
            for n in range(3):
                client.ask("POST", f"/{n}", b"%d" % n)
            (await keeper.request()).respond(200, (), b"first")
            await keeper.request(1)
            assert len(keeper.requests) == 2
            keeper.requests[1].respond(200, (), b"second")
            (await keeper.request(2)).respond(200, (), b"third")

            assert [(await client.response()).body for _ in range(3)] == [b"first", b"second", b"third"]
            assert [request.body for request in keeper.requests] == [b"0", b"1", b"2"]

    run(main())


def test_thousands_of_pipelined_requests_neither_recurse_nor_get_lost():
    async def main():
        async with serving(echo) as server:
            client = await Client.connect(server.port)
            client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % n for n in range(5000)))
            paths = [(await client.response()).headers["x-path"] for _ in range(5000)]

            assert paths == [f"/{n}" for n in range(5000)]

    run(main())


def test_a_request_may_come_byte_by_byte():
    async def main():
        async with serving(echo) as server:
            client = await Client.connect(server.port)
            client.writer.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nEmpty:\r\n\r\nabc":
                client.send(bytes([byte]))
                await asyncio.sleep(0)
            response = await client.response()

            assert (response.status, response.headers["x-path"], response.body) == (200, "/a", b"abc")

    run(main())


def test_chunked_bodies_are_joined_and_their_trailers_dropped():
    async def main():
        keeper = Keeper()
        async with serving(keeper) as server:
            client = await Client.connect(server.port)
            client.send(
                b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: x\r\n\r\n"
            )
            request = await keeper.request()

            assert request.body == b"abc0123456789"
            assert request.headers == [(b"host", b"x"), (b"transfer-encoding", b"chunked")]

    run(main())


def test_continue_is_said_before_the_body_is_sent():
    async def main():
        async with serving(echo) as server:
            client = await Client.connect(server.port)
            client.send(b"POST /a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
            assert (await client.response()).status == 100
            client.send(b"abc")
            assert (await client.response()).body == b"abc"

            client.send(b"POST /a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc")
            assert (await client.response()).status == 200  # the body was there already

    run(main())


def test_continue_waits_for_the_answers_before_it():
    async def main():
        keeper = Keeper()
        async with serving(keeper) as server:
            client = await Client.connect(server.port)
            client.ask("GET", "/1")
            client.send(b"POST /2 HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
            (await keeper.request()).respond(200, (), b"one")

            assert (await client.response()).body == b"one"
            assert (await client.response()).status == 100

    run(main())


def test_head_is_answered_without_a_body_but_with_its_length():
    async def main():
        async with serving(lambda request: request.respond(200, (), b"12345")) as server:
            client = await Client.connect(server.port)
            response = await client.get("HEAD", "/")
            assert response.headers["content-length"] == "5"
            assert (await client.get("GET", "/")).body == b"12345"

    run(main())


def test_no_content_has_neither_body_nor_length():
    async def main():
        async with serving(lambda request: request.respond(204, (), b"")) as server:
            client = await Client.connect(server.port)
            assert "content-length" not in (await client.get("GET", "/")).headers
            assert (await client.get("GET", "/")).status == 204

    run(main())


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\nHost: x\n\n",
        b"get / HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_what_is_not_http_is_answered_400_and_closed(data):
    async def main():
        answer = await send_and_read(data)

        assert status_of(answer) == 400
        assert b"connection: close" in answer
        assert b'"type": "BadRequest"' in answer

    run(main())


@pytest.mark.parametrize(("line", "status"), [("GET / HTTP/2.0", 505), ("GET / HTTP/0.9", 400), ("GET /", 400)])
def test_other_versions_are_answered_505_and_none_400(line: str, status: int):
    assert status_of(run(send_and_read(f"{line}\r\nHost: x\r\n\r\n".encode()))) == status


def test_a_malformed_request_behind_a_good_one_leaves_the_good_one_its_answer():
    async def main():
        answer = await send_and_read(b"GET /good HTTP/1.1\r\nHost: x\r\n\r\nnonsense\r\n\r\n")

        assert answer.index(b"200 OK") < answer.index(b"400 Bad Request")

    run(main())


@pytest.mark.parametrize(("size", "status"), [(99, 200), (100, 200), (101, 413)])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_the_body_limit_is_exact(size, status, is_chunked):
    framing = b"Transfer-Encoding: chunked" if is_chunked else b"Content-Length: %d" % size
    body = b"".join((b"%x\r\n" % size, b"x" * size, b"\r\n0\r\n\r\n")) if is_chunked else b"x" * size

    answer = run(
        send_and_read(
            b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + framing + b"\r\n\r\n" + body,
            limits=Limits(max_body_bytes=100),
        )
    )

    assert status_of(answer) == status


@pytest.mark.parametrize("size", [ONE_PIECE_FROM_BYTES - 1, ONE_PIECE_FROM_BYTES, ONE_PIECE_FROM_BYTES + 1])
def test_large_bodies_are_gathered_as_they_were_sent_also_behind_one_another(size):
    bodies: list[bytes] = []

    def take(request: Request) -> None:
        bodies.append(bytes(request.body))
        request.respond(200)

    async def main():
        sent = [bytes([number]) * (size - number) + b"end" for number in range(3)]
        data = b"".join(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body for body in sent)
        async with serving(take) as server:
            client = await Client.connect(server.port)
            for start in range(0, len(data), 100_001):
                client.send(data[start : start + 100_001])
            assert [(await client.response()).status for _ in sent] == [200] * 3
            client.abort()

        assert bodies == sent

    run(main())


@pytest.mark.parametrize(("size", "status"), [(999, 200), (1000, 200), (1001, 431)])
@pytest.mark.parametrize("step", [7, 100_000])
def test_the_head_limit_is_exact(size, status, step):
    head = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    data = head + b"A: " + b"x" * (size - len(head) - len(b"A: \r\n\r\n")) + b"\r\n\r\n"

    async def main():
        async with serving(echo, Limits(max_head_bytes=1000)) as server:
            client = await Client.connect(server.port)
            for start in range(0, len(data), step):
                client.send(data[start : start + step])
                await asyncio.sleep(0)
            return await client.reader.read()

    assert status_of(run(main())) == status


@pytest.mark.parametrize("piece", [b"GET /" + b"x" * 70_000, b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 70_000])
def test_a_head_without_end_is_refused_while_it_comes(piece):
    async def main():
        async with serving(echo) as server:
            client = await Client.connect(server.port)
            client.send(piece)
            while server.num_connections:
                client.send(b"x" * 10_000)
                await asyncio.sleep(0.001)
                if client.reader._buffer:
                    break
            assert (await client.response()).status == 431

    run(main())


def test_a_large_refused_body_does_not_cost_the_client_the_answer():
    async def main():
        async with serving(echo, Limits(max_body_bytes=1000)) as server:
            client = await Client.connect(server.port)
            client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 8000000\r\n\r\n" + b"x" * 8_000_000)
            assert (await client.response()).status == 413
            assert await client.is_closed()

    run(main())


def test_unknown_expectations_are_answered_417():
    assert (
        status_of(run(send_and_read(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: tea\r\nContent-Length: 1\r\n\r\n"))) == 417
    )


@pytest.mark.parametrize(
    ("encoding", "status"), [("gzip", 415), ("Deflate", 415), ("br, gzip", 415), ("identity", 200), ("", 200)]
)
def test_a_compressed_body_is_refused_before_it_comes(encoding: str, status: int):
    answer = run(
        send_and_read(
            f"POST /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Encoding: {encoding}\r\nContent-Length: 2\r\n\r\nhi".encode()
        )
    )

    assert status_of(answer) == status
    assert (b"Content-Encoding" in answer) == (status == 415)


def test_an_upgrade_is_declined_by_a_plain_answer():
    answer = run(
        send_and_read(
            b"GET /a HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\nPRI * HTTP/2.0\r\n\r\n"
        )
    )

    assert answer.count(b"HTTP/1.1 ") == 1
    assert status_of(answer) == 200


@pytest.mark.parametrize(
    ("head", "keeps"),
    [
        (b"HTTP/1.1\r\nHost: x\r\n", True),
        (b"HTTP/1.1\r\nHost: x\r\nConnection: close\r\n", False),
        (b"HTTP/1.0\r\n", False),
        (b"HTTP/1.0\r\nConnection: keep-alive\r\n", True),
    ],
)
def test_the_connection_is_kept_as_the_client_asks(head, keeps):
    async def main():
        async with serving(echo) as server:
            client = await Client.connect(server.port)
            client.send(b"GET /1 " + head + b"\r\n")
            response = await client.response()
            if keeps:
                assert (await client.get("GET", "/2")).headers["x-path"] == "/2"
            else:
                assert response.headers["connection"] == "close"
                assert await client.is_closed()

    run(main())


def test_a_stream_is_sent_as_it_is_made():
    async def main():
        keeper = Keeper()
        async with serving(keeper) as server:
            client = await Client.connect(server.port)
            client.ask("GET", "/")
            request = await keeper.request()
            request.begin(200, [(b"content-type", b"text/plain")])
            assert (await client.head()).headers["transfer-encoding"] == "chunked"
            for piece in (b"one", b"two" * 30_000):
                request.write(piece)
                request.write(b"")
                assert await client.chunk() == piece
            request.finish()
            assert await client.chunk() == b""

            client.ask("GET", "/next")
            assert (await keeper.request(1)).path == "/next"

    run(main())


def test_a_stream_for_http_1_0_ends_with_the_connection():
    def stream(request: Request) -> None:
        request.begin(200)
        request.write(b"ab")
        request.write(b"cd")
        request.finish()

    answer = run(send_and_read(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", stream))

    assert answer.endswith(b"connection: close\r\n\r\nabcd")
    assert b"chunked" not in answer


def test_a_disconnect_during_a_stream_is_told_once_and_later_pieces_go_nowhere():
    async def main():
        keeper = Keeper()
        async with serving(keeper) as server:
            client = await Client.connect(server.port)
            client.ask("GET", "/")
            request = await keeper.request()
            request.begin(200)
            request.write(b"x")
            await client.head()
            client.abort()
            await until(lambda: keeper.num_gone)
            assert request.is_gone
            request.write(b"more")
            request.finish()
            await until(lambda: server.num_connections == 0)

            assert keeper.num_gone == 1

    run(main())


def test_an_aborted_stream_shows_that_it_is_not_whole():
    async def main():
        keeper = Keeper()
        async with serving(keeper) as server:
            client = await Client.connect(server.port)
            client.ask("GET", "/")
            request = await keeper.request()
            request.begin(200)
            request.write(b"abc")
            await client.head()
            assert await client.chunk() == b"abc"
            request.abort()
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await client.chunk()

    run(main())


def test_a_client_that_reads_slowly_gets_all_of_it():
    async def main():
        keeper = Keeper()
        async with serving(keeper) as server:
            client = await Client.connect(server.port)
            client.ask("GET", "/")
            request = await keeper.request()
            request.begin(200)
            for n in range(100):
                request.write(bytes([n]) * 100_000)
            request.finish()
            await client.head()
            body = b""
            while piece := await client.chunk():
                body += piece
                await asyncio.sleep(0)

            assert body == b"".join(bytes([n]) * 100_000 for n in range(100))

    run(main())


def test_nothing_new_is_started_for_a_client_that_takes_nothing():
    async def main():
        num_started = 0

        def large(request: Request) -> None:
            nonlocal num_started
            num_started += 1
            request.respond(200, (), b"x" * 1_000_000)

        async with serving(large) as server:
            client = await Client.connect(server.port)
            client.writer.transport.pause_reading()
            client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 300)
            await until(lambda: num_started)
            for _ in range(50):
                await asyncio.sleep(0.002)
            assert num_started < 50
            client.writer.transport.resume_reading()
            for _ in range(300):
                await client.response()

            assert num_started == 300

    run(main())


def test_a_client_that_takes_nothing_at_all_is_cut_off():
    async def main():
        keeper = Keeper()
        async with serving(keeper, Limits(write_timeout_s=0.1)) as server:
            client = await Client.connect(server.port)
            client.writer.transport.pause_reading()
            client.ask("GET", "/")
            request = await keeper.request()
            request.begin(200)
            request.write(b"x" * 20_000_000)
            await until(lambda: keeper.num_gone)

            assert request.is_gone

    run(main())


@pytest.mark.parametrize("piece", [b"GET / HT", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab"])
def test_a_request_that_does_not_go_on_is_answered_408(piece):
    limits = Limits(head_timeout_s=0.1, body_timeout_s=0.1)

    assert status_of(run(send_and_read(piece, limits=limits))) == 408


def test_an_idle_connection_is_closed_and_a_busy_one_is_not():
    async def main():
        keeper = Keeper()
        async with serving(keeper, Limits(idle_timeout_s=0.1)) as server:
            idle, busy = await Client.connect(server.port), await Client.connect(server.port)
            busy.ask("GET", "/")
            request = await keeper.request()
            assert await idle.is_closed()
            request.respond(200, (), b"late")

            assert (await busy.response()).body == b"late"

    run(main())


def test_close_lets_answers_finish_and_closes_the_rest():
    async def main():
        keeper = Keeper()
        async with serving(keeper) as server:
            idle, busy = await Client.connect(server.port), await Client.connect(server.port)
            busy.ask("GET", "/")
            request = await keeper.request()
            closing = asyncio.create_task(server.close())
            assert await idle.is_closed()
            request.respond(200, (), b"done")
            response = await busy.response()
            await closing

            assert (response.body, response.headers["connection"]) == (b"done", "close")
            with pytest.raises(ConnectionRefusedError):
                await Client.connect(server.port)

    run(main())


def test_close_cuts_what_does_not_end():
    async def main():
        keeper = Keeper()
        async with serving(keeper) as server:
            client = await Client.connect(server.port)
            client.ask("GET", "/")
            await keeper.request()
            await server.close(timeout_s=0.05)

            assert keeper.num_gone == 1
            assert server.num_connections == 0

    run(main())


def test_a_port_in_use_is_told_with_its_number():
    async def main():
        async with serving(echo) as server:
            with pytest.raises(OSError, match="in use") as caught:
                await http.serve("127.0.0.1", server.port, echo)

            assert caught.value.errno == errno.EADDRINUSE

    run(main())


@pytest.mark.parametrize("port", [-1, 65_536])
def test_a_number_that_is_no_port_is_refused(port):
    with pytest.raises(OSError, match="expected 0 to 65535"):
        run(http.serve("127.0.0.1", port, echo))


def test_line_breaks_in_a_header_of_an_answer_are_refused():
    async def main():
        keeper = Keeper()
        async with serving(keeper) as server:
            client = await Client.connect(server.port)
            client.ask("GET", "/")
            request = await keeper.request()
            with pytest.raises(ValueError, match="line break"):
                request.respond(200, [(b"x", b"a\r\nset-cookie: b")])

    run(main())


def test_answering_twice_is_an_error():
    async def main():
        keeper = Keeper()
        async with serving(keeper) as server:
            client = await Client.connect(server.port)
            client.ask("GET", "/")
            request = await keeper.request()
            request.respond(200)
            with pytest.raises(RuntimeError, match="done"):
                request.respond(200)

    run(main())


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"/a", ("/a", "")),
        (b"/a?b=c?d", ("/a", "b=c?d")),
        (b"/a%20b%3Fc?x=%20", ("/a b?c", "x=%20")),
        (b"http://host/p?q", ("/p", "q")),
        (b"http://host", ("/", "")),
        (b"/a?u=http://x", ("/a", "u=http://x")),
        (b"/a%ff", ("/a�", "")),
        (b"/a#b", ("/a", "")),
        (b"*", ("*", "")),
    ],
)
def test_targets_are_split_into_path_and_query(target, expected):
    assert split_target(target) == expected


tokens = st.text("abcXYZ-09", min_size=1, max_size=8)
bodies = st.binary(max_size=60)


@st.composite
def requests(draw) -> tuple[bytes, tuple[str, bytes, list[tuple[bytes, bytes]]]]:
    path, body, is_chunked = "/" + draw(tokens), draw(bodies), draw(st.booleans())
    fields = [(b"x-" + draw(tokens).lower().encode(), draw(st.sampled_from([b"", b"v", b"a b"]))) for _ in range(2)]
    if is_chunked:
        fields.append((b"transfer-encoding", b"chunked"))
        cut = draw(st.integers(0, len(body)))
        content = b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in (body[:cut], body[cut:]) if p) + b"0\r\n\r\n"
    else:
        fields.append((b"content-length", b"%d" % len(body)))
        content = body
    fields.append((b"host", b"x"))
    head = b"".join(b"%b: %b\r\n" % field for field in fields)
    return b"POST %b HTTP/1.1\r\n%b\r\n%b" % (path.encode(), head, content), (path, body, fields)


class Socketless(asyncio.Transport):
    """A transport that takes everything."""

    def get_write_buffer_size(self):
        return 0

    def write(self, data):
        pass

    def is_closing(self):
        return False

    def pause_reading(self):
        pass

    def resume_reading(self):
        pass


class Nowhere:
    def opened(self, connection):
        pass

    closed = opened


@settings(max_examples=100, deadline=None)
@given(st.lists(requests(), min_size=1, max_size=6), st.lists(st.integers(1, 50), max_size=40))
def test_any_split_of_the_bytes_gives_the_same_requests(sent, sizes):
    from hotloop.gpu_runtime.connection import Connection

    async def main():
        got = []

        def on_request(request: Request) -> None:
            got.append((request.path, request.body, request.headers))
            request.respond(200)

        connection = Connection(on_request, http.refuse, Limits(), Nowhere())
        connection.connection_made(Socketless())
        data = b"".join(raw for raw, _ in sent)
        for size in sizes:
            if data:
                connection.data_received(data[:size])
            data = data[size:]
        if data:
            connection.data_received(data)
        return got

    assert run(main()) == [expected for _, expected in sent]
