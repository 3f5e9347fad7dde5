"""Lines typed while the loop runs: in the background they wait, and waiting costs nothing. And a terminal that goes away."""

import asyncio
import io
import os
import pty
import signal

from hotloop.cli import keys, serving
from hotloop.devloop import requests


def test_a_line_typed_while_in_the_background_is_taken_later_without_spinning(monkeypatch):
    main_end, end = pty.openpty()
    foreground, looks = [False], []

    def is_foreground(_):
        looks.append(None)
        return foreground[0]

    monkeypatch.setattr(keys, "is_terminal", lambda: True)
    monkeypatch.setattr(keys, "_is_foreground", is_foreground)
    monkeypatch.setattr(keys, "FOREGROUND_CHECK_S", 0.05)
    monkeypatch.setattr("sys.stdin", os.fdopen(end, "r"))

    async def main():
        taken = asyncio.Queue()
        typed = keys.Keys(taken.put_nowait)
        typed.open()
        os.write(main_end, b"p\n")
        await asyncio.sleep(0.3)
        looked = len(looks)
        foreground[0] = True
        line = await asyncio.wait_for(taken.get(), 10)
        typed.close()
        return looked, line

    looked, line = asyncio.run(main())

    assert line == "p"
    assert looked <= 7  # once each time, not thousands of times
    os.close(main_end)


def test_a_terminal_that_is_gone_is_not_listened_to(monkeypatch):
    ours, theirs = os.openpty()
    monkeypatch.setattr("sys.stdin", os.fdopen(theirs))

    async def main():
        typed = keys.Keys(lambda line: None)
        typed.open()
        os.close(ours)
        async with asyncio.timeout(5):
            while typed._loop.remove_reader(theirs):  # it was still read: put it back and look again
                typed.open()
                await asyncio.sleep(0.01)

    asyncio.run(main())


class _Gone(io.TextIOBase):
    """Stderr on a terminal that is no more."""

    def write(self, text):
        raise OSError(5, "Input/output error")


class _Engine:
    def __init__(self):
        self.stops = []

    def stop(self, reason, code):
        self.stops.append((reason, code))


class _Showing:
    def __init__(self):
        self.is_dismissed = False

    def dismiss(self):
        self.is_dismissed = True


def test_a_signal_stops_the_session_also_when_nothing_can_be_told(monkeypatch):
    monkeypatch.setattr("sys.stderr", _Gone())
    engine, showing = _Engine(), _Showing()

    async def main():
        serving._Signals(engine, showing)._take(signal.SIGHUP)

    asyncio.run(main())

    assert engine.stops == [("", 129)]
    assert showing.is_dismissed


def test_each_key_is_a_request_and_named_in_the_tip():
    told = {part.split(":")[0].removesuffix(" Enter").strip() for part in keys.TIP.split("·")}

    assert set(keys.KEYS.values()) <= set(requests.REQUESTS)
    assert {key if key != " " else "space" for key in keys.KEYS} - {"y"} == told - {"Enter alone"}
