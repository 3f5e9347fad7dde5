"""Both clients against a server that answers as the test says."""

from __future__ import annotations

import asyncio
import enum
import json
import socket
import threading

import pytest
from tests.gpu_runtime.user_env.client.scripted import CLOSE, HOLD, Scripted, answer, chunked, ok

from hotloop import AsyncClient, Client, ClientError, Retries

LISTING = ok(b'{"endpoints": ["POST /embed", "GET|POST /v1/n", "GET /now", "POST /call"]}')
QUICK = Retries(max_retries=3, first_pause_s=0.001, max_pause_s=0.001)
BUSY = answer(429, b'{"error": {"type": "TooManyRequests", "message": "full", "hint": "later"}}', "retry-after: 0")


async def collected(value):
    return [item async for item in value] if hasattr(value, "__aiter__") else value


class Blocking:
    """The blocking client, as a test calls it; `Async` is its like."""

    def __init__(self, url, **options):
        self.client = Client(url, **{"retries": QUICK, **options})

    def calls(self, *calls, **options):
        found = []
        for name, arguments in calls:
            value = self.client.call(name, arguments, **options)
            found.append(list(value) if hasattr(value, "__next__") else value)
        return found


class Async:
    def __init__(self, url, **options):
        self.client = AsyncClient(url, **{"retries": QUICK, **options})

    def calls(self, *calls, **options):
        async def run():
            async with self.client as client:
                return [await collected(await client.call(name, arguments, **options)) for name, arguments in calls]

        return asyncio.run(asyncio.wait_for(run(), 20))


@pytest.fixture(params=[Blocking, Async])
def kind(request):
    return request.param


def failure(make, *calls, **options):
    with pytest.raises(ClientError) as caught:
        make.calls(*calls, **options)
    return caught.value


def test_a_call_by_name_asks_once_what_is_served_and_uses_one_connection(kind):
    with Scripted(LISTING, ok(b"[1.5]"), ok(b'"x"'), ok(b"7")) as server:
        found = kind(server.url).calls(("embed", {"text": "a"}), ("embed", {}), ("v1_n", {}))

    assert found == [[1.5], "x", 7]
    assert [server.line(n) for n in range(4)] == [
        "GET / HTTP/1.1", "POST /embed HTTP/1.1", "POST /embed HTTP/1.1", "POST /v1/n HTTP/1.1",
    ]  # fmt: skip
    assert json.loads(server.requests[1][1]) == {"text": "a"}
    assert server.header("host") == server.url.removeprefix("http://")
    assert server.num_connections == 1


def test_a_call_by_path_asks_nothing(kind):
    with Scripted(ok(b"null")) as server:
        assert kind(server.url + "/models/").calls(("/v1/embed", {})) == [None]

    assert server.line() == "POST /models/v1/embed HTTP/1.1"


def test_an_endpoint_that_takes_no_post_gets_its_arguments_in_the_query(kind):
    with Scripted(LISTING, ok(b"1")) as server:
        kind(server.url).calls(("now", {"zone": "a b", "n": 2, "is_short": True, "list": ["x", "y"]}))

    assert server.line() == "GET /now?zone=a+b&n=2&is_short=true&list=x&list=y HTTP/1.1"


class Mood(str, enum.Enum):  # noqa: UP042  as people write it
    GOOD = "good"


class Level(int, enum.Enum):
    HIGH = 2


def test_an_enum_goes_into_a_query_as_its_value(kind):
    with Scripted(LISTING, ok(b"1"), ok(b"1")) as server:
        kind(server.url).calls(
            ("now", {"mood": Mood.GOOD, "level": [Level.HIGH]}), ("embed", {"image": b"x", "mood": Mood.GOOD})
        )

    assert server.line(1) == "GET /now?mood=good&level=2 HTTP/1.1"
    assert server.line(2) == "POST /embed?mood=good HTTP/1.1"


def test_a_call_by_path_is_made_as_what_is_known_of_it_says(kind):
    with Scripted(LISTING, ok(b"1"), ok(b"2")) as server:
        assert kind(server.url).calls(("now", {}), ("/now", {"n": 2})) == [1, 2]

    assert server.line() == "GET /now?n=2 HTTP/1.1"


def test_a_name_that_is_not_known_is_looked_up_again_then_told_with_those_that_are(kind):
    with Scripted(
        LISTING, ok(b"1"), ok(b'{"endpoints": ["POST /fresh"]}'), ok(b"2"), ok(b'{"endpoints": []}')
    ) as server:
        make = kind(server.url)
        error = failure(make, ("embed", {}), ("fresh", {}), ("gone", {}))

    assert (error.status, error.type, error.may_have_run) == (0, "NoEndpoint", False)
    assert "has no endpoint 'gone'" in str(error)
    assert error.hint == "it has: none"


