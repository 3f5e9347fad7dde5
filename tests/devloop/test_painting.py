"""When a probe's result counts as shown, where another process paints it."""

from __future__ import annotations

import asyncio
import time

from hotloop import events
from hotloop.devloop import painting
from hotloop.devloop.machine_events import Shown
from hotloop.devloop.painting import Painting


def reported(name="ada", generation=2):
    report = events.ProbeReport(name, True, False, "out", (), 0.1, 0.1, None)
    return events.ProbeReported(1.0, 1, generation, report)


async def elsewhere():
    shown = []
    paints = Painting(asyncio.get_running_loop(), shown.append)
    paints.is_elsewhere = True
    return paints, shown


def test_what_is_written_here_is_shown_at_once():
    async def main():
        shown = []
        paints, before_s = Painting(asyncio.get_running_loop(), shown.append), time.monotonic()
        paints.told(reported())
        paints.after(2, lambda: shown.append("after"))
        return shown, before_s

    (told, after), before_s = asyncio.run(main())

    assert (told.generation, told.name) == (2, "ada")
    assert before_s <= told.at_s <= time.monotonic()
    assert after == "after"


def test_what_follows_waits_until_all_of_its_generation_is_painted():
    async def main():
        paints, shown = await elsewhere()
        paints.told(reported("ada"))
        paints.told(reported("bo"))
        paints.told(reported("ada", 3))
        paints.after(2, lambda: shown.append("after 2"))
        painted_s = time.monotonic()
        paints.painted(2, "ada", painted_s)
        paints.painted(2, "nobody's", painted_s)
        paints.painted(2, "bo", painted_s)
        paints.painted(2, "bo", painted_s)  # by another dashboard, later
        paints.give_up()
        return shown, painted_s

    shown, painted_s = asyncio.run(main())

    assert shown[:3] == [Shown(painted_s, 2, "ada"), Shown(painted_s, 2, "bo"), "after 2"]
    assert [(each.generation, each.name) for each in shown[3:]] == [(3, "ada")]


def test_a_painter_that_hangs_neither_holds_up_nor_adds_to_the_time(monkeypatch):
    monkeypatch.setattr(painting, "PAINT_TIMEOUT_S", 0.05)

    async def main():
        paints, shown = await elsewhere()
        done = asyncio.Event()
        paints.told(reported())
        told_s = time.monotonic()
        paints.after(2, done.set)
        async with asyncio.timeout(10):
            await done.wait()
        paints.painted(2, "ada", time.monotonic())
        return shown, told_s

    (shown,), told_s = asyncio.run(main())

    assert shown.at_s <= told_s


def test_a_time_that_can_not_be_is_not_believed():
    async def main():
        paints, shown = await elsewhere()
        for number, at_s in enumerate([0.0, time.monotonic() + 1000, None]):
            paints.told(reported(generation=number))
            paints.painted(number, "ada", at_s)
        return shown

    before_s = time.monotonic()
    shown = asyncio.run(main())

    assert len(shown) == 3
    assert all(before_s <= each.at_s <= time.monotonic() for each in shown)
