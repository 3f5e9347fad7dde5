"""A session's events for other processes: all of it, in order, over a real socket; and nobody holds the loop up."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from contextlib import asynccontextmanager

import pytest

from hotloop import events
from hotloop.devloop import control
from hotloop.devloop.attached import attached
from hotloop.devloop.backlog import LIMITS, Backlog
from hotloop.devloop.broadcast import Broadcast
from hotloop.errors import RunnerError, UsageError

DEADLINE_S = 20.0


def log(number):
    return events.Log(float(number), 1, "stdout", f"line {number}")


def report(name, number):
    return events.ProbeReported(
        1.0, number, number, events.ProbeReport(name, True, False, "out", (), 0.1, 0.1, None)
    )  # fmt: skip


def ended():
    return events.SessionEnded(9.0, "")


async def no_answer(request):
    msg = f"knows no {request['name']}"
    raise UsageError(msg, hint="ask for less")


@asynccontextmanager
async def session(path, answer=no_answer, **limits):
    broadcast = Broadcast(answer, **limits)
    async with control.listening(path, answer, broadcast.watch):
        yield broadcast
        await broadcast.close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "c"


@pytest.mark.parametrize(
    "first", [b'{"name": "watch"}\n', b'{"name": "slow"}\n', b""], ids=["watches", "asks", "says nothing"]
)
def test_a_session_that_ends_takes_its_connections_along_without_a_word(path, caplog, first):
    async def answer(request):
        if request["name"] == "slow":
            await asyncio.sleep(DEADLINE_S)
        return {}

    async def run():
        async with session(path, answer) as broadcast:
            broadcast(ended())
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(first)
            await asyncio.to_thread(control.ask, path, {"name": "quick"})  # connections are taken in turn
        async with asyncio.timeout(control.ANSWER_TIMEOUT_S / 2):
            await reader.read()  # to the end, which nobody waits for
        writer.close()

    asyncio.run(run())
    assert [record.getMessage() for record in caplog.records] == []


def test_the_backlog_keeps_the_newest_of_a_fact_and_many_lines():
    backlog = Backlog()
    told = [
        events.LinkMeasured(1.0, 0.1),
        log(1),
        events.LinkMeasured(2.0, 0.2),
        log(2),
        report("a", 1),
        report("b", 1),
    ]
    for event in [*told, report("a", 2)]:
        backlog.add(event)

    assert backlog.since(0) == [told[1], told[2], told[3], told[5], report("a", 2)]
    assert backlog.since(5) == [told[5], report("a", 2)]


def test_the_backlog_is_bounded_by_lines_and_by_their_length():
    backlog, long = Backlog(), Backlog()
    for number in range(LIMITS["log"] + 10):
        backlog.add(log(number))
    for number in range(20):
        long.add(events.Log(float(number), 1, "stdout", "x" * 1_000_000))

    assert backlog.since(0) == [log(number) for number in range(10, LIMITS["log"] + 10)]
    assert len(long.since(0)) == 8


def test_a_newcomer_gets_what_happened_then_what_happens(path):
    async def main():
        async with session(path) as broadcast:
            for number in range(300):
                broadcast(log(number))
            async with attached(path) as feed:
                got = []
                async for event in feed.events():
                    got.append(event)
                    if event == log(299):
                        broadcast(report("ada", 1))
                        broadcast(ended())
                        asyncio.get_running_loop().call_soon(asyncio.ensure_future, broadcast.close())
                return got

    assert asyncio.run(main()) == [*map(log, range(300)), report("ada", 1), ended()]


def test_requests_are_answered_beside_events_and_refusals_have_a_hint(path):
    async def answer(request):
        if request["name"] == "slow":
            await asyncio.sleep(0.2)
        elif request["name"] != "quick":
            return await no_answer(request)
        return {"said": request["name"], "to": request["who"]}

    async def main():
        async with session(path, answer) as broadcast, attached(path) as feed:
            broadcast(log(1))  # nobody takes events: answers pass them
            slow = asyncio.create_task(feed.ask("slow", who="a"))
            await asyncio.sleep(0)
            quick = await feed.ask("quick", who="b")
            was_first = not slow.done()
            with pytest.raises(RunnerError, match="knows no mercy") as refused:
                await feed.ask("mercy")
            return quick, was_first, await slow, refused.value.hint

    quick, was_first, slow, hint = asyncio.run(main())

    assert (quick, slow) == ({"said": "quick", "to": "b"}, {"said": "slow", "to": "a"})
    assert was_first
    assert hint == "ask for less"


def test_one_request_a_connection_is_answered_as_before(path):
    async def main():
        async with session(path):
            return await asyncio.to_thread(ask_twice)

    def ask_twice():
        with pytest.raises(RunnerError, match="knows no status"):
            control.ask(path, {"name": "status"})
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
            connection.sendall(b"no json\n")
            return connection.recv(100)

    assert asyncio.run(main()) == b""


def test_who_does_not_read_is_told_how_much_was_lost_and_has_the_facts(path):
    """It asks to watch and reads nothing: the loop tells 40,000 events all the same, and it gets the last of them."""

    async def main():
        async with session(path, max_waiting=100) as broadcast:
            reader, writer = await asyncio.open_unix_connection(path, limit=1 << 26)
            writer.write(b'{"name": "watch"}\n')
            assert json.loads(await reader.readline())["watching"]
            for number in range(40_000):
                broadcast(log(number))
                if number % 1000 == 0:
                    await asyncio.sleep(0)
            broadcast(events.LinkMeasured(1.0, 0.5))
            broadcast(ended())
            lines, last = [], ""
            while last != "session_ended":
                lines.append(json.loads(await reader.readline()))
                last = lines[-1].get("kind")
            writer.close()
            return lines

    lines = asyncio.run(main())
    texts = [line["text"] for line in lines if line.get("kind") == "log"]
    dropped = sum(line["count"] for line in lines if line.get("kind") == "events_dropped")

    assert dropped > 0
    assert len(texts) + dropped == 40_000
    assert texts[-1] == "line 39999"
    assert texts == sorted(texts, key=lambda text: int(text.split()[1]))
    assert "link_measured" in {line.get("kind") for line in lines}


WATCHER = """
import asyncio, sys
from pathlib import Path
from hotloop.devloop.attached import attached

