"""When a call is sent again: never what may have run, never sooner than asked, never past the deadline."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotloop.gpu_runtime.user_env.client.failure import ClientError, refused, retry_after_s
from hotloop.gpu_runtime.user_env.client.retry import Retries, can_repeat, pause_s

statuses = st.sampled_from([0, 400, 404, 408, 415, 422, 429, 500, 502, 503, 504])
errors = st.builds(
    lambda status, after_s, ran: ClientError(status, "X", "x", retry_after_s=after_s, may_have_run=ran),
    statuses,
    st.none() | st.floats(0, 100),
    st.booleans(),
)
drawn = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize(
    ("status", "may_have_run", "is_idempotent", "can"),
    [
        (429, False, False, True),
        (503, False, False, True),
        (503, True, False, False),
        (503, True, True, True),
        (0, False, False, True),  # no connection: nothing was sent
        (0, True, False, False),  # lost behind the request
        (0, True, True, True),
        (502, True, False, False),
        (502, True, True, True),
        (500, True, True, False),  # it ran, and raised
        (504, True, True, False),
        (400, False, True, False),
        (415, False, True, False),
    ],
)
def test_what_can_be_sent_again(status, may_have_run, is_idempotent, can):
    error = ClientError(status, "X", "x", may_have_run=may_have_run)

    assert can_repeat(error, is_idempotent=is_idempotent) is can


@given(errors, st.integers(1, 60), st.floats(0, 200), drawn, st.booleans())
def test_a_pause_is_never_shorter_than_asked_nor_longer_than_the_time_left(
    error, sent, remaining_s, chance, idempotent
):
    pause = pause_s(Retries(max_retries=40), error, sent, remaining_s, chance, is_idempotent=idempotent)

    if pause is not None:
        assert can_repeat(error, is_idempotent=idempotent)
        assert (error.retry_after_s or 0) <= pause < remaining_s
        assert pause - (error.retry_after_s or 0) <= 5.0 + 1e-9


@pytest.mark.parametrize(("num_sent", "is_sent_again"), [(1, True), (2, True), (3, False)])
def test_a_call_is_sent_again_so_many_times(num_sent, is_sent_again):
    pause = pause_s(Retries(max_retries=2), ClientError(429, "X", "x"), num_sent, 9, 0.5, is_idempotent=False)

    assert (pause is not None) is is_sent_again


@pytest.mark.parametrize(("remaining_s", "waits"), [(0.99, False), (1.0, False), (1.01, True)])
def test_what_would_be_too_late_is_not_waited_for(remaining_s, waits):
    error = ClientError(503, "X", "x", retry_after_s=1)

    assert (pause_s(Retries(), error, 1, remaining_s, 0.0, is_idempotent=False) is not None) is waits


def test_pauses_double_up_to_their_limit():
    limits = Retries(max_retries=9, first_pause_s=1, max_pause_s=5)

    pauses = [pause_s(limits, ClientError(429, "X", "x"), n, 99, 0.5, is_idempotent=False) for n in range(1, 6)]

    assert pauses == [0.5, 1, 2, 2.5, 2.5]


@pytest.mark.parametrize("value", [-1, -0.1])
def test_negative_limits_are_refused(value):
    for name in ("max_retries", "first_pause_s", "max_pause_s"):
        with pytest.raises(ValueError, match="not negative"):
            Retries(**{name: value})


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("0", 0), ("7", 7), (" 7 ", 7), ("", None), ("soon", None), ("-1", None), ("Wed, 21 Oct 2015 07:28:00 GMT", 0)],
)
def test_retry_after_is_seconds_or_a_date(header, seconds):
    assert retry_after_s(header) == seconds


@pytest.mark.parametrize(
    ("status", "type_", "may_have_run"),
    [
        (429, "TooManyRequests", False),
        (503, "NotReady", False),
        (503, "RevisionMoved", True),
        (500, "ValueError", True),
        (502, "WorkerLost", True),
        (422, "BadRequest", False),
    ],
)
def test_what_the_server_says_tells_whether_it_may_have_run(status, type_, may_have_run):
    assert refused(status, {}, b'{"error": {"type": "%b"}}' % type_.encode()).may_have_run is may_have_run


@pytest.mark.parametrize(
    ("body", "type_", "message", "hint"),
    [
        (b'{"error": {"type": "NotFound", "message": "No", "hint": "Try"}}', "NotFound", "No", "Try"),
        (b'{"error": {"message": 7}}', "Status404", '{"error": {"message": 7}}', ""),
        (b'{"error": "no"}', "Status404", "no", ""),
        (b"<html>", "Status404", "<html>", ""),
        (b"", "Status404", "no reason was given", ""),
        (b"\xff", "Status404", "\ufffd", ""),
        (b"[" * 100_000, "Status404", "[" * 2000, ""),
    ],
)
def test_an_error_says_what_the_server_said(body, type_, message, hint):
    error = refused(404, {}, body)

    assert (error.status, error.type, error.message, error.hint) == (404, type_, message, hint)
    assert str(error).startswith("404: ")
