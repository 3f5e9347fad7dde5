"""The load generators, against real servers that answer, refuse, hang up and stay silent."""

import socket
import socketserver
import threading
from contextlib import contextmanager

import pytest
from benchmarks.serving_burst import Burst, p99, rate_between, summary
from benchmarks.serving_client import make_request
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import serving_load, serving_open_load

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n"
FULL = b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 4\r\n\r\nfull"
LAST = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"
GARBAGE = b"this is no HTTP\r\n\r\n"


@contextmanager
def serving(answer: bytes, *, hangs_up: bool = False):
    """A server that reads a request of ours and writes these bytes; it counts what it has read."""
    seen: list[bytes] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while head := self.rfile.readline():
                length = 0
                while head not in {b"\r\n", b""}:
                    name, _, value = head.partition(b":")
                    length = int(value) if name == b"content-length" else length
                    head = self.rfile.readline()
                seen.append(self.rfile.read(length))
                self.wfile.write(answer)
                if hangs_up:
                    return

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, request, client_address) -> None:
            """A client that left is no error here."""

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_address[1], seen
        finally:
            server.shutdown()
            thread.join()


def requests(count: int = 3) -> list[bytes]:
    return [make_request("/echo", {"text": str(number)}) for number in range(count)]


@pytest.mark.parametrize("answer", [OK, CHUNKED])
@pytest.mark.parametrize("num_clients", [1, 2, 8])
def test_every_request_gets_its_answer_and_every_text_is_sent_in_turn(answer, num_clients):
    with serving(answer) as (port, seen):
        burst = serving_load.run(serving_load.Load(port, requests(), num_clients, window_s=0.1, sample_every=1))

    assert len(burst.done_s) == len(seen) == len(burst.samples)
    assert not burst.bad
    assert {body for _, body in burst.samples} == {b"ok"}
    assert {number for number, _ in burst.samples} == {0, 1, 2}
    assert burst.done_s == sorted(burst.done_s)


def test_other_statuses_are_counted_and_shown_and_are_no_answers():
    with serving(FULL) as (port, seen):
        burst = serving_load.run(serving_load.Load(port, requests(), 2, window_s=0.05))

    assert burst.bad == {429: len(seen)}
    assert (burst.first_bad, burst.done_s, burst.rate) == (b"full", [], 0.0)


def test_a_connection_that_the_server_ends_after_an_answer_is_replaced():
    with serving(LAST, hangs_up=True) as (port, seen):
        burst = serving_load.run(serving_load.Load(port, requests(), 2, window_s=0.05))

    assert not burst.bad
    assert len(burst.done_s) == len(seen) > 2


@pytest.mark.parametrize("answer", [b"", GARBAGE, OK[:-1]])
def test_an_answer_that_is_cut_or_no_http_counts_as_broken(answer):
    with serving(answer, hangs_up=True) as (port, seen):
        burst = serving_load.run(serving_load.Load(port, requests(), 2, window_s=0.05))

    assert set(burst.bad) == {0}
    assert not burst.done_s
    assert seen


def test_a_server_that_never_answers_ends_the_load_with_what_was_seen():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        load = serving_load.Load(silent.getsockname()[1], requests(), 2, window_s=0.05, timeout_s=0.1)

        with pytest.raises(serving_load.LoadFailed, match="every client has an answer; 0 good answers"):
            serving_load.run(load)


def test_open_load_sends_as_many_as_are_due_whatever_the_answers_are():
    with serving(OK) as (port, seen):
        burst = serving_open_load.run(port, requests(), rate=200, seconds=0.25)

    assert burst.num_due == len(seen) == len(burst.arrivals) == 50
    assert {each.status for each in burst.arrivals} == {200}
    assert {body for _, body in burst.samples} == {b"ok"}


def test_open_load_tells_refusals_apart():
    with serving(FULL) as (port, _):
        burst = serving_open_load.run(port, requests(), rate=100, seconds=0.1)

    assert [each.status for each in burst.arrivals] == [429] * 10
    assert burst.num_good_within() == 0


def test_open_load_gives_up_on_requests_that_are_never_answered():
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:
        burst = serving_open_load.run(silent.getsockname()[1], requests(), rate=100, seconds=0.1, drain_s=0.05)

    assert [each.status for each in burst.arrivals] == [0] * 10


def test_open_load_counts_refused_connections_as_broken():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        burst = serving_open_load.run(closed.getsockname()[1], requests(), rate=100, seconds=0.1)

    assert [each.status for each in burst.arrivals] == [0] * 10


@given(size=st.integers(1, 64), every_s=st.floats(0.01, 2), opens_s=st.floats(3, 5), num_batches=st.floats(1.5, 20))
def test_the_rate_of_batches_does_not_depend_on_where_the_window_lies(size, every_s, opens_s, num_batches):
    done_s = [number // size * every_s for number in range(size * int((opens_s + 45) / every_s))]

    rate = rate_between(done_s, opens_s, opens_s + num_batches * every_s)

    assert rate == pytest.approx(size / every_s, rel=1e-6)


@pytest.mark.parametrize(("opens_s", "closes_s", "rate"), [(0.0, 4.0, 1.0), (1.5, 3.5, 1.0), (3.1, 3.9, 0.0)])
def test_rate_counts_what_came_within_the_window(opens_s, closes_s, rate):
    assert rate_between([1.0, 2.0, 3.0, 4.0], opens_s, closes_s) == rate


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (99, 99), (100, 99), (101, 100), (200, 198)])
def test_p99_is_the_smallest_that_99_percent_do_not_exceed(count, expected):
    assert p99(range(1, count + 1)) == expected


def test_latencies_are_those_of_the_window_alone():
    burst = Burst(done_s=[1.0, 2.0, 3.0, 4.0], took_s=[9.0, 0.002, 0.004, 9.0], opens_s=1.5, closes_s=3.5)

    assert summary(burst) == {"rate": 1.0, "p50_ms": 3.0, "p99_ms": 4.0, "num_answers": 4, "num_errors": 0}
