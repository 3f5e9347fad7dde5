"""What the log's keys do, on a screen of 80 columns."""

from __future__ import annotations

import asyncio
import re
import stat
import time
from typing import TYPE_CHECKING

import pytest
from tests.tui.log_app import LogApp, iteration, log
from textual import _time as textual_time

from hotloop import events
from hotloop.tui.log import elsewhere, listing
from hotloop.tui.log.buffer import Buffer, Record
from hotloop.tui.log.filter import Search
from hotloop.tui.log.whole import WholeLine

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from textual.pilot import Pilot

SIZE = (80, 12)
ROWS = 11


def driven(test: Callable[[Pilot[None], LogApp], Awaitable[None]], **options) -> None:
    async def run() -> None:
        app = LogApp(**options)
        async with app.run_test(size=SIZE) as pilot:
            await test(pilot, app)

    asyncio.run(run())


async def fill(pilot: Pilot[None], app: LogApp, *added: events.Event) -> None:
    for event in added:
        app.pane.add(event)
    while app.pane.is_busy:
        await pilot.pause(0.01)
    await pilot.pause()


def lines(*numbers: int) -> list[events.Log]:
    return [log(f"line {number}") for number in numbers]


def texts(app: LogApp) -> list[str]:
    return [row.partition("line ")[2] for row in app.shown()]


def title(app: LogApp) -> str:
    return app.grid()[0]


def test_it_follows_until_someone_looks_up_and_then_stays_where_it_is():
    async def test(pilot: Pilot[None], app: LogApp) -> None:
        await fill(pilot, app, *lines(*range(30)))
        assert texts(app) == [str(number) for number in range(19, 30)]
        assert title(app).endswith("30 lines  ▼ following")

        await pilot.press("pageup")
        before = texts(app)
        await fill(pilot, app, *lines(*range(30, 60)))
        assert texts(app) == before
        assert "‖ paused · 30 below · End" in title(app)

        await pilot.press("end")
        assert texts(app)[-1] == "59"
        await fill(pilot, app, *lines(60))
        assert texts(app)[-1] == "60"

    driven(test)


def test_down_from_the_last_line_is_to_follow():
    async def test(pilot: Pilot[None], app: LogApp) -> None:
        await fill(pilot, app, *lines(*range(30)))
        await pilot.press("k", "up")
        assert not app.pane.lines.following
        assert app.pane.buffer[app.pane.lines.at].text == "line 27"
        await pilot.press("j", "down", "down")
        assert app.pane.lines.following

    driven(test)


def test_what_is_looked_at_stays_while_older_lines_are_forgotten():
    async def test(pilot: Pilot[None], app: LogApp) -> None:
        app.pane.buffer = app.pane.lines.buffer = Buffer(max_lines=40, trim_lines=10)
        app.pane.lines.view = type(app.pane.lines.view)(app.pane.buffer)
        await fill(pilot, app, *lines(*range(49)))
        await pilot.press("k", "pageup")
        before = texts(app)
        await fill(pilot, app, *lines(*range(49, 55)))
        assert app.pane.buffer.first == 15
        assert texts(app) == before

        await pilot.press("home")
        assert app.grid()[1].startswith("15 older lines not here: o shows /tmp/whole.log")

    driven(test, log="/tmp/whole.log")


def test_a_filter_is_live_counts_and_ends_with_escape():
    async def test(pilot: Pilot[None], app: LogApp) -> None:
        await fill(pilot, app, *lines(*range(30)))
        await pilot.press("slash", *"Line", "backspace", *"e 2")
        assert "no line is like that; Esc shows all" in "\n".join(app.grid())  # an upper-case letter is meant
        await pilot.press("home", "delete", "l")
        assert texts(app) == [str(number) for number in range(20, 30)]  # the row takes a line
        await pilot.press("enter")
        assert texts(app) == ["2", *map(str, range(20, 30))]
        await fill(pilot, app, *lines(2000, 31))
        assert "/line 2" in title(app)
        assert "12 of 32 lines" in title(app)
        assert texts(app)[-1] == "2000"

        await pilot.press("escape")
        assert texts(app)[-1] == "31"
        assert "of" not in title(app)

    driven(test)


def test_a_match_is_shown_in_context_and_the_next_is_found_there():
    async def test(pilot: Pilot[None], app: LogApp) -> None:
        await fill(pilot, app, *lines(*range(40)))
        await pilot.press("slash", *"line .5", "enter", "k", "c")
        assert app.pane.buffer[app.pane.lines.at].text == "line 25"
        assert "24" in texts(app)
        await pilot.press("n")
        assert app.pane.buffer[app.pane.lines.at].text == "line 35"
        await pilot.press("N", "N")
        assert app.pane.buffer[app.pane.lines.at].text == "line 15"
        await pilot.press("c")
        assert texts(app) == ["15", "25", "35"]

    driven(test)


