"""wrk as the load generator, against real servers that answer, refuse and stay silent."""

import shutil
import socket
from collections import Counter

import pytest
from benchmarks.serving_load import LoadFailed
from tests.benchmarks.test_serving_load import FULL, OK, requests, serving

from benchmarks import serving_wrk

needs_wrk = pytest.mark.skipif(shutil.which("wrk") is None, reason=serving_wrk.HINT)


@needs_wrk
@pytest.mark.parametrize("num_clients", [1, 8])
def test_every_request_is_sent_whole_and_as_often_as_the_others(num_clients):
    with serving(OK) as (port, seen):
        found = serving_wrk.run(port, requests(), num_clients, window_s=0.5)

    counts = Counter(seen)
    assert set(counts) == {b'{"text": "0"}', b'{"text": "1"}', b'{"text": "2"}'}
    assert max(counts.values()) - min(counts.values()) <= num_clients
    assert 0 <= len(seen) - found["num_answers"] <= num_clients  # one may be under way at the end
    assert found["num_errors"] == 0
    assert found["rate"] > 0
    assert 0 < found["p50_ms"] <= found["p99_ms"]


@needs_wrk
def test_other_statuses_are_errors():
    with serving(FULL) as (port, _):
        found = serving_wrk.run(port, requests(), 2, window_s=1)

    assert found["num_errors"] == found["num_answers"] > 0


@needs_wrk
def test_a_server_that_never_answers_is_a_failure():
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(LoadFailed, match="wrk got no answer in 1 s"):
        serving_wrk.run(silent.getsockname()[1], requests(), 2, window_s=1)


@needs_wrk
def test_what_wrk_says_when_it_cannot_work_is_shown():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))

        with pytest.raises(LoadFailed, match="unable to connect"):
            serving_wrk.run(closed.getsockname()[1], requests(), 2, window_s=1)


def test_a_missing_wrk_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "")

    with pytest.raises(LoadFailed, match="apt-get install wrk"):
        serving_wrk.run(1, requests(), 1, window_s=1)


def test_any_byte_can_be_sent():
    assert serving_wrk._quoted(b'a"\\\n\x00\xff') == r'"\097\034\092\010\000\255"'
