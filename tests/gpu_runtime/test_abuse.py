"""The HTTP front under abuse, through raw sockets: whatever a client does, the next good request is answered."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotloop.gpu_runtime import http
from hotloop.gpu_runtime.exchange import Request
from hotloop.gpu_runtime.head import MAX_HOST_BYTES
from hotloop.gpu_runtime.http import Server
from hotloop.gpu_runtime.limits import Limits
from hotloop.gpu_runtime.pace import Pace
from tests.gpu_runtime.front import Client, run, serving, until

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
SLOW = Limits(head_timeout_s=0.1, body_timeout_s=0.1, write_timeout_s=0.1, idle_timeout_s=0.1, linger_s=0.05)


def echo(request: Request) -> None:
    request.respond(200, [(b"x-target", json.dumps([request.path, request.query]).encode())], request.body)


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


async def check_serves(server: Server) -> None:
    client = await Client.connect(server.port)
    assert (await client.get("POST", "/good", b"body")).body == b"body"
    client.abort()


async def everything(client: Client) -> bytes:
    """Read until the server closes, then close as well."""
    try:
        return await client.reader.read()
    except ConnectionError:
        return b""
    finally:
        client.abort()


@contextlib.asynccontextmanager
async def abused(on_request: Callable[[Request], None] = echo, limits: Limits | None = None) -> AsyncIterator[Server]:
    """A server that, after whatever is done to it, has no connection left and answers a good request."""
    async with serving(on_request, limits) as server:
        yield server
        await until(lambda: server.num_connections == 0)
        if on_request is echo:
            await check_serves(server)


def statuses(data: bytes) -> list[int]:
    return [int(part[:3]) for part in data.split(b"HTTP/1.1 ")[1:]]


# --- what is not HTTP -------------------------------------------------------------------------------------------

HEADS = {
    "both lengths": (POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + GET, [400]),
    "both lengths, turned": (POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + GET, [400]),
    "two lengths": (POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab" + GET, [400]),
    "the same length twice": (POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na" + GET, [400]),
    "a list of lengths": (POST + b"Content-Length: 1, 1\r\n\r\na" + GET, [400]),
    "a negative length": (POST + b"Content-Length: -1\r\n\r\n" + GET, [400]),
    "a signed length": (POST + b"Content-Length: +1\r\n\r\na" + GET, [400]),
    "a hexadecimal length": (POST + b"Content-Length: 0x1\r\n\r\na" + GET, [400]),
    "an empty length": (POST + b"Content-Length:\r\n\r\n" + GET, [400]),
    "a length beyond 64 bits": (POST + b"Content-Length: 18446744073709551617\r\n\r\na" + GET, [400]),
    "a length beyond the limit": (POST + b"Content-Length: 9223372036854775807\r\n\r\n" + GET, [413]),
    "another coding behind chunked": (POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n" + GET, [400]),
    "chunked twice": (
        POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + GET,
        [400],
    ),
    "chunked in HTTP/1.0": (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + GET, [400]),
    "a tab before chunked": (POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n" + GET, [400]),
    "a space before the colon": (POST + b"Content-Length : 1\r\n\r\na" + GET, [400]),
    "a space in a name": (POST + b"A b: c\r\n\r\n" + GET, [400]),
    "a folded header": (POST + b"A: b\r\n c\r\n\r\n" + GET, [400]),
    "a line without a colon": (POST + b"nonsense\r\n\r\n" + GET, [400]),
    "a NUL in a value": (POST + b"A: b\0c\r\n\r\n" + GET, [400]),
    "a NUL in a name": (POST + b"A\0: b\r\n\r\n" + GET, [400]),
    "a NUL in the target": (b"GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n" + GET, [400]),
    "a bare CR in a value": (POST + b"A: b\rc\r\n\r\n" + GET, [400]),
    "bare LF lines": (b"GET / HTTP/1.1\nHost: x\n\n" + GET, [400]),
    "a bare LF at the end": (b"GET / HTTP/1.1\r\nHost: x\r\n\n" + GET, [400]),
    "no Host": (b"GET / HTTP/1.1\r\n\r\n" + GET, [400]),
    "two Hosts": (b"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n" + GET, [400]),
    "a Host with a space": (b"GET / HTTP/1.1\r\nHost: x y\r\n\r\n" + GET, [400]),
    "a Host with a path": (b"GET / HTTP/1.1\r\nHost: x/y\r\n\r\n" + GET, [400]),
    "a target that is no path": (b"GET a HTTP/1.1\r\nHost: x\r\n\r\n" + GET, [400]),
    "a star for GET": (b"GET * HTTP/1.1\r\nHost: x\r\n\r\n" + GET, [400]),
    "an authority for GET": (b"GET x:80 HTTP/1.1\r\nHost: x\r\n\r\n" + GET, [400]),
    "an absolute target without a host": (b"GET http://[/ HTTP/1.1\r\nHost: x\r\n\r\n" + GET, [400]),
    "bytes that are not ASCII in the target": (b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n" + GET, [400]),
    "no version": (b"GET /\r\nHost: x\r\n\r\n" + GET, [400]),
    "another protocol": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + GET, [400]),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [400]),
    "an unknown method": (b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n" + GET, [400]),
}
CHUNKS = {
    "no number": (b"zz\r\n", [400]),
    "an empty size": (b"\r\n", [400]),
    "a negative size": (b"-1\r\na\r\n", [400]),
    "a signed size": (b"+1\r\na\r\n", [400]),
    "a size with 0x": (b"0x1\r\na\r\n", [400]),
    "a size beyond 64 bits": (b"10000000000000001\r\na\r\n", [400]),
    "a size beyond the limit": (b"7fffffffffffffff\r\na", []),  # waits, or is refused while it comes
    "too short a chunk": (b"5\r\nhi\r\n0\r\n\r\n", [400]),
    "too long a chunk": (b"2\r\nhello\r\n0\r\n\r\n", [400]),
    "a bare LF behind the size": (b"2\nhi\r\n0\r\n\r\n", [400]),
    "a bare CR in an extension": (b"2;a\rb\r\nhi\r\n0\r\n\r\n", [400]),
    "a NUL in an extension": (b"2;a\0\r\nhi\r\n0\r\n\r\n", [400]),
}


@pytest.mark.parametrize(("data", "expected"), HEADS.values(), ids=HEADS)
def test_a_malformed_head_is_refused_and_nothing_behind_it_is_a_request(data: bytes, expected: list[int]):
    async def main():
        async with abused() as server:
            client = await Client.connect(server.port)
            client.send(data)
            return await everything(client)

    assert statuses(run(main())) == expected


@pytest.mark.parametrize(("chunks", "expected"), CHUNKS.values(), ids=CHUNKS)
def test_malformed_chunks_are_refused_and_nothing_behind_them_is_a_request(chunks: bytes, expected: list[int]):
    async def main():
        async with abused(limits=SLOW) as server:
            client = await Client.connect(server.port)
            client.send(CHUNKED + chunks + GET)
            return await everything(client)

    assert statuses(run(main())) == (expected or [408])


@pytest.mark.parametrize(("extra", "expected"), [(-1, 200), (0, 200), (1, 400)])
def test_the_limit_of_a_host_is_exact(extra: int, expected: int):
    async def main():
        async with abused() as server:
            client = await Client.connect(server.port)
            host = b"h" * (MAX_HOST_BYTES + extra)
            client.send(b"GET / HTTP/1.1\r\nConnection: close\r\nHost: %b\r\n\r\n" % host)
            return await everything(client)

    assert statuses(run(main())) == [expected]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/%ff%fe?q=%ff", ["/\ufffd\ufffd", "q=%ff"]),
        ("/%00", ["/\0", ""]),
        ("/%0d%0ax:y", ["/\r\nx:y", ""]),
        ("/../..//a", ["/../..//a", ""]),
        ("http://x", ["/", ""]),
        ("http://x?q=/", ["/", "q=/"]),
        ("http://u:p@x:80/p?q", ["/p", "q"]),
        ("https://[::1]:8000/p", ["/p", ""]),
    ],
)
def test_odd_targets_are_taken_for_what_they_say(target: str, expected: list[str]):
    async def main():
        async with abused() as server:
            client = await Client.connect(server.port)
            response = await client.get("GET", target)
            client.abort()
            return json.loads(response.headers["x-target"])

    assert run(main()) == expected


def test_the_server_is_asked_as_a_whole_with_a_star():
    async def main():
        async with abused() as server:
            client = await Client.connect(server.port)
            response = await client.get("OPTIONS", "*")
            client.abort()
            return response.status, json.loads(response.headers["x-target"])

    assert run(main()) == (200, ["*", ""])


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.sampled_from([GET, CHUNKED + b"1\r\na\r\n0\r\n\r\n", b"\0", b"\r\n", b"\n", b" ", b":"])
        | st.binary(max_size=30),
        max_size=8,
    )
)
def test_any_bytes_are_answered_by_http_and_the_server_serves_on(pieces: list[bytes]):
    async def main():
        async with serving(echo, SLOW) as server:
            client = await Client.connect(server.port)
            client.send(b"".join(pieces))
            client.writer.write_eof()
            answer = await everything(client)
            await check_serves(server)
            return answer

    assert all(status in {200, 400, 408, 413, 415, 417, 431, 505} for status in statuses(run(main())))


# --- answers in order -------------------------------------------------------------------------------------------

BODIES = st.binary(max_size=60)


@st.composite
def requests(draw: st.DrawFn) -> tuple[bytes, bytes]:
    body = draw(BODIES)
    if draw(st.booleans()):
        return POST + b"Content-Length: %d\r\n\r\n" % len(body) + body, body
    cut = draw(st.integers(0, len(body)))
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:cut], body[cut:]) if part)
    return CHUNKED + chunks + b"0\r\n\r\n", body


@settings(max_examples=60, deadline=None)
@given(st.lists(requests(), min_size=1, max_size=30), st.lists(st.integers(1, 70), max_size=40), st.booleans())
def test_any_split_of_pipelined_requests_is_answered_alike_and_in_order(
    sent: list[tuple[bytes, bytes]], sizes: list[int], is_half_closed: bool
):
    async def main():
        async with serving(later) as server:
            client = await Client.connect(server.port)
            client.writer.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            data = b"".join(raw for raw, _ in sent)
            for size in [*sizes, len(data)]:
                client.send(data[:size])
                data = data[size:]
                await asyncio.sleep(0)
            if is_half_closed:
                client.writer.write_eof()
            found = [(await client.answer()).body for _ in sent]
            if is_half_closed:
                assert await client.is_closed()
            return found

    assert run(main()) == [body for _, body in sent]


def later(request: Request) -> None:
    """Answer when the loop comes round again, so that what is pipelined has to wait."""
    asyncio.get_running_loop().call_soon(request.respond, 200, (), request.body)


# --- half-closed ------------------------------------------------------------------------------------------------


def test_a_client_that_stops_sending_gets_all_its_answers_and_then_the_end():
    async def main():
        keeper = Keeper()
        async with abused(keeper) as server:
            client = await Client.connect(server.port)
            client.send(GET * 3)
            client.writer.write_eof()
            for number in range(3):
                request = await keeper.request(number)
                await asyncio.sleep(0.01)
                request.respond(200, (), b"%d" % number)
            bodies = [(await client.answer()).body for _ in range(3)]
            return keeper.num_gone, bodies, await client.is_closed()

    assert run(main()) == (0, [b"0", b"1", b"2"], True)


def test_a_client_that_stops_sending_and_waits_gets_a_stream_that_is_whole():
    async def main():
        keeper = Keeper()
        async with abused(keeper) as server:
            client = await Client.connect(server.port)
            client.send(GET)
            client.writer.write_eof()
            request = await keeper.request()
            await until(lambda: b"100 Continue" in client.reader._buffer)  # it was asked whether it is there
            request.begin(200)
            request.write(b"one")
            await until(lambda: client.reader._buffer.endswith(b"one\r\n0"))  # once more, within the stream
            request.write(b"two")
            request.finish()
            while (response := await client.head()).status == 100:
                pass
            pieces = [await client.chunk() for _ in range(3)]
            return response.status, pieces, await client.is_closed()

    assert run(main(), 30) == (200, [b"one", b"two", b""], True)


@pytest.mark.parametrize("has_begun", [False, True])
def test_a_client_that_is_gone_is_found_out_though_nothing_is_answered(has_begun: bool):
    async def main():
        keeper = Keeper()
        async with abused(keeper) as server:
            client = await Client.connect(server.port)
            client.send(GET)
            request = await keeper.request()
            if has_begun:
                request.begin(200)
            client.close()
            await until(lambda: keeper.num_gone)
            return request.is_gone

    assert run(main())


@pytest.mark.parametrize("piece", [b"GET / HT", POST + b"Content-Length: 5\r\n\r\nab", CHUNKED + b"5\r\nab"])
def test_a_request_that_ends_early_is_refused(piece: bytes):
    async def main():
        async with abused() as server:
            client = await Client.connect(server.port)
            client.send(GET + piece)
            client.writer.write_eof()
            return await everything(client)

    assert statuses(run(main())) == [200, 400]


# --- slow clients -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "start", [b"GET /", GET[:-2], POST + b"A: ", POST + b"Content-Length: 99\r\n\r\n", CHUNKED + b"ff\r\n"]
)
def test_a_byte_now_and_then_does_not_keep_a_request_open(start: bytes):
    async def main():
        async with abused(limits=SLOW) as server:
            client = await Client.connect(server.port)
            client.send(start)
            num_sent = 0
            while b"408" not in client.reader._buffer:
                client.send(b"x")
                num_sent += 1
                await asyncio.sleep(0.02)
                assert num_sent < 500, "it was not cut off"
            return await everything(client)

    assert statuses(run(main())) == [408]


@pytest.mark.parametrize("tail", [b"0\r\nA: ", b"1;a="])
def test_what_is_around_a_body_has_an_end(tail: bytes):
    async def main():
        async with abused(limits=Limits(max_head_bytes=1000)) as server:
            client = await Client.connect(server.port)
            client.send(CHUNKED + tail)
            for _ in range(200):
                client.send(b"x" * 100)
                await asyncio.sleep(0)
                if client.reader._buffer:
                    break
            return await everything(client)

    assert statuses(run(main())) == [400]


def test_the_smallest_chunks_make_a_body_all_the_same():
    body = bytes(range(256)) * 20

    async def main():
        async with abused(limits=Limits(max_head_bytes=1000)) as server:
            client = await Client.connect(server.port)
            client.send(CHUNKED)
            for byte in body:
                client.send(b"1\r\n%b\r\n" % bytes([byte]))
            client.send(b"0\r\n\r\n")
            found = (await client.response()).body
            client.abort()
            return found

    assert run(main()) == body


@pytest.mark.parametrize(
    ("moved", "now_s", "is_slow"),
    [
        ([], 9.9, False),
        ([], 10.0, False),
        ([], 10.1, True),  # a pause
        ([(9, 1)], 18.9, True),  # no pause, but less than 2 bytes a second beyond the first 10 s
        ([(9, 20)], 18.9, False),
        ([(9, 100), (18, 101)], 28.0, False),
        ([(9, 100), (18, 101)], 28.1, True),
        ([(n, n) for n in range(1, 100)], 100.0, True),
        ([(n, 2 * n) for n in range(1, 100)], 100.0, False),
    ],
)
def test_a_pace_is_too_slow_after_a_pause_or_below_its_rate(moved: list[tuple[int, int]], now_s: float, is_slow: bool):
    pace = Pace(timeout_s=10, min_bytes_by_s=2)
    pace.begin(0.0)
    for at_s, num_bytes in moved:
        pace.reach(at_s, num_bytes)

    assert pace.is_too_slow(now_s) is is_slow


def test_a_client_that_takes_a_little_now_and_then_is_cut_off():
    limits = Limits(write_timeout_s=0.2, min_taken_bytes_by_s=1 << 30)

    async def main():
        keeper = Keeper()
        async with serving(keeper, limits) as server:
            sock = socket.create_connection(("127.0.0.1", server.port))
            sock.sendall(GET)
            request = await keeper.request()
            request.begin(200)
            request.write(b"x" * 50_000_000)
            sock.setblocking(False)
            while not keeper.num_gone:
                with contextlib.suppress(BlockingIOError):
                    sock.recv(100_000)
                await asyncio.sleep(0.002)
            sock.close()
            return request.is_gone

    assert run(main())


def test_what_is_left_of_an_answer_keeps_no_closed_connection_open():
    async def main():
        async with serving(lambda request: request.respond(200, (), b"x" * 20_000_000), SLOW) as server:
            client = await Client.connect(server.port)
            client.writer.transport.pause_reading()
            client.send(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            await until(lambda: server.num_connections == 1)
            await until(lambda: server.num_connections == 0)

    run(main())


def test_pipelined_bodies_are_not_read_before_their_turn():
    body = b"x" * 200_000

    async def main():
        keeper = Keeper()
        async with serving(keeper, Limits(max_pipelined_bytes=500_000)) as server:
            client = await Client.connect(server.port)
            for _ in range(200):
                client.ask("POST", "/", body)
            await keeper.request()
            before = client.writer.transport.get_write_buffer_size()
            for _ in range(20):
                await asyncio.sleep(0.005)
            assert client.writer.transport.get_write_buffer_size() > 20_000_000
            assert before > 0
            for number in range(200):
                (await keeper.request(number)).respond(200, (), b"")
            return [(await client.response()).status for _ in range(200)]

    assert run(main()) == [200] * 200


# --- 100 Continue -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [b"", b"Content-Length: 0\r\n"])
def test_who_expects_to_go_on_with_no_body_gets_the_answer_alone(length: bytes):
    async def main():
        async with abused() as server:
            client = await Client.connect(server.port)
            client.send(POST + b"Expect: 100-continue\r\n" + length + b"\r\n")
            client.send(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            return await everything(client)

    assert statuses(run(main())) == [200, 200]


def test_http_1_0_knows_no_continue():
    async def main():
        async with abused() as server:
            client = await Client.connect(server.port)
            client.send(b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi")
            return await everything(client)

    assert statuses(run(main())) == [200]


# --- too many ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("extra", "expected"), [(-1, 200), (0, 200), (1, 503)])
def test_one_connection_too_many_is_turned_away_while_all_are_answered(extra: int, expected: int):
    async def main():
        keeper = Keeper()
        async with serving(keeper, Limits(max_connections=3)) as server:
            for number in range(2 + extra):
                (await Client.connect(server.port)).send(GET)
                await keeper.request(number)
            last = await Client.connect(server.port)
            last.send(GET)
            if expected == 200:
                (await keeper.request(2 + extra)).respond(200, (), b"")
            response = await last.response()
            for request in keeper.requests[: 2 + extra]:
                request.respond(200, (), b"")
            return response

    response = run(main())

    assert response.status == expected
    assert response.headers.get("retry-after") == ("1" if expected == 503 else None)


@pytest.mark.parametrize("piece", [b"", b"GET / HT", POST + b"Content-Length: 5\r\n\r\nab"])
def test_who_owes_a_request_makes_room_for_who_comes(piece: bytes):
    async def main():
        async with serving(echo, Limits(max_connections=50)) as server:
            idle = [await Client.connect(server.port) for _ in range(50)]
            for client in idle:
                client.send(piece)
            # Not only connected, but heard: whose first byte arrives after a newcomer has owed its request less long.
            num_begun = 50 if piece else 0
            await until(lambda: server.num_connections == 50)
            await until(lambda: sum(known._reader.is_within_message for known in server._connections) == num_begun)
            newcomers, found = [], []
            for _ in range(60):
                newcomers.append(await Client.connect(server.port))
                found.append((await newcomers[-1].get("GET", "/")).status)
                assert server.num_connections <= 50
            left = [await everything(client) for client in idle]
            for client in newcomers:
                client.abort()
            return found, left

    assert run(main()) == ([200] * 60, [b""] * 50)


def test_the_limit_leaves_files_for_everything_else():
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)

    assert http._max_sockets() < soft


# --- leaks ------------------------------------------------------------------------------------------------------

ABUSES = [
    b"", b"G", GET, GET[:-2], b"\0" * 100, CHUNKED + b"zz\r\n", CHUNKED + b"5\r\nab", POST + b"Content-Length: 5\r\n\r\nab",
    POST + b"Content-Length: 99999999999\r\n\r\n", GET * 40, b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 70_000,
    POST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n",
]  # fmt: skip


def test_thousands_of_abusive_connections_leave_nothing_behind():
    async def round_of(server: Server, count: int) -> None:
        for number in range(count):
            client = await Client.connect(server.port)
            client.send(ABUSES[number % len(ABUSES)])
            if number % 3 == 0:
                client.writer.write_eof()
                await everything(client)
            elif number % 3 == 1:
                await asyncio.sleep(0)
            client.abort()
        await until(lambda: server.num_connections == 0)

    async def main():
        async with serving(echo) as server:
            await round_of(server, 300)
            files, memory = num_files(), memory_bytes()
            await round_of(server, 3000)
            await check_serves(server)
            return num_files() - files, memory_bytes() - memory

    files, memory = run(main(), 60)

    assert files <= 3  # of the last good request, being closed
    assert memory < 20_000_000


def num_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def memory_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
