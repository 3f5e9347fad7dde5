"""A bench as the engine has it carried out: what is sent, and that a stop leaves nothing, whenever it comes."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from pathlib import Path

import pytest
from tests.cli.test_serve import wait_until
from tests.cli.test_serve_bench import _command
from tests.devloop.load.server import Server
from tests.devloop.test_bench import SHAPE

from hotloop.devloop import bencher
from hotloop.devloop.bench import Begin
from hotloop.devloop.bencher import Bencher, write_request
from hotloop.devloop.load.figures import Noise
from hotloop.errors import UsageError

URL = "http://127.0.0.1:8000"
PIN = {
    "name": "bo", "method": "PUT", "path": "/greet?lang=en", "headers": {"content-type": "text/plain"},
    "body": base64.b64encode(b"\x00body").decode(),
}  # fmt: skip


async def no_pins():
    return ()


def children():
    """This process's children that send load; one that was ended while it was made may take a moment to go."""

    def found():
        listed = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        return [pid for pid in listed if b"load.process" in _command(pid)]

    wait_until(lambda: not found())
    return found()


def sent(shape=SHAPE, data="", pins=()):
    head, _, body = write_request(URL, shape, data, pins).partition(b"\r\n\r\n")
    return head.decode().split("\r\n"), body


def test_the_data_given_are_sent_whatever_is_pinned():
    head, body = sent(data='{"name": "Bo"}', pins=[PIN])

    assert head[0] == "POST /greet HTTP/1.1"
    assert {"host: 127.0.0.1:8000", "content-type: application/json", "x-hotloop-probe: bench"} <= set(head)
    assert json.loads(body) == {"name": "Bo"}


def test_a_pinned_request_is_sent_as_it_was():
    head, body = sent(pins=[{**PIN, "path": "/other"}, PIN])

    assert head[0] == "PUT /greet?lang=en HTTP/1.1"
    assert {"content-type: text/plain", "content-length: 5", "x-hotloop-probe: bench"} <= set(head)
    assert body == b"\x00body"


def test_without_either_no_argument_is_sent():
    assert sent(pins=[{**PIN, "path": "/greetings"}])[1] == b"{}"


def test_an_endpoint_without_a_body_has_its_arguments_in_the_query():
    get = bencher.replace(SHAPE, methods=("GET",))

    assert sent(get, data='{"name": "a b"}')[0][0] == "GET /greet?name=a+b HTTP/1.1"
    with pytest.raises(UsageError, match="in the query"):
        sent(get, data='{"name": {"a": 1}}')


@pytest.mark.parametrize(
    ("is_far_enough", "num_made"),
    [(lambda begun, made: True, 0), (lambda begun, made: begun, 1), (lambda begun, made: made, 1)],
    ids=["before it ran", "while its process is made", "while that runs"],
)
def test_a_stop_leaves_no_process_however_early_it_comes(is_far_enough, num_made, monkeypatch):
    begun, made, results = [], [], []
    make = asyncio.create_subprocess_exec

    async def noted(*arguments, **options):
        begun.append(arguments)
        made.append(await make(*arguments, **options))
        return made[-1]

    async def main(url):
        one = Bencher("{}", no_pins)
        task = one.begin(url, Begin(1, SHAPE, None, Noise()), results.append)
        while not is_far_enough(begun, made):  # noqa: ASYNC110  each turn of the loop counts
            await asyncio.sleep(0)
        one.stop()
        await asyncio.wait([task])
        assert task.cancelled()

    monkeypatch.setattr(asyncio, "create_subprocess_exec", noted)
    with Server(pause_s=lambda _: 3600) as server:
        asyncio.run(main(server.url))

    assert results == []
    assert len(begun) == num_made
    assert all(process.returncode == -9 for process in made)
    assert not children()


def test_the_next_bench_may_begin_while_the_stopped_one_ends():
    results = []

    async def main(url):
        one = Bencher("{}", no_pins)
        first = one.begin(url, Begin(1, SHAPE, None, Noise()), lambda _: results.append("stopped"))
        await asyncio.sleep(0.05)
        one.stop()
        second = one.begin(url, Begin(2, SHAPE, None, Noise()), results.append)
        await asyncio.wait([first, second])

    with Server(pause_s=lambda _: 0.005) as server:
        asyncio.run(main(server.url))

    (result,) = results
    assert result.figures.num_requests > 0


def test_a_process_that_breaks_is_told_with_its_last_words(monkeypatch):
    results = []
    monkeypatch.setattr(bencher, "COMMAND", (bencher.sys.executable, "-c", "raise RuntimeError('no luck')"))

    async def main():
        await Bencher("{}", no_pins).begin(URL, Begin(1, SHAPE, None, Noise()), results.append)

    asyncio.run(main())

    assert results[0].problem.message == "it ended without a result: RuntimeError: no luck"


def test_a_bench_beyond_its_deadline_is_told(monkeypatch):
    results = []
    monkeypatch.setattr(bencher, "SLACK_S", 0.1)
    monkeypatch.setattr(bencher, "COMMAND", (bencher.sys.executable, "-c", "import time; time.sleep(600)"))

    async def main():
        await Bencher("{}", no_pins).begin(URL, Begin(1, SHAPE, None, Noise(), 0.1), results.append)

    asyncio.run(main())

    assert results[0].problem.message == "it ended without a result: not in time"