async def main():
    async with attached(Path(sys.argv[1])) as feed:
        async for event in feed.events():
            print(event.kind, flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_a_watcher_that_is_stopped_or_killed_does_not_touch_the_session(path, number):
    async def main():
        async with session(path, max_waiting=100) as broadcast:
            process = subprocess.Popen([sys.executable, "-c", WATCHER, str(path)], stdout=subprocess.PIPE)  # noqa: ASYNC220
            try:
                broadcast(log(0))
                await asyncio.to_thread(process.stdout.readline)
                process.send_signal(number)
                for each in range(20_000):
                    broadcast(log(each))
                    if each % 500 == 0:
                        await asyncio.sleep(0)
                async with attached(path) as other:
                    async for event in other.events():
                        if event == log(19_999):
                            break
                began_s = time.monotonic()
                await broadcast.close()
                return time.monotonic() - began_s
            finally:
                process.kill()
                process.wait()
                process.stdout.close()

    assert asyncio.run(main()) < DEADLINE_S


def test_the_feed_ends_with_the_connection_and_then_refuses(path):
    async def main():
        async with contextlib.AsyncExitStack() as stack:
            broadcast = await stack.enter_async_context(session(path))
            broadcast(log(1))
            async with attached(path) as feed:
                got = []
                async for event in feed.events():
                    got.append(event)
                    await broadcast.close()
                with pytest.raises(RunnerError, match="gone"):
                    await feed.ask("status")
                return got

    assert asyncio.run(main()) == [log(1)]


def test_nobody_there_is_an_error_with_a_hint(path):
    async def main():
        async with attached(path):
            pass

    with pytest.raises(RunnerError, match="gone") as error:
        asyncio.run(main())

    assert "hotloop status" in error.value.hint
