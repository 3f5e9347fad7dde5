"""Laws of the pure parts: metadata and headers, statuses and texts, pieces."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from urllib.parse import quote

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotloop.gpu_runtime.answers import error_body
from hotloop.gpu_runtime.grpc_front import statuses
from hotloop.gpu_runtime.grpc_front.exchange import PIECE_BYTES, CallExchange
from hotloop.gpu_runtime.grpc_front.metadata import headers_of, metadata_of
from hotloop.gpu_runtime.grpc_front.target import Target
from hotloop.gpu_runtime.manners import DEADLINE, Manners
from tests.gpu_runtime.front import run

MANNERS = Manners({})


def exchange() -> CallExchange:
    return CallExchange(Target("echo", "", has_body=False, active=lambda: None), [], b"")


# --- metadata ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked_ms", "remaining_s", "held_s"),
    [
        (None, None, None),
        (None, 2.0, 2.0),
        ("500", None, 0.5),
        ("500", 2.0, 0.5),
        ("2000", 0.5, 0.5),
        ("500", 0.5, 0.5),
        ("499.999", 0.5, 0.499999),
        (None, 0.0, 0.000001),
    ],
)
def test_of_two_deadlines_the_sooner_holds(asked_ms, remaining_s, held_s):
    metadata = () if asked_ms is None else (("x-hotloop-deadline-ms", asked_ms),)
    wants = MANNERS.read(headers_of(metadata, remaining_s), now_s=100.0)

    assert wants.deadline_at_s == (float("inf") if held_s is None else pytest.approx(100 + held_s, abs=1e-9))


@pytest.mark.parametrize("wrong", ["", "soon", "0", "-1", "nan", "inf", "-inf"])
def test_a_deadline_that_is_none_stays_to_be_told(wrong):
    headers = headers_of((("x-hotloop-deadline-ms", wrong),), 2.0)

    assert next(value for name, value in headers if name == DEADLINE) == wrong.encode()


def test_what_the_request_says_itself_is_not_taken_from_the_metadata():
    given_ = (
        ("content-type", "a"),
        ("accept", "b"),
        ("x-trace-bin", b"\xff"),
        ("x-api-key", "für"),
        ("x-odd", "\ud800"),
    )

    assert headers_of(given_, None) == [(b"x-api-key", "für".encode()), (b"x-odd", b"?")]


@given(st.lists(st.tuples(st.binary(max_size=12), st.binary(max_size=12))))
def test_whatever_headers_an_answer_has_their_metadata_can_be_sent(headers):
    for name, value in metadata_of(headers):
        assert re.fullmatch(r"[a-z0-9_.-]+", name)
        assert not name.startswith("grpc-")
        assert not name.endswith("-bin")
        assert re.fullmatch(r"[ -~]*", value)


def test_headers_of_hotloop_are_all_kept():
    headers = (
        (b"content-type", b"text/plain"),
        (b"x-hotloop-queue-ms", b"1.5"),
        (b"retry-after", b"3"),
        (b"allow", b"GET"),
    )

    assert metadata_of(headers) == (("x-hotloop-queue-ms", "1.5"), ("retry-after", "3"), ("allow", "GET"))


# --- statuses ---------------------------------------------------------------------------------------------------


def test_the_page_has_the_codes_of_the_code():
    page = (Path(__file__).parents[3] / "docs" / "grpc.md").read_text().partition("## Errors")[2]
    rows = re.findall(r"^\| ([\d, ]+) \| (`.+?)(?:;.*)? \|$", page, re.MULTILINE)
    said: dict[int, str] = {}
    for numbers, names in rows:
        codes = re.findall(r"`(\w+)`", names)
        each = numbers.split(", ")
        said |= {int(number): codes[min(place, len(codes) - 1)] for place, number in enumerate(each)}

    assert {status: statuses.code_of(status).name for status in said} == said
    assert set(said) >= set(statuses.CODES) - {499, 501}


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_a_success_is_ok(status):
    assert statuses.code_of(status) is grpc.StatusCode.OK


@given(st.integers(100, 999).filter(lambda status: status // 100 != 2))
def test_nothing_else_is_ok(status):
    assert statuses.code_of(status) is not grpc.StatusCode.OK


@given(st.integers(100, 999), st.binary(max_size=3000) | st.text(max_size=3000).map(lambda t: error_body("E", t, t)))
def test_a_message_says_something_and_leaves_room_for_the_rest(status, body):
    text = statuses.message_of(status, body)

    assert text
    assert len(quote(text, safe="")) <= 3 * statuses.MAX_MESSAGE_BYTES


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (error_body("ValueError", "no", "do"), "no\nHint: do"),
        (error_body("ValueError", "no"), "no"),
        (b'{"error": "odd"}', '{"error": "odd"}'),
        (b"[1]", "[1]"),
        (b"plain words\n", "plain words"),
        (b"\xff", "�"),
        (b"", "The answer is status 500."),
        (error_body("ValueError", "x" * 640), "x" * 640),
        (error_body("ValueError", "x" * 641), "x" * 637 + "…"),
        (error_body("ValueError", "é" * 321), "é" * 318 + "…"),
    ],
)
def test_the_message_is_the_errors(body, said):
    assert statuses.message_of(500, body) == said


@pytest.mark.parametrize(("size", "is_whole"), [(4095, True), (4096, True), (4097, False), (100_000, False)])
def test_a_body_that_metadata_can_not_carry_is_shortened(size, is_whole):
    body = error_body("ValueError", "", "look", where="app.py:7")
    body = error_body("ValueError", "x" * (size - len(body)), "look", where="app.py:7")
    carried = statuses.body_of(body)
    error = json.loads(carried)["error"]

    assert len(body) == size
    assert (carried == body) is is_whole
    assert len(carried) <= 4096
    assert (error["type"], error["hint"], error["where"]) == ("ValueError", "look", "app.py:7")
    assert error["message"].startswith("xxx")


LONG_TEXTS = st.builds(lambda piece, times: piece * times, st.text(min_size=1, max_size=5), st.integers(0, 3000))


@given(LONG_TEXTS, LONG_TEXTS)
def test_every_body_that_is_carried_is_an_error_of_bounded_size(message, hint):
    carried = statuses.body_of(error_body("E" * 3000, message, hint))

    assert len(carried) <= statuses.MAX_BODY_BYTES
    assert json.loads(carried)["error"]["type"].startswith("EEE")


@pytest.mark.parametrize("body", [b"", b"no json", b"[]", b'{"error": 1}', b"\xff" * 5000])
def test_a_body_in_another_format_is_not_carried(body):
    assert statuses.body_of(body) == b""


# --- pieces -----------------------------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=40)), st.integers(1, 50))
def test_what_is_taken_is_what_was_written_in_pieces_of_bounded_size(written, max_bytes):
    async def main():
        one = exchange()
        one.begin(200)
        for piece in written:
            one.write(piece)
        total = one.backlog_bytes
        one.finish()
        taken = []
        while piece := await one.take(max_bytes):
            taken.append(piece)

        assert total == sum(map(len, written))
        assert b"".join(taken) == b"".join(written)
        assert all(len(piece) == max_bytes for piece in taken[:-1])
        assert one.backlog_bytes == 0

    asyncio.run(main())


@pytest.mark.parametrize(("size", "is_kept"), [(PIECE_BYTES - 1, True), (PIECE_BYTES, True), (PIECE_BYTES + 1, False)])
def test_what_a_client_is_far_behind_with_is_dropped_when_its_answer_breaks(size, is_kept):
    async def main():
        one = exchange()
        one.begin(200)
        one.write(b"x" * size)
        one.abort()

        assert len(await one.whole()) == (size if is_kept else 0)
        assert json.loads(one.error)["error"]["type"] == "StreamBroken"

    run(main())


def test_a_client_that_goes_is_told_of_once_and_only_before_the_end():
    async def main():
        told = []
        gone, done = exchange(), exchange()
        gone.on_disconnect = lambda: told.append("gone")
        done.on_disconnect = lambda: told.append("done")
        done.respond(200, (), b"x")
        for each in (gone, gone, done):
            each.disconnect()

        assert told == ["gone"]

    run(main())