def test_a_server_without_a_listing_is_told(kind):
    with Scripted(ok(b"[1]")) as server:
        assert failure(kind(server.url), ("embed", {})).type == "NoListing"


def test_bytes_are_the_body_and_the_rest_is_the_query(kind):
    with Scripted(LISTING, ok(b"\x00\xff", "application/octet-stream")) as server:
        found = kind(server.url).calls(("embed", {"image": b"\x89PNG", "size": 3}))

    assert found == [b"\x00\xff"]
    assert (server.line(), server.requests[-1][1]) == ("POST /embed?size=3 HTTP/1.1", b"\x89PNG")
    assert server.header("content-type") == "application/octet-stream"


def test_bytes_go_as_json_to_an_endpoint_that_takes_only_that(kind):
    with Scripted(LISTING, answer(415), ok(b"1"), ok(b"2")) as server:
        assert kind(server.url).calls(("embed", {"a": b"x"}), ("embed", {"a": b"y"})) == [1, 2]

    assert [body for _, body in server.requests[2:]] == [b'{"a":"eA=="}', b'{"a":"eQ=="}']


@pytest.mark.parametrize("busy", [BUSY, answer(503, b"", "retry-after: 0"), answer(503)])
def test_a_call_that_was_refused_is_sent_again(kind, busy):
    with Scripted(LISTING, busy, busy, ok(b"1")) as server:
        assert kind(server.url).calls(("embed", {})) == [1]

    assert len(server.requests) == 4


def test_a_call_is_sent_again_so_often_and_the_last_answer_is_told(kind):
    with Scripted(LISTING, *[BUSY] * 9) as server:
        error = failure(kind(server.url, retries=Retries(2, 0.001, 0.001)), ("embed", {}))

    assert (error.status, error.type, error.message, error.hint) == (429, "TooManyRequests", "full", "later")
    assert error.retry_after_s == 0
    assert len(server.requests) == 1 + 3


def test_a_call_that_would_be_too_late_is_not_waited_for(kind):
    with Scripted(LISTING, answer(429, b"", "retry-after: 3600"), ok(b"1")) as server:
        error = failure(kind(server.url), ("embed", {}), deadline_s=30)

    assert (error.status, error.retry_after_s) == (429, 3600)
    assert len(server.requests) == 2


@pytest.mark.parametrize("lost", [answer(502), CLOSE])
def test_what_may_have_run_is_sent_again_only_if_it_may_run_twice(kind, lost):
    with Scripted(LISTING, lost, ok(b"1")) as server:
        error = failure(kind(server.url), ("embed", {}))
    assert (error.may_have_run, len(server.requests)) == (True, 2)

    with Scripted(LISTING, lost, ok(b"1")) as server:
        assert kind(server.url).calls(("embed", {}), idempotent=True) == [1]


def test_what_the_endpoint_raised_is_told_and_not_repeated(kind):
    body = {"error": {"type": "ValueError", "message": "no", "where": "app.py:3"}, "problem": {"x": 1}}
    with Scripted(LISTING, answer(500, json.dumps(body).encode())) as server:
        error = failure(kind(server.url, idempotent=True), ("embed", {}))

    assert str(error) == "500: no (app.py:3)"
    assert (error.type, error.where) == ("ValueError", "app.py:3")


def test_a_redirect_is_not_followed(kind):
    with Scripted(LISTING, answer(307, b"", "location: http://elsewhere/")) as server:
        error = failure(kind(server.url), ("embed", {}))

    assert (error.status, error.message) == (307, "the server redirects to http://elsewhere/")
    assert "redirects are not followed" in error.hint
    assert len(server.requests) == 2


def test_the_deadline_is_sent_in_milliseconds(kind):
    with Scripted(LISTING, ok(b"1"), ok(b"2")) as server:
        kind(server.url, deadline_s=30).calls(("embed", {}))
        assert 0 < int(server.header("x-hotloop-deadline-ms")) <= 30_000
        kind(server.url).calls(("/embed", {}))
        assert server.header("x-hotloop-deadline-ms") == ""


def test_a_server_that_says_nothing_is_given_up(kind):
    with Scripted(LISTING, HOLD, LISTING, HOLD) as server:
        error = failure(kind(server.url), ("embed", {}), timeout_s=0.1)
        assert (error.status, error.type, error.may_have_run) == (0, "Timeout", True)
        assert "timeout 0.1 s" in error.message
        assert failure(kind(server.url), ("embed", {}), deadline_s=0.1).type == "Timeout"


