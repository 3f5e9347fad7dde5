"""Lines that are older than those a dashboard got: which they are, and that they are put above the others."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tests.tui.log_app import LogApp, log

from hotloop import events
from hotloop.errors import RunnerError
from hotloop.tui.log import older
from hotloop.tui.log.buffer import Buffer, Record


def lines(*texts: str, began_s: float = 100.0, step_s: float = 0.1) -> list[events.Log]:
    return [events.Log(began_s + number * step_s, 1, "stdout", text) for number, text in enumerate(texts)]


def test_what_came_before_the_first_line_is_found_on_another_machine_s_clock():
    kept = lines("a", "b", "c", "d", began_s=5000.0)
    shown = lines("a", "b", "c", "d")[2:]

    found = older.before(kept, shown)

    assert [line.text for line in found] == ["a", "b"]
    assert [line.at_s for line in found] == pytest.approx([100.0, 100.1])


def test_lines_that_are_all_alike_are_told_apart_by_their_times():
    kept = [events.Log(at_s, 1, "stdout", "tick") for at_s in (10.0, 11.2, 12.1, 13.4)]
    shown = [replace(line, at_s=line.at_s + 90) for line in kept[1:]]

    assert [line.at_s for line in older.before(kept, shown)] == pytest.approx([100.0])


@pytest.mark.parametrize("shown", [[], lines("x"), lines("c", "b")])
def test_nothing_is_older_than_what_is_not_kept(shown: list[events.Log]):
    assert older.before(lines("a", "b", "c"), shown) == []


def test_a_buffer_takes_older_lines_as_far_as_there_is_room():
    buffer = Buffer(max_lines=4, trim_lines=2)
    buffer.append(Record(0, "I", "app", 1, 0, text) for text in "de")

    added = buffer.prepend([Record(0, "E", "app", 1, 0, text) for text in "abc"])

    assert (added, buffer.first, buffer.end) == (2, -2, 2)
    assert [record.text for _, record in buffer] == ["b", "c", "d", "e"]
    assert buffer[-2].text == "b"
    assert buffer.counts["E"] == 2


class Runner:
    """What is asked for the lines that it kept."""

    def __init__(self, kept: list[events.Log], *, is_cut: bool = False, error: RunnerError | None = None) -> None:
        self.num_asked = 0
        self._kept, self._is_cut, self._error = kept, is_cut, error

    async def __call__(self) -> tuple[list[events.Log], bool]:
        self.num_asked += 1
        if self._error is not None:
            raise self._error
        return self._kept, self._is_cut


def after(runner: Runner, came: list[events.Log], *keys: str) -> tuple[LogApp, list[str], list[str]]:
    """Press keys in a log that got the newest lines alone. Gives all of its lines, and those in sight."""

    async def run() -> tuple[LogApp, list[str]]:
        app = LogApp(read_kept=runner)
        async with app.run_test(size=(100, 12)) as pilot:
            for event in came:
                app.pane.add(event)
            while app.pane.is_busy:
                await pilot.pause(0.01)
            assert runner.num_asked == 0
            for key in keys:
                await pilot.press(key)
            await app.workers.wait_for_complete()
            while app.pane.is_busy:
                await pilot.pause(0.01)
            await pilot.pause()
            return app, [app.pane.buffer[number].text for number in app.pane.lines.in_sight]

    app, in_sight = asyncio.run(run())
    return app, [record.text for _, record in app.pane.buffer], in_sight


KEPT = [replace(log(f"line {number:03}"), at_s=1000.0 + number / 10) for number in range(60)]


def test_looking_above_the_first_line_asks_once_for_older_ones():
    runner = Runner(KEPT, is_cut=True)

    app, texts, _ = after(runner, KEPT[40:], "g", "g", "g", "end", "g")

    assert runner.num_asked == 1
    assert texts[1:] == [event.text for event in KEPT]
    assert texts[0] == "older lines are gone: the runner keeps 4 to 8 MB"
    assert app.pane.buffer.first == -41


def test_what_is_looked_at_stays_in_sight_with_the_older_lines_above_it():
    _, _, in_sight = after(Runner(KEPT), KEPT[40:], "g")

    assert in_sight[-1] == "line 040"
    assert in_sight[-2] == "line 039"


def test_a_search_is_for_the_older_lines_too():
    _, _, in_sight = after(Runner(KEPT), KEPT[40:], "slash", "0", "0", "7")

    assert in_sight == ["line 007"]


@pytest.mark.parametrize(
    ("runner", "said"),
    [
        (Runner(KEPT[40:]), "the app wrote nothing before"),
        (Runner([], error=RunnerError("gpu-01 does not answer")), "older lines can't be read: gpu-01 does not answer"),
    ],
)
def test_one_line_says_that_there_is_nothing_older(runner: Runner, said: str):
    _, texts, _ = after(runner, KEPT[40:], "g")

    assert texts == [said, *(event.text for event in KEPT[40:])]