def test_lines_are_shown_where_the_process_is_held_up_whenever_it_reads_the_clock(monkeypatch: pytest.MonkeyPatch):
    read = textual_time.get_time

    def read_late() -> float:
        time.sleep(0.003)
        return read()

    monkeypatch.setattr(textual_time, "get_time", read_late)

    async def test(pilot: Pilot[None], app: LogApp) -> None:
        async with asyncio.timeout(20):
            await fill(pilot, app, *lines(1))
        assert texts(app) == ["1"]

    driven(test)


def test_a_pattern_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(listing, "LIMIT_S", 0.02)

    async def test(pilot: Pilot[None], app: LogApp) -> None:
        await fill(pilot, app, log("a" * 200), log("(a+)+$ is no pattern here"))
        app.pane._look_for(Search("(a+)+$ "))
        while app.pane.is_busy:
            await pilot.pause(0.01)
        await pilot.pause()
        assert [row.split("  ", 1)[1].strip() for row in app.shown()] == ["(a+)+$ is no pattern here"]

    driven(test)


def test_levels_and_sources_are_left_out_together():
    async def test(pilot: Pilot[None], app: LogApp) -> None:
        request = events.RequestFinished(time.monotonic(), 3, "POST", "/embed", 500, 0.01)
        await fill(pilot, app, log("fine"), log("DEBUG: x"), log("WARNING: y"), log("ERROR: z"), request)
        await pilot.press("l")
        assert len(app.shown()) == 4
        await pilot.press("l", "l")
        assert "errors" in title(app)
        assert len(app.shown()) == 2
        await pilot.press("f", "6")
        assert app.grid()[-1].startswith("Sources  1 ● app")
        assert len(app.shown()) == 1
        await pilot.press("enter")
        assert "without http · errors" in title(app)
        await pilot.press("escape")
        assert len(app.shown()) == 5

    driven(test)


def test_iterations_are_separators_to_jump_to():
    async def test(pilot: Pilot[None], app: LogApp) -> None:
        for number in range(1, 6):
            started = events.IterationStarted(time.monotonic(), number, ("app.py",))
            await fill(pilot, app, started, *lines(*range(8)), iteration(number))
        assert app.pane.show_iteration(2)
        assert app.grid()[1].startswith("━━ #2 ✓ 1.35 s  code  app.py ━━━")
        assert not app.pane.show_iteration(9)
        await pilot.press("right_square_bracket")
        assert app.pane.buffer[app.pane.lines.at].iteration == 3
        await pilot.press("left_square_bracket", "left_square_bracket")
        assert app.pane.buffer[app.pane.lines.at].iteration == 1
        await pilot.press("m")
        assert "mark" in app.pane.buffer[app.pane.buffer.end - 1].text

    driven(test)


def test_lines_are_copied_as_they_were_chosen():
    async def test(pilot: Pilot[None], app: LogApp) -> None:
        await fill(pilot, app, *lines(*range(30)), log("y" * 2000))
        await pilot.press("k", "K", "K", "y")
        assert [line[-7:] for line in app.clipboard.splitlines()] == ["line 27", "line 28", "line 29"]
        await pilot.press("end", "y")
        assert len(app.clipboard.splitlines()) == ROWS
        assert app.clipboard.endswith("y" * 2000)

        await pilot.mouse_down(app.pane.lines, offset=(20, 1))
        await pilot.hover(app.pane.lines, offset=(24, 2))
        await pilot.mouse_up(app.pane.lines, offset=(24, 2))
        await pilot.press("y")
        assert app.clipboard.splitlines()[0] == "line 21"
        assert app.clipboard.splitlines()[1].endswith("I app g3   line ")

    driven(test)


def test_the_whole_of_a_long_line_is_opened():
    async def test(pilot: Pilot[None], app: LogApp) -> None:
        await fill(pilot, app, log(f"{'z' * 1500}END"))
        await pilot.press("enter")
        assert isinstance(app.focused, WholeLine)
        assert "1,503 characters" in "".join(app.grid())
        await pilot.press("end")
        await pilot.pause(0.05)
        assert "END" in "".join(app.grid())
        await pilot.press("y", "escape")
        assert app.clipboard.endswith("END")
        assert app.focused is app.pane.lines

    driven(test)


def test_the_line_that_is_opened_stays_in_sight_above_it():
    async def test(pilot: Pilot[None], app: LogApp) -> None:
        await fill(pilot, app, *lines(*range(30)), log(f"long {'x' * 900}"))
        await pilot.press("up", "down", "up", "down", "up", "enter")
        await pilot.pause()
        await pilot.pause()
        assert app.query_one(WholeLine).has_focus
        assert "29" in texts(app)[: app.pane.lines.size.height]

    driven(test)


def test_the_end_of_a_line_of_wide_characters_can_be_seen():
    async def test(pilot: Pilot[None], app: LogApp) -> None:
        await fill(pilot, app, log(f"{'漢' * 200} END"))
        assert "END" not in "\n".join(app.grid())
        await pilot.press(*["right"] * 30)
        await pilot.pause()
        assert "END" in "\n".join(app.grid())

    driven(test)