def test_a_server_that_is_not_there_is_told(kind):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    error = failure(kind(f"http://127.0.0.1:{port}", retries=Retries(0)), ("/embed", {}))

    assert (error.status, error.type, error.may_have_run) == (0, "Unreachable", False)
    assert f"http://127.0.0.1:{port} can't be reached" in str(error)


@pytest.mark.parametrize("reply", [b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx" + b"\r\n"])
def test_an_answer_that_can_not_be_read_is_told(kind, reply):
    with Scripted(reply, CLOSE) as server:
        error = failure(kind(server.url), ("/embed", {}), timeout_s=0.3)

    assert error.type in {"ConnectionLost", "Timeout"}


def test_a_stream_gives_its_items_and_leaves_its_connection(kind):
    with Scripted(LISTING, chunked(b'"a"\n{"b"', b": 1}\n\n3", b"\n4"), ok(b"5")) as server:
        found = kind(server.url).calls(("embed", {}), ("embed", {}))

    assert found == [["a", {"b": 1}, 3, 4], 5]
    assert server.num_connections == 1


@pytest.mark.parametrize(
    ("pieces", "content_type", "items"),
    [
        ([b"data: a\n\nda", b"ta: b\ndata: c\n\n"], "text/event-stream; charset=utf-8", ["a", "b\nc"]),
        ([b"x\xc3", b"\xa9"], "text/plain; charset=utf-8", ["x", "\xe9"]),
        ([b"\x00\xff\xfe"], "application/octet-stream", [b"\x00\xff\xfe"]),
        ([], "application/x-ndjson", []),
        ([b'{"error": "an item"}\n{"error": {"type": 1}}\n'], "application/x-ndjson", [{"error": "an item"}, {"error": {"type": 1}}]),
    ],
)  # fmt: skip
def test_streams_of_each_kind_are_read(kind, pieces, content_type, items):
    with Scripted(chunked(*pieces, kind=content_type)) as server:
        (found,) = kind(server.url).calls(("/x", {}))

    assert found == items


EPITAPH = b'{"error": {"type": "ValueError", "message": "broke", "where": "app.py:9"}, "problem": {}}\n'


@pytest.mark.parametrize(
    ("reply", "type_"),
    [
        (chunked(b"1\n2\n" + EPITAPH), "ValueError"),
        (
            chunked(b"data: 1\n\ndata: 2\n\nevent: error\ndata: " + EPITAPH + b"\n", kind="text/event-stream"),
            "ValueError",
        ),
        (chunked(b"1\n2\n")[:-5] + b"zz\r\n", "ConnectionLost"),
        (chunked(b"1\n2\n3]\n"), "BadAnswer"),
    ],
)
def test_a_stream_that_breaks_off_gives_what_came_then_raises(reply, type_):
    with Scripted(reply, reply) as server:
        stream = Client(server.url).call("/x")
        assert [str(next(stream)), str(next(stream))] == ["1", "2"]
        with pytest.raises(ClientError) as caught:
            next(stream)
        assert (caught.value.type, list(stream), stream.is_closed) == (type_, [], True)

        async def same():
            stream = await AsyncClient(server.url).call("/x")
            assert [str(await anext(stream)), str(await anext(stream))] == ["1", "2"]
            with pytest.raises(ClientError) as caught:
                await anext(stream)
            assert caught.value.type == type_

        asyncio.run(same())


def test_a_stream_that_is_closed_early_closes_its_connection():
    endless = chunked(b"1\n")[:-5]
    with Scripted(endless) as server:
        with Client(server.url).call("/x") as stream:
            assert next(stream) == 1
        assert server.closed_by_client.wait(10)
        assert list(stream) == []

    with Scripted(endless) as server:

        async def early():
            async with await AsyncClient(server.url).call("/x") as stream:
                assert await anext(stream) == 1

        asyncio.run(early())
        assert server.closed_by_client.wait(10)


def test_a_stream_that_is_forgotten_closes_its_connection():
    with Scripted(chunked(b"1\n")[:-5]) as server:
        next(Client(server.url).call("/x"))

        assert server.closed_by_client.wait(10)


def test_a_connection_that_the_server_closed_while_it_was_idle_is_not_used_again(kind):
    closing = ok(b"1")  # no `connection: close`: the client can't know before it looks
    with Scripted(closing, ok(b"2")) as server:
        if kind is Blocking:
            client = Client(server.url)
            assert client.call("/x") == 1
            server._open[0].shutdown(socket.SHUT_RDWR)
            assert client.call("/x") == 2
        else:

            async def run():
                async with AsyncClient(server.url) as client:
                    assert await client.call("/x") == 1
                    server._open[0].shutdown(socket.SHUT_RDWR)
                    assert await client.call("/x") == 2

            asyncio.run(run())

    assert server.num_connections == 2


def test_threads_share_a_client_and_its_connections():
    with Scripted(*[ok(b"1")] * 400) as server, Client(server.url) as client:
        found = []
        threads = [
            threading.Thread(target=lambda: found.extend(client.call("/x") for _ in range(50))) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)

    assert found == [1] * 400
    assert server.num_connections <= 8


def test_tasks_that_are_cancelled_leave_no_half_used_connection():
    async def run(url):
        async with AsyncClient(url) as client:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.call("/slow"), 0.1)
            assert await client.call("/x") == 2

    with Scripted(HOLD, ok(b"2")) as server:
        asyncio.run(run(server.url))

    assert server.num_connections == 2


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("localhost:8000", "http://127.0.0.1:8000 was expected"),
        ("ftp://a", "was expected"),
        ("http://", "was expected"),
        ("http://a:x", "was expected"),
        ("http://a:99999", "was expected"),
        ("http://a b", "was expected"),
        ("http://u:p@a", "belongs into headers="),
        ("http://a/?x=1", "query"),
    ],
)
def test_an_address_that_is_none_is_refused(url, said):
    for make in (Client, AsyncClient):
        with pytest.raises(ValueError, match=said):
            make(url)


