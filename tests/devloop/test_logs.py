"""An app's log lines, read by another client than the one that serves it: each once, whatever happens to the line."""

import asyncio
import contextlib
import datetime as dt
import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from tests.remote_runner.line import Line

from hotloop.devloop import logs
from hotloop.errors import RunnerError, UsageError
from hotloop.events import Log
from hotloop.remote_runner.channels import Channels
from hotloop.remote_runner.client import connect
from hotloop.remote_runner.local import LocalWay

FAKE_RUNTIME = (sys.executable, str(Path(__file__).parent.parent / "remote_runner" / "fake_runtime.py"), "{fd}")
ARGUMENTS = ("--runtime-command", json.dumps(FAKE_RUNTIME))
PROJECT = "abcdef0123"
DEADLINE_S = 20.0
NOW = dt.datetime(2026, 5, 4, 14, 30, tzinfo=dt.timezone(dt.timedelta(hours=2)))


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(logs, "RETRY_S", 0.2)


def run(state, main):
    try:
        return asyncio.run(asyncio.wait_for(main, 40))
    finally:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError):
            os.kill(int((state / "agent/pid").read_text()), signal.SIGKILL)


async def until(is_true, what="it"):
    deadline_s = time.monotonic() + DEADLINE_S
    while not is_true():
        assert time.monotonic() < deadline_s, f"{what} did not happen"
        await asyncio.sleep(0.01)


class Reader:
    """Someone who reads the logs through a line of their own."""

    def __init__(self, state, **options):
        self.seen, self.notices = [], []
        self.line = Line(state, agent_arguments=ARGUMENTS)
        self.task = asyncio.create_task(self._read(options))

    async def _read(self, options):
        channels = Channels(self.line)
        try:
            await logs.read(channels, PROJECT, self.seen.append, self.notices.append, **options)
        finally:
            await channels.close()
            await self.line.close()

    @property
    def texts(self):
        return [event["text"] for event in self.seen]


async def read(state, **options):
    reader = Reader(state, **options)
    await reader.task
    return reader


async def read_until(state, is_enough):
    for _ in range(200):
        reader = await read(state)
        if is_enough(reader.texts):
            return reader
        await asyncio.sleep(0.05)
    return pytest.fail(f"no more than {[text[:40] for text in reader.texts]} was written")


def test_lines_are_read_while_the_app_runs_and_after_it_ended_with_their_time(tmp_path):
    async def main():
        began_s = time.time()
        async with connect(LocalWay(tmp_path, agent_arguments=ARGUMENTS)) as session:
            await session.open(tmp_path, PROJECT)
            await session.start({"logs": ["one", "two"]})
            reader = await read_until(tmp_path, lambda texts: texts == ["one", "two"])
            await session.end()
        ended = await read(tmp_path)
        assert all(began_s - 1 < event["wall_s"] < time.time() + 1 for event in reader.seen)
        return ended.texts, ended.notices, {event["generation"] for event in ended.seen}

    assert run(tmp_path, main()) == (["one", "two"], [], {1})


def test_a_dashboard_that_came_later_gets_all_that_is_kept(tmp_path):
    async def main():
        way = LocalWay(tmp_path, agent_arguments=ARGUMENTS)
        async with connect(way) as session:
            await session.open(tmp_path, PROJECT)
            await session.start({"logs": ["one", "two"]})
            await read_until(tmp_path, lambda texts: texts == ["one", "two"])
            kept = await logs.kept(way, PROJECT)
            await session.end()
            return kept

    kept = run(tmp_path, main())

    assert [Log(*line).text for line in kept["lines"]] == ["one", "two"]
    assert not kept["is_cut"]


def test_who_follows_gets_each_line_once_across_cuts_until_the_session_ends(tmp_path):
    async def main():
        async with connect(LocalWay(tmp_path, agent_arguments=ARGUMENTS)) as session:
            await session.open(tmp_path, PROJECT)
            await session.start({"logs": ["0"]})
            reader = Reader(tmp_path, is_following=True)
            for number in range(1, 6):
                await until(lambda number=number: len(reader.seen) == number, "the next line")
                if number % 2:
                    reader.line.cut()
                await session.start({"logs": [str(number)]})
            await until(lambda: len(reader.seen) == 6, "the last line")
            await session.end()
            await reader.task
            return reader.texts, set(reader.notices)

    texts, notices = run(tmp_path, main())

    assert texts == ["0", "1", "2", "3", "4", "5"]
    assert notices == {"The connection to line was lost. Trying again."}


def test_only_what_is_new_enough_is_read_and_what_is_gone_is_said(tmp_path):
    async def main():
        async with connect(LocalWay(tmp_path, agent_arguments=ARGUMENTS)) as session:
            await session.open(tmp_path, PROJECT)
            await session.start({"logs": ["old"]})
            await read_until(tmp_path, lambda texts: texts == ["old"])
            await asyncio.sleep(0.3)
            await session.start({"logs": ["new"]})
            both = await read_until(tmp_path, lambda texts: texts == ["old", "new"])
            first = both.seen[0]["wall_s"]
            newer = await read(tmp_path, max_age_s=time.time() - first - 0.15)

            await session.start({"logs": [f"{number:04}" for number in range(100)], "times": 25_000})
            whole = await read_until(tmp_path, lambda texts: texts and texts[-1].startswith("0099"))
            recent = await read(tmp_path, max_age_s=0.000_001)
            await session.end()
            return newer.texts, newer.notices, whole, recent.texts + recent.notices

    newer, notices, whole, recent = run(tmp_path, main())

    assert (newer, notices, recent) == (["new"], [], [])
    assert [text[:4] for text in whole.texts] == [f"{number:04}" for number in range(100 - len(whole.texts), 100)]
    assert 40 <= len(whole.texts) < 100
    assert whole.notices == ["older lines are gone: the runner keeps the last 4 to 8 MB of a session's events"]


def test_a_project_that_never_ran_has_no_logs_and_is_told_what_to_do(tmp_path):
    with pytest.raises(RunnerError, match="nothing ran for this project yet") as caught:
        run(tmp_path, read(tmp_path, is_following=True))

    assert caught.value.hint == "dev serve first"


@pytest.fixture
def clock_of_berlin(monkeypatch):
    """This machine's time zone, whichever that is, becomes one that has summer time."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("since", "age_s"),
    [
        ("90s", 90),
        ("10m", 600),
        ("1.5h", 5400),
        ("2d", 172_800),
        ("14:05", 25 * 60),
        ("9:00", 5.5 * 3600),
        ("14:29:30", 30),
        ("23:30", 15 * 3600),
        ("2026-05-04 14:00", 1800),
        ("2026-03-01 14:00", 63 * 86_400 + 23.5 * 3600),  # before summer time began
        ("2026-05-04T12:00:00+00:00", 1800),
    ],
)
def test_since_is_a_duration_or_a_time_of_this_machines_clock(since, age_s, clock_of_berlin):
    assert logs.age_of(since, NOW) == age_s


@pytest.mark.parametrize("since", ["soon", "10", "25:00", "2026-05-04 15:00", "-5m", "2026-13-01"])
def test_since_that_can_not_be_is_refused_with_examples(since, clock_of_berlin):
    with pytest.raises(UsageError, match="--since is") as caught:
        logs.age_of(since, NOW)

    assert "10m" in caught.value.hint