def test_nothing_an_app_writes_breaks_the_screen():
    async def test(pilot: Pilot[None], app: LogApp) -> None:
        odd = ["[red]x[/red]", "\x1b[2J\x1b[H", "a\tb", "\ud800", "漢字" * 30, "e\u0301" * 50, "", "\x07", "x" * 5000]
        await fill(pilot, app, *[log(text) for text in odd])
        assert len(app.grid()) == SIZE[1]
        assert any("[red]x[/red]" in row for row in app.grid())

    driven(test)


@pytest.mark.parametrize("width", [120, 80, 56, 40, 20])
def test_it_fits_any_width(width: int):
    async def test() -> None:
        app = LogApp()
        async with app.run_test(size=(width, 6)) as pilot:
            await fill(pilot, app, *lines(*range(9)), iteration(3))
            assert all(len(row) <= width for row in app.grid())
            assert app.grid()[0].endswith("▼ following")
            await pilot.resize_terminal(width + 30, 8)
            await pilot.pause()
            assert texts(app)[-2] == "8"

    asyncio.run(test())


GOLDEN = {
    104: """\
Logs  all sources · /kv= in context                           3 errors  1 warning  13 lines  ▼ following
hh:mm:ss.mmm I sync     #2 saved app.py
hh:mm:ss.mmm I runner   loading llm  load.py:14 changed
hh:mm:ss.mmm E app g3   Traceback (most recent call last):
hh:mm:ss.mmm E app g3   KeyError: 'x'
hh:mm:ss.mmm E loop     KeyError: 'x'  app.py:3 in chat
hh:mm:ss.mmm I loop       hint: use get
hh:mm:ss.mmm W loop     still serving generation 1; the next save tries again
━━ #2 ✗ 1.35 s  model  app.py ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━
hh:mm:ss.mmm D app g1   DEBUG: kv=52%
hh:mm:ss.mmm I http g1  POST /chat 200 388 ms
hh:mm:ss.mmm I app g1   kv=53% [bold]""",
    50: """\
Logs  all sources · /kv= in context    ▼ following
I sync     #2 saved app.py
I runner   loading llm  load.py:14 changed
E app g3   Traceback (most recent call last):
E app g3   KeyError: 'x'
E loop     KeyError: 'x'  app.py:3 in chat
I loop       hint: use get
W loop     still serving generation 1; the next s
━━ #2 ✗ 1.35 s  model  app.py ━━━━━━━━━━━━━━━━━━━
D app g1   DEBUG: kv=52%
I http g1  POST /chat 200 388 ms
I app g1   kv=53% [bold]""",
}


@pytest.mark.parametrize("width", GOLDEN)
def test_it_looks_as_it_should(width: int):
    now = time.monotonic
    frame = events.Frame("app.py", 3, "chat", "d['x']", 0, 6, True)
    problem = events.Problem("KeyError", "'x'", (frame,), 0, "use get")

    async def test() -> None:
        app = LogApp()
        async with app.run_test(size=(width, 12)) as pilot:
            await fill(
                pilot, app,
                *lines(1), iteration(1),
                events.IterationStarted(now(), 2, ("app.py",)), events.ModelLoading(now(), 2, "llm", "load.py:14 changed"),
                log("Traceback (most recent call last):", stream="stderr"), log("KeyError: 'x'", stream="stderr"),
                events.ReloadFailed(now(), 2, problem, 1), iteration(2, "failed", "model"),
                log("DEBUG: kv=52%", 1), events.RequestFinished(now(), 1, "POST", "/chat", 200, 0.388),
                log("kv=53% [bold]", 1),
            )  # fmt: skip
            app.pane._look_for(Search("kv="))
            await pilot.press("c", "end")
            shown = [re.sub(r"\d\d:\d\d:\d\d\.\d{3}", "hh:mm:ss.mmm", row.rstrip(" ▁▂▃▄▅▆▇")) for row in app.grid()]
            assert "\n".join(shown) == GOLDEN[width]

    asyncio.run(test())


def test_the_pager_gets_the_session_s_file_or_what_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    class Widget:
        app = LogApp()
        told = ""

        def notify(self, text: str, **_: object) -> None:
            self.told = text

    pager, got, widget = tmp_path / "pager", tmp_path / "got", Widget()
    pager.write_text(f'#!/bin/sh\ncat "$2" > {got}\n')
    pager.chmod(stat.S_IRWXU)
    monkeypatch.setenv("PAGER", f"{pager} -R")
    monkeypatch.setattr(Widget.app, "suspend", open_nothing)
    buffer = Buffer()
    buffer.append([Record(0.0, "W", "app", 3, 0, "kept")])

    elsewhere.page(widget, buffer, tmp_path / "gone.log")  # type: ignore[arg-type]
    assert got.read_text().endswith("W app g3   kept\n")
    (tmp_path / "whole.log").write_text("whole\n")
    elsewhere.page(widget, buffer, tmp_path / "whole.log")  # type: ignore[arg-type]
    assert got.read_text() == "whole\n"
    monkeypatch.setenv("PAGER", str(tmp_path / "none"))
    elsewhere.page(widget, buffer, None)  # type: ignore[arg-type]
    assert widget.told == f"{tmp_path}/none is not there: set PAGER to a program that shows files."


class open_nothing:  # noqa: N801  stands for a context manager
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...
