"""Load against real servers: what is sent, when, and what is counted."""

from __future__ import annotations

import json
import math
import socket
from collections import Counter

import pytest
from tests.devloop.load.server import OK, TIMED, Server

from hotloop.devloop.load import open as open_loop
from hotloop.devloop.load import target
from hotloop.devloop.load.arrivals import Arrivals
from hotloop.devloop.load.runs import Load, Timing, compare, run
from hotloop.errors import HotloopError, RunnerError, UsageError

SHORT = Timing(duration_s=0.3, warmup_s=0.1, drain_s=2)
CLOSED, OPEN = Load(num_connections=4), Load(rate_per_s=200, arrivals=Arrivals.CONSTANT)
LISTING = b'{"endpoints": ["POST /embed", "GET /now", "GET|POST /v1/n"]}'


def at(url, name="/x", *bodies):
    return target.find(url, name, [target.json_content(body, "body") for body in bodies or ("{}",)])


def reply(status, body=b"{}", *headers):
    lines = [f"HTTP/1.1 {status} X", *headers, f"content-length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


@pytest.mark.parametrize("load", [CLOSED, OPEN], ids=["closed", "open"])
def test_every_answer_is_counted_and_the_warm_up_is_not(load):
    with Server(lambda _: TIMED, pause_s=lambda _: 0.002) as server:
        tally = run(at(server.url), load, SHORT)

    assert tally.num_errors == 0
    assert 0 < tally.num_requests < len(server.requests)
    assert tally.statuses == {200: tally.num_requests}
    assert tally.latency.num == tally.num_requests
    assert tally.latency.min_s >= 0.002
    assert tally.batch_sizes == {3: tally.num_requests}
    assert tally.queue.percentile_s(0.5) == pytest.approx(0.0025, rel=0.01)
    assert tally.compute.max_s == 0.004


def test_a_closed_loop_has_as_many_connections_as_it_was_told():
    with Server(pause_s=lambda _: 0.001) as server:
        run(at(server.url), CLOSED, SHORT)

    assert server.num_connections == 4


def test_an_open_loop_sends_what_is_due_however_long_the_answers_take():
    with Server(pause_s=lambda _: 0.5) as server:
        tally = run(at(server.url), OPEN, SHORT)

    assert len(server.requests) == pytest.approx(80, abs=1)  # 0.4 s at 200 a second, none of which was answered by then
    assert tally.num_requests == pytest.approx(60, abs=1)
    assert (tally.num_done, tally.num_errors) == (0, 0)
    assert tally.latency.min_s >= 0.5


def test_a_stall_counts_against_every_request_that_was_due_in_it(monkeypatch):
    monkeypatch.setattr(open_loop.OpenLoop.__init__, "__defaults__", (1,))  # one connection: all wait behind the first
    with Server(pause_s=lambda number: 0.3 if number == 25 else 0.0) as server:
        tally = run(at(server.url), OPEN, Timing(0.5, 0.1, 3))

    num_held_up = tally.latency.num - sum(tally.latency.between([1e-9, 0.05, 10])[:1])
    assert tally.num_errors == 0
    assert num_held_up >= 40  # of the 60 that were due in the 0.3 s; a closed loop would have seen one
    assert tally.latency.max_s >= 0.3


@pytest.mark.parametrize("load", [CLOSED, OPEN], ids=["closed", "open"])
def test_errors_are_counted_by_status(load):
    with Server(lambda n: [OK, reply(429), reply(500)][n % 3], pause_s=lambda _: 0.001) as server:
        tally = run(at(server.url), load, SHORT)

    assert set(tally.statuses) == {200, 429, 500}
    assert tally.num_errors == tally.statuses[429] + tally.statuses[500]
    assert tally.latency.num == tally.statuses[200]


@pytest.mark.parametrize("load", [CLOSED, OPEN], ids=["closed", "open"])
@pytest.mark.parametrize(
    ("bad", "why"), [(None, "connection closed"), (b"SSH-2.0-x\r\n\r\n", "no HTTP answer")], ids=["closed", "no HTTP"]
)
def test_a_lost_connection_is_counted_and_replaced(load, bad, why):
    with Server(lambda n: bad if n % 5 == 4 else OK, pause_s=lambda _: 0.001) as server:
        tally = run(at(server.url), load, SHORT)

    assert tally.broken[why] > 0
    assert set(tally.broken) == {why}
    assert tally.statuses[200] > tally.broken[why]


@pytest.mark.parametrize("load", [CLOSED, OPEN], ids=["closed", "open"])
def test_a_server_that_closes_after_each_answer_is_no_error(load):
    with Server(lambda _: reply(200, b"{}", "connection: close"), pause_s=lambda _: 0.001) as server:
        tally = run(at(server.url), load, SHORT)

    assert tally.num_requests > 0
    assert (tally.num_errors, tally.broken) == (0, Counter())
    assert server.num_connections > 4


@pytest.mark.parametrize("load", [CLOSED, OPEN], ids=["closed", "open"])
def test_what_gets_no_answer_is_an_error_that_took_as_long_as_it_was_waited_for(load):
    with Server(pause_s=lambda _: 3600) as server:
        tally = run(at(server.url), load, Timing(0.2, 0, 0.2))

    assert tally.num_requests == tally.broken["no answer in time"] > 0
    assert tally.latency.max_s >= 0.35


@pytest.mark.parametrize("load", [CLOSED, OPEN], ids=["closed", "open"])
def test_a_server_that_went_away_is_counted(load):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    tally = run(at(url), load, SHORT)

    assert set(tally.broken) == {"connection refused"}
    assert tally.num_done == 0
    assert not math.isnan(tally.latency.percentile_s(0.5))


def test_bodies_are_sent_in_turn():
    bodies = [json.dumps({"n": n}) for n in range(3)]
    with Server() as server:
        run(at(server.url, "/x", *bodies), Load(1), Timing(0.1, 0, 1))

    assert [json.loads(body)["n"] for _, body in server.requests[:7]] == [0, 1, 2, 0, 1, 2, 0]


def test_rounds_go_at_both_in_turn_and_change_who_is_first():
    order = []
    with Server(lambda _: order.append("a") or OK) as a, Server(lambda _: order.append("b") or OK) as b:
        rounds = compare(at(a.url), at(b.url), Load(1), Timing(0.05, 0, 1), 3, lambda _: order.append("|"))

    runs_of = "".join(each for n, each in enumerate(order) if n == 0 or order[n - 1] != each)
    assert runs_of == "|ab|ba|ab"
    assert [len(side) for side in (rounds.ours, rounds.theirs)] == [3, 3]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("embed", b"POST /embed HTTP/1.1"),
        ("v1_n", b"POST /v1/n HTTP/1.1"),
        ("now", b"GET /now?zone=a+b HTTP/1.1"),
        ("/any", b"POST /any HTTP/1.1"),
    ],
)
def test_an_endpoint_is_found_by_name_or_path(name, line):
    with Server(lambda _: reply(200, LISTING)) as server:
        found = at(server.url, name, '{"zone": "a b"}')

    assert found.requests[0].startswith(line)


def test_a_name_that_is_not_served_is_told_with_those_that_are():
    with Server(lambda _: reply(200, LISTING)) as server, pytest.raises(UsageError) as caught:
        at(server.url, "embd")

    assert "has no endpoint 'embd'" in caught.value.message
    assert caught.value.hint == "it has: embed, now, v1/n, v1_n"


ERROR = b'{"error": {"type": "X", "message": "no", "hint": "try"}}'


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (200, None),
        (429, None),
        (503, None),
        (404, UsageError),
        (415, UsageError),
        (422, UsageError),
        (500, HotloopError),
    ],
)
def test_one_request_is_tried_first(status, error):
    with Server(lambda _: reply(status, ERROR)) as server:
        if error is None:
            target.check(at(server.url))
            return
        with pytest.raises(error) as caught:
            target.check(at(server.url))

    assert type(caught.value) is error
    assert (caught.value.message, caught.value.hint) == (f"/x answered {status}: no", "try")


def test_a_server_that_is_not_there_is_told():
    with pytest.raises(RunnerError, match="can't be reached"):
        at("http://127.0.0.1:1", "embed")