@pytest.mark.parametrize("value", ["a\r\nx: y", "a\nb", "\u20ac", "a\0"])
def test_a_header_that_is_none_is_refused_without_its_value(value):
    with pytest.raises(ValueError, match="the header 'x-key' holds") as caught:
        Client("http://127.0.0.1", headers={"x-key": value})

    assert value not in str(caught.value)


def test_headers_are_sent_with_each_request(kind):
    with Scripted(LISTING, ok(b"1")) as server:
        kind(server.url, headers={"Authorization": "Bearer k"}).calls(("embed", {}))

        assert [server.header("authorization", n) for n in (0, 1)] == ["Bearer k", "Bearer k"]


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_a_limit_that_is_none_is_refused(seconds):
    for name in ("timeout_s", "deadline_s"):
        with pytest.raises(ValueError, match="expected seconds, more than 0"):
            Client("http://127.0.0.1", **{name: seconds})


def test_an_argument_that_can_not_be_sent_is_named(kind):
    with Scripted(LISTING) as server, pytest.raises(TypeError, match=r"options\[1\]"):
        kind(server.url).calls(("embed", {"options": [1, object()]}))


def test_names_of_the_client_are_no_endpoints_and_endpoints_with_such_names_are_called_by_name(kind):
    with Scripted(LISTING, ok(b"1")) as server:
        make = kind(server.url)
        with pytest.raises(AttributeError):
            _ = make.client._missing
        assert make.calls(("call", {"a": 1})) == [1]


def test_a_proxy_is_used_for_others_and_never_for_this_machine(kind, monkeypatch):
    with Scripted(ok(b'"by proxy"')) as proxy, Scripted(ok(b'"direct"')) as server:
        monkeypatch.setenv("http_proxy", proxy.url.replace("http://", "http://me:s%20t@"))
        monkeypatch.delenv("no_proxy", raising=False)
        assert kind(server.url).calls(("/x", {})) == ["direct"]
        assert kind("http://gpu.example:8000").calls(("/x", {})) == ["by proxy"]

    assert proxy.line() == "POST http://gpu.example:8000/x HTTP/1.1"
    assert proxy.header("proxy-authorization") == "Basic bWU6cyB0"
    assert server.header("proxy-authorization") == ""


def test_no_proxy_is_heeded(kind, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:1")
    monkeypatch.setenv("no_proxy", "example.invalid")

    error = failure(kind("http://example.invalid", retries=Retries(0)), ("/x", {}))

    assert "proxy" not in error.message


def test_a_proxy_that_refuses_a_tunnel_is_told(kind, monkeypatch):
    with Scripted(answer(407)) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        error = failure(kind("https://gpu.example", retries=Retries(0)), ("/x", {}))

    assert proxy.line() == "CONNECT gpu.example:443 HTTP/1.1"
    assert "its proxy answered 407" in error.message
