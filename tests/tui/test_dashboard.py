"""What keys do, and what is asked of the session, on a real screen without a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from tests.tui import panel_states as known
from tests.tui import scenes
from textual import events as textual_events
from textual.keys import key_to_character

from hotloop import events
from hotloop.devloop import answers, pulse
from hotloop.errors import RunnerError, UsageError
from hotloop.tui import actions, rows
from hotloop.tui.exits import Exit
from hotloop.tui.looks import Looks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from textual.pilot import Pilot

    from hotloop.tui.app import Dashboard

    Body = Callable[[Dashboard, Pilot[int]], Awaitable[None]]

WIDE = (120, 36)


@pytest.fixture(autouse=True)
def _state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOTLOOP_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def driven(tmp_path: Path, scene: str, body: Body, *, size: tuple[int, int] = WIDE, **more: Any) -> Dashboard:
    """Play a scene, then a test's body; no panel may have failed to be drawn."""
    played = scenes.SCENES[scene]

    async def run() -> Dashboard:
        app = scenes.dashboard(played, tmp_path, more.pop("looks", Looks()), **more)
        async with app.run_test(size=size) as pilot:
            await scenes.play(app, pilot, played)
            await body(app, pilot)
        assert app.undrawn == {}
        return app

    return asyncio.run(run())


async def press(app: Dashboard, pilot: Pilot[int], *keys: str) -> str:
    """Press keys and give the screen that follows."""
    for key in keys:
        await pilot.press(key)
    await scenes.settled(app, pilot)
    return scenes.grid(app)


async def mouse(app: Dashboard, pilot: Pilot[int], kind: type[textual_events.MouseEvent]) -> None:
    """Have the terminal say that the mouse did something over the log: Pilot's own go past the app."""
    x, y = app.logs.region.offset
    app.post_message(kind(None, x + 1, y + 1, 0, 0, 0, shift=False, meta=False, ctrl=False))
    await scenes.settled(app, pilot)


def line_of(app: Dashboard, number: int) -> str:
    return scenes.grid(app).splitlines()[number]


# --- views and focus ----------------------------------------------------------------------------------------------------


def test_digits_show_one_view_each_and_escape_the_loop_again(tmp_path: Path):
    async def body(app: Dashboard, pilot: Pilot[int]) -> None:
        assert "Last 42 iterations" in scenes.grid(app)
        for key, title in (("2", "Logs"), ("3", "endpoints"), ("4", "where it went"), ("5", "Experience")):
            assert title in await press(app, pilot, key)
            assert "Last 42 iterations" not in scenes.grid(app)
        assert "Last 42 iterations" in await press(app, pilot, "escape")

    driven(tmp_path, "live", body)


def test_escape_leaves_the_view_of_the_log_when_there_is_nothing_to_clear(tmp_path: Path):
    async def body(app: Dashboard, pilot: Pilot[int]) -> None:
        await press(app, pilot, "2", "slash", "h", "t", "t", "p", "enter")
        assert "/http" not in await press(app, pilot, "escape")
        assert app.look.view == "logs"
        await press(app, pilot, "escape")
        assert app.look.view == "loop"

    driven(tmp_path, "live", body)


def test_escape_and_the_same_key_go_back_to_the_view_before(tmp_path: Path):
    async def body(app: Dashboard, pilot: Pilot[int]) -> None:
        for keys, view in (
            ("4 enter escape", "iterations"),
            ("w question_mark question_mark", "iterations"),
            ("3 question_mark escape", "runtime"),
            ("escape", "loop"),
            ("d escape", "loop"),
        ):
            await press(app, pilot, *keys.split())
            assert app.look.view == view, keys

    driven(tmp_path, "live", body)


def test_what_is_longer_than_its_panel_ends_where_its_last_line_is_seen(tmp_path: Path):
    async def body(app: Dashboard, pilot: Pilot[int]) -> None:
        top = await press(app, pilot, "question_mark")
        below = await press(app, pilot, *["down"] * 60)
        assert below != top
        assert await press(app, pilot, "up") != below
        assert await press(app, pilot, "end") == below
        assert await press(app, pilot, "home") == top
        await press(app, pilot, "4", "end")
        assert app.state.trip.number == app.state.trips[0].number
        await press(app, pilot, "z", "home")  # alone it is the same table
        assert app.state.selected is None
        await press(app, pilot, "down")
        assert app.state.selected == 41

    driven(tmp_path, "live", body, size=(80, 20))


@pytest.mark.parametrize(
    ("scene", "keys", "last"),
    [
        ("live", "5", "how it felt"),
        ("live", "3", "to gpu-01 and back"),
        ("failed", "tab z", "open in editor"),
    ],
)
def test_small_screens_show_all_of_a_panel_that_is_alone_line_by_line(tmp_path: Path, scene: str, keys: str, last: str):
    async def body(app: Dashboard, pilot: Pilot[int]) -> None:
        while keys.startswith("tab") and app.focused_panel != "iteration":
            await press(app, pilot, "tab")
        screen = await press(app, pilot, *keys.removeprefix("tab ").split())
        assert last not in screen
        assert "more line" in screen
        assert last in await press(app, pilot, "end")
        await press(app, pilot, *["up"] * 40)
        assert scenes.grid(app) == screen

    driven(tmp_path, scene, body, size=(44, 10))


def test_the_wheel_turns_what_it_is_over(tmp_path: Path):
    async def body(app: Dashboard, pilot: Pilot[int]) -> None:
        await press(app, pilot, "question_mark")
        x, y = app.query_one("#help").region.offset
        for kind, first in (
            (textual_events.MouseScrollDown, 3),
            (textual_events.MouseScrollUp, 0),
            (textual_events.MouseScrollUp, 0),
        ):
            app.post_message(kind(None, x + 1, y + 1, 0, 0, 0, shift=False, meta=False, ctrl=False))
            await scenes.settled(app, pilot)
            await scenes.settled(app, pilot)
            assert app.look.first == first

    driven(tmp_path, "live", body, size=(80, 24))


def test_figures_of_today_are_gone_the_next_day(tmp_path: Path):
    async def body(app: Dashboard, pilot: Pilot[int]) -> None:
        assert "feedback p50" in line_of(app, -2)
        app.read_clock.now_s += 30 * 3600
        app._ticked()
        await scenes.settled(app, pilot)
        assert "feedback p50" not in line_of(app, -2)

    driven(tmp_path, "live", body)


def test_a_panel_that_has_no_place_any_more_gives_the_focus_away_and_is_drawn_anew_when_it_is_back(tmp_path: Path):
    async def body(app: Dashboard, pilot: Pilot[int]) -> None:
        while app.focused_panel != "probe":
            await press(app, pilot, "tab")
        await pilot.resize_terminal(80, 24)
        await scenes.settled(app, pilot)
        assert app.focused_panel in {"iteration", "logs"}
        said = replace(
            known.GREETING, name="refund-policy", output='"thirty days"', is_changed=True, diff=("+ thirty days",)
        )
        app.feed.add(events.ProbeReported(scenes.NOW_S, 43, 43, said))
        await scenes.settled(app, pilot)
        await pilot.resize_terminal(*WIDE)
        await scenes.settled(app, pilot)
        assert "thirty days" in scenes.grid(app)

    driven(tmp_path, "live", body)


@pytest.mark.parametrize("keys", ["4 escape", "z z", "i escape"])
def test_panels_that_come_back_go_on_showing_what_happens(tmp_path: Path, keys: str):
    async def body(app: Dashboard, pilot: Pilot[int]) -> None:
        app.feed.answers["locals"] = scenes.LOCALS
        assert "refund-policy" in await press(app, pilot, *keys.split())
        said = replace(known.GREETING, name="refund-policy", output='"thirty days"', diff=("+ thirty days",))
        app.feed.add(events.ProbeReported(scenes.NOW_S, 43, 43, said))
        await scenes.settled(app, pilot)
        assert "thirty days" in scenes.grid(app), scenes.grid(app)

    driven(tmp_path, "failed", body)


def test_tab_goes_round_the_panels_that_are_shown_and_a_mark_says_where(tmp_path: Path):
    async def body(app: Dashboard, pilot: Pilot[int]) -> None:
        seen = []
        for _ in range(5):
            await press(app, pilot, "tab")
            seen.append(app.focused_panel)
        assert set(seen) == {"iteration", "probe", "history", "runtime", "logs"}
        while app.focused_panel != "iteration":
            await press(app, pilot, "tab")
        assert line_of(app, 2).startswith("▌Iteration #42")

    driven(tmp_path, "live", body)


def test_zoom_shows_the_focused_panel_alone_and_back(tmp_path: Path):
    async def body(app: Dashboard, pilot: Pilot[int]) -> None:
        await press(app, pilot, "tab")
        screen = await press(app, pilot, "z")
        assert "Iteration #42" in screen
        assert "Logs" not in screen
        assert "Logs" in await press(app, pilot, "z")

    driven(tmp_path, "live", body)


def test_brackets_choose_an_iteration_for_all_panels_and_the_log_follows(tmp_path: Path):
    async def body(app: Dashboard, pilot: Pilot[int]) -> None:
        screen = await press(app, pilot, "left_square_bracket", "left_square_bracket")
        assert "Iteration #40" in screen
        assert "━━ #40" in screen
        assert "paused" in screen  # the log no longer follows
        screen = await press(app, pilot, "right_square_bracket", "right_square_bracket")
        assert "Iteration #42" in screen
        assert app.state.selected is None
        assert "following" in screen

    driven(tmp_path, "live", body)


def test_two_iterations_are_compared_from_the_table(tmp_path: Path):
    async def body(app: Dashboard, pilot: Pilot[int]) -> None:
        screen = await press(app, pilot, "4", "down", "c", "down", "down", "c")
        assert app.look.is_comparing
        assert "#41" in screen
        assert "#39" in screen
        assert "what changed" in await press(app, pilot, "escape")
        assert "why" in await press(app, pilot, "enter") or app.look.view == "why"

    driven(tmp_path, "live", body)


def test_a_resize_lays_out_again(tmp_path: Path):
    async def body(app: Dashboard, pilot: Pilot[int]) -> None:
        await pilot.resize_terminal(60, 20)
        await scenes.settled(app, pilot)
        assert "Last 42" not in scenes.grid(app)
        assert max(map(len, scenes.grid(app).splitlines())) <= 60
        await pilot.resize_terminal(39, 20)
        await scenes.settled(app, pilot)
        assert "--ui plain" in scenes.grid(app).replace("\n", " ").replace("  ", " ")
        await pilot.resize_terminal(*WIDE)
        await scenes.settled(app, pilot)
        assert "Last 42" in scenes.grid(app)

    driven(tmp_path, "live", body)


@pytest.mark.parametrize("size", [WIDE, (80, 24), (56, 20), (40, 10)], ids=str)
def test_help_and_quit_are_always_the_last_keys(tmp_path: Path, size: tuple[int, int]):
    async def body(app: Dashboard, pilot: Pilot[int]) -> None:
        assert line_of(app, -1).rstrip().endswith("?  help  q  quit")

    driven(tmp_path, "failed", body, size=size)


# --- asking the session -------------------------------------------------------------------------------------------------


def test_keys_ask_the_session(tmp_path: Path):
    async def body(app: Dashboard, pilot: Pilot[int]) -> None:
        await press(app, pilot, "r", "u", "space", "Y")
        asked = [name for name, _ in app.feed.asked if name not in scenes.BY_ITSELF]
        assert asked == ["reload", "undo", "pause", "confirm"]
        app.feed.add(events.SyncPaused(scenes.NOW_S, 0))
        await scenes.settled(app, pilot)
        assert "PAUSED" in line_of(app, 0)
        await press(app, pilot, "space")
        assert app.feed.asked[-1][0] == "resume"

    driven(tmp_path, "live", body)


def test_keys_and_clicks_say_that_the_user_is_there_once_a_minute(tmp_path: Path):
    async def body(app: Dashboard, pilot: Pilot[int]) -> None:
        def said() -> int:
            return [name for name, _ in app.feed.asked].count("touched")

        assert said() == 0
        await press(app, pilot, "2", "1", "tab")
        assert said() == 1
        app.read_clock.now_s += 61
        await mouse(app, pilot, textual_events.MouseMove)
        assert said() == 1  # a sleeve may have pushed it
        await mouse(app, pilot, textual_events.MouseScrollUp)
        assert said() == 2
        app.feed.answers["touched"] = RunnerError("it is gone")
        app.read_clock.now_s += 61
        assert "gone" not in await press(app, pilot, "tab")
        assert said() == 3

    driven(tmp_path, "live", body)


def test_a_session_that_takes_its_time_to_answer_holds_nothing_up(tmp_path: Path):
    async def body(app: Dashboard, pilot: Pilot[int]) -> None:
        slow = app.feed.answers["undo"] = asyncio.get_running_loop().create_future()
        app.feed.asked.clear()
        await pilot.press("u", "space", "3")
        app.feed.add(events.SyncPaused(scenes.NOW_S, 0))
        async with asyncio.timeout(30):
            while "PAUSED" not in line_of(app, 0) or "endpoints" not in scenes.grid(app):
                await pilot.pause(0.01)
        assert not app.feed.was_asked("pause")
        slow.set_result({"error": ""})
        await scenes.settled(app, pilot)
        assert [name for name, _ in app.feed.asked if name not in scenes.BY_ITSELF] == ["undo", "resume"]

    driven(tmp_path, "live", body)


def test_a_key_puts_the_question_of_an_idle_moment_off(tmp_path: Path):
    async def body(app: Dashboard, pilot: Pilot[int]) -> None:
        app.asking._moment = pulse.Moment(active_at_s=-1e9)
        await press(app, pilot, "tab")
        app.asking._next = lambda _moment: pulse.question("feedback")
        assert app.asking.due() is None

    driven(tmp_path, "live", body)


def test_a_deletion_that_is_asked_about_has_the_first_key(tmp_path: Path):
    async def body(app: Dashboard, pilot: Pilot[int]) -> None:
        app.feed.add(events.Held(scenes.NOW_S, "41 of 44 files are deleted"))
        await scenes.settled(app, pilot)
        assert "waiting: 41 of 44 files are deleted" in line_of(app, 0)
        assert line_of(app, -1).startswith("  Y  let it through")

    driven(tmp_path, "live", body)


def test_a_cold_restart_asks_first(tmp_path: Path):
    async def body(app: Dashboard, pilot: Pilot[int]) -> None:
        assert "Start cold?" in await press(app, pilot, "R")
        assert "Start cold?" not in await press(app, pilot, "escape")
        await press(app, pilot, "R", "x")  # any other key is a no
        assert not app.feed.was_asked("restart")
        await press(app, pilot, "R", "enter")
        assert app.feed.was_asked("restart")

    driven(tmp_path, "live", body)


def test_what_the_session_refuses_is_said_in_a_row_that_goes(tmp_path: Path):
    async def body(app: Dashboard, pilot: Pilot[int]) -> None:
        app.feed.answers["undo"] = RunnerError("there is no edit to undo", hint="save a file first")
        assert "there is no edit to undo (save a file first)" in await press(app, pilot, "u")
        app.read_clock.now_s += 11
        app._ticked()
        await scenes.settled(app, pilot)
        assert "there is no edit" not in scenes.grid(app)

    driven(tmp_path, "live", body)


def test_probes_can_be_run_chosen_and_pinned(tmp_path: Path):
    async def body(app: Dashboard, pilot: Pilot[int]) -> None:
        app.feed.answers["pin"] = {"pinned": "chat-1"}
        await press(app, pilot, "p", "p")
        assert app.feed.was_asked("probe")
        assert "pinned chat-1" in await press(app, pilot, "p", "a")
        await press(app, pilot, "escape")
        screen = await press(app, pilot, "p", "2")
        assert app.state.probe == "greeting"
        assert "greeting" in screen.splitlines()[2]

    driven(tmp_path, "live", body)


def test_the_probe_that_is_shown_is_the_one_that_is_unpinned_and_copied(tmp_path: Path):
    async def body(app: Dashboard, pilot: Pilot[int]) -> None:
        changed = replace(known.GREETING, output='"good day"', is_changed=True, diff=("- hello", "+ good day"))
        app.feed.add(
            events.ProbeReported(scenes.NOW_S, 43, 43, replace(known.REFUND, is_changed=False, diff=())),
            events.ProbeReported(scenes.NOW_S, 43, 43, changed),
        )
        await scenes.settled(app, pilot)
        assert "Probe  greeting" in await press(app, pilot, "d")
        await press(app, pilot, "y")
        assert app.clipboard == '"good day"'
        await press(app, pilot, "p", "x")
        assert ("unpin", {"pin": "greeting"}) in app.feed.asked

    driven(tmp_path, "live", body)


def test_the_session_is_told_when_results_are_on_the_screen(tmp_path: Path):
    async def body(app: Dashboard, pilot: Pilot[int]) -> None:
        app.feed.asked.clear()
        app.feed.add(events.ProbeReported(scenes.NOW_S, 42, 43, replace(known.GREETING, output='"good day"')))
        await scenes.settled(app, pilot)
        async with asyncio.timeout(30):
            while not app.feed.was_asked("shown"):
                await pilot.pause(0.01)
        ((_, fields),) = [asked for asked in app.feed.asked if asked[0] == "shown"]
        assert (fields["generation"], fields["probe"]) == (43, "greeting")
        assert fields["at_s"] <= time.monotonic()

    driven(tmp_path, "live", body)


# --- leaving ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "asked", "code"),
    [
        (("q", "enter"), ["stop"], Exit.CLOSED),
        (("q", "d"), ["detach"], Exit.CLOSED),
        (("q", "escape"), [], None),
        (("ctrl+c", "ctrl+c"), ["stop"], Exit.CLOSED),
        (("s",), [], Exit.PLAIN),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else None,
)
def test_leaving(tmp_path: Path, keys: tuple[str, ...], asked: list[str], code: Exit | None):
    async def body(app: Dashboard, pilot: Pilot[int]) -> None:
        app.feed.asked.clear()
        for key in keys:
            await pilot.press(key)
        await pilot.pause()

    app = driven(tmp_path, "live", body)

    assert [name for name, _ in app.feed.asked if name not in scenes.BY_ITSELF] == asked
    assert app.return_code == code


def test_a_session_that_refuses_to_end_is_not_ended_by_the_next_thing_that_is_said(tmp_path: Path):
    async def body(app: Dashboard, pilot: Pilot[int]) -> None:
        app.asking._next = lambda _moment: pulse.question("feedback")
        app.asking._moment = pulse.Moment(active_at_s=-1e9)
        app.feed.answers["stop"] = RunnerError("the runner does not answer")
        await press(app, pilot, "q", "enter")
        assert "the runner does not answer" in await press(app, pilot, "4")
        app.feed.answers.pop("stop")
        await press(app, pilot, "escape", "T", "escape")

    assert driven(tmp_path, "live", body).return_code is None


def test_a_window_that_is_too_small_can_be_left(tmp_path: Path):
    async def body(app: Dashboard, pilot: Pilot[int]) -> None:
        assert "too small" in scenes.grid(app)
        assert "Stop?" in await press(app, pilot, "q")
        await press(app, pilot, "enter")
        assert app.feed.was_asked("stop")

    driven(tmp_path, "live", body, size=(36, 9))


def test_a_visitor_closes_without_ending_the_session(tmp_path: Path):
    async def body(app: Dashboard, pilot: Pilot[int]) -> None:
        assert "the session goes on" in await press(app, pilot, "q")
        await pilot.press("enter")

    app = driven(tmp_path, "live", body, is_attached=True)

    assert not app.feed.was_asked("stop")


def test_a_visitor_that_ends_the_session_has_its_own_terminal_say_so(tmp_path: Path):
    async def body(app: Dashboard, pilot: Pilot[int]) -> None:
        await press(app, pilot, "q", "x")

    app = driven(tmp_path, "live", body, is_attached=True)

    assert ("stop", {"reason": "stopped in another terminal"}) in app.feed.asked


def test_the_dashboard_closes_with_its_session(tmp_path: Path):
    async def body(app: Dashboard, pilot: Pilot[int]) -> None:
        app.feed.end()
        async with asyncio.timeout(30):
            while app.is_running and app.return_code is None:
                await pilot.pause(0.01)

    assert driven(tmp_path, "live", body).return_code == Exit.CLOSED


def test_a_visitor_sees_that_the_session_is_gone(tmp_path: Path):
    async def body(app: Dashboard, pilot: Pilot[int]) -> None:
        app.feed.end()
        async with asyncio.timeout(30):
            while app.state.ended is None:
                await pilot.pause(0.01)
        await scenes.settled(app, pilot)
        assert "ENDED" in line_of(app, 0)

    driven(tmp_path, "live", body, is_attached=True)


def test_a_question_closes_when_the_keys_go_elsewhere_but_not_with_the_window_s_focus(tmp_path: Path):
    async def body(app: Dashboard, pilot: Pilot[int]) -> None:
        await press(app, pilot, "tab", "q")
        app.post_message(textual_events.AppBlur())
        await scenes.settled(app, pilot)
        app.post_message(textual_events.AppFocus())
        await scenes.settled(app, pilot)
        assert "Stop the session?" in scenes.grid(app)
        await pilot.click("#probe")
        await scenes.settled(app, pilot)
        assert "Stop the session?" not in scenes.grid(app)
        assert app.focused_panel == "probe"
        await press(app, pilot, "enter")
        assert not app.feed.was_asked("stop")

    driven(tmp_path, "live", body)


def test_a_row_that_opens_while_another_window_has_the_focus_gives_the_keys_to_a_panel_after_it(tmp_path: Path):
    async def body(app: Dashboard, pilot: Pilot[int]) -> None:
        app.post_message(textual_events.AppBlur())
        await scenes.settled(app, pilot)
        app.action_restart()
        await scenes.settled(app, pilot)
        await press(app, pilot, "escape")
        assert app.focused is not None
        assert app.focused_panel != "strip"

    driven(tmp_path, "live", body)


def test_an_interrupt_over_the_weekly_question_leaves_it_unanswered(tmp_path: Path):
    async def body(app: Dashboard, pilot: Pilot[int]) -> None:
        app.asking.asked = pulse.question("feedback")
        app.open_row(rows.question(app.asking.asked, scenes.NOW_S + 60))
        assert "Stop the session?" in await press(app, pilot, "ctrl+c")
        assert app.asking.asked is None

    driven(tmp_path, "live", body)


# --- elsewhere ----------------------------------------------------------------------------------------------------------


def test_the_editor_opens_at_the_line_of_the_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    script, told = tmp_path / "fake-editor", tmp_path / "told"
    script.write_text(f'#!/bin/sh\necho "$@" > {told}\n')
    script.chmod(0o755)
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", os.fspath(script))

    @contextlib.contextmanager
    def terminal_for_others():  # there is none to give in a test
        yield

    async def body(app: Dashboard, pilot: Pilot[int]) -> None:
        app.suspend = terminal_for_others
        await press(app, pilot, "e")

    driven(tmp_path, "failed", body)

    assert told.read_text().strip() == f"+31 {tmp_path}/chat-demo/chat/render.py"


def test_copies_are_what_one_would_paste(tmp_path: Path):
    async def body(app: Dashboard, pilot: Pilot[int]) -> None:
        copied: list[str] = []
        app.copy_to_clipboard = copied.append
        await press(app, pilot, "tab", "y")
        assert app.focused_panel == "iteration"
        assert copied[-1].startswith("Traceback (most recent call last):")
        assert copied[-1].endswith("KeyError: 'delivery_days'")
        await press(app, pilot, "tab", "y")
        assert copied[-1] == known.REFUND.output

    driven(tmp_path, "failed", body)


def test_keys_of_the_log_work_wherever_the_focus_is(tmp_path: Path):
    async def body(app: Dashboard, pilot: Pilot[int]) -> None:
        await press(app, pilot, "tab", "slash", "h", "t", "t", "p", "enter")
        assert "/http" in scenes.grid(app)
        await press(app, pilot, "escape")
        assert "/http" not in scenes.grid(app)

    driven(tmp_path, "live", body)


@pytest.mark.parametrize("view", ["3", "4", "w", "question_mark"])
def test_keys_of_the_log_show_it_where_it_is_not_seen(tmp_path: Path, view: str):
    async def body(app: Dashboard, pilot: Pilot[int]) -> None:
        screen = await press(app, pilot, view, "slash", "h", "t", "t", "p")
        assert "\n / http" in screen
        assert "following" in screen
        await press(app, pilot, "escape", view)
        assert "marked in the log" in await press(app, pilot, "m")
        assert "━━ mark" in await press(app, pilot, "2")

    driven(tmp_path, "live", body)


def test_context_is_the_logs_key_except_in_the_table(tmp_path: Path):
    async def body(app: Dashboard, pilot: Pilot[int]) -> None:
        await press(app, pilot, "slash", "h", "t", "t", "p", "enter", "tab")
        assert app.focused_panel != "logs"
        assert "in context" in await press(app, pilot, "c")

    driven(tmp_path, "live", body)


def test_typing_a_filter_is_no_command(tmp_path: Path):
    async def body(app: Dashboard, pilot: Pilot[int]) -> None:
        app.feed.asked.clear()
        await press(app, pilot, "slash", "r", "u", "q", "R", "left_square_bracket")
        assert [name for name, _ in app.feed.asked if name not in scenes.BY_ITSELF] == []
        assert app.look.row is None

    driven(tmp_path, "live", body)


async def burst(app: Dashboard, pilot: Pilot[int], *keys: str) -> str:
    """Have a terminal send keys in one piece, as a paste or a script does: none waits for the one before."""
    for key in keys:
        app.post_message(textual_events.Key(key, key_to_character(key)))
    for _ in range(2 * len(keys)):
        await scenes.settled(app, pilot)
    return scenes.grid(app)


def test_what_is_typed_at_once_with_the_key_that_opens_a_row_is_for_the_row(tmp_path: Path):
    async def body(app: Dashboard, pilot: Pilot[int]) -> None:
        assert "/xr " in await burst(app, pilot, "slash", "x", "r")
        await burst(app, pilot, "escape")
        assert "Start cold?" in await burst(app, pilot, "slash", "h", "t", "t", "p", "enter", "R")
        assert "/http" in await burst(app, pilot, "escape")
        await burst(app, pilot, "f", "1", "enter", "3")
        assert app.look.view == "runtime"
        assert app.logs._wanted.hidden == {"app"}
        assert not app.feed.was_asked("reload")

    driven(tmp_path, "live", body)


def test_what_is_typed_at_once_with_a_question_answers_it(tmp_path: Path):
    async def body(app: Dashboard, pilot: Pilot[int]) -> None:
        app.feed.answers["pin"] = {"pinned": "chat-1"}
        assert "pinned chat-1" in await burst(app, pilot, "p", "a")
        await burst(app, pilot, "R", "enter")
        assert app.feed.was_asked("restart")
        await burst(app, pilot, "R", "escape", "2")
        assert app.look.view == "logs"
        app.asking._next = lambda _moment: None
        await burst(app, pilot, "q", "d")
        assert app.feed.was_asked("detach")

    driven(tmp_path, "live", body)


def test_what_is_typed_at_once_with_the_palette_is_looked_for_there(tmp_path: Path):
    async def body(app: Dashboard, pilot: Pilot[int]) -> None:
        await burst(app, pilot, "ctrl+p", "r", "u")
        assert app.screen.query_one("CommandInput").value == "ru"
        assert not app.feed.was_asked("undo")

    driven(tmp_path, "live", body)


# --- looks --------------------------------------------------------------------------------------------------------------


def test_keys_can_be_mapped_and_the_key_bar_says_so(tmp_path: Path):
    async def body(app: Dashboard, pilot: Pilot[int]) -> None:
        assert line_of(app, -1).startswith("  x  reload")
        await press(app, pilot, "r")
        assert not app.feed.was_asked("reload")
        await press(app, pilot, "x")
        assert app.feed.was_asked("reload")

    driven(tmp_path, "live", body, looks=Looks(keys={"reload": "x"}))


def test_panels_name_the_keys_that_are_mapped(tmp_path: Path):
    async def body(app: Dashboard, pilot: Pilot[int]) -> None:
        assert " f2  open in editor" in scenes.grid(app)
        assert "hidden (f3 show)" in scenes.grid(app)

    driven(tmp_path, "failed", body, looks=Looks(keys={"edit": "f2", "library": "f3"}))


def test_the_palette_has_every_action(tmp_path: Path):
    async def body(app: Dashboard, pilot: Pilot[int]) -> None:
        offered = {command.help.split()[0] for command in app.get_system_commands(app.screen)}
        assert offered == actions.BY_ID.keys() - {"palette"}
        await press(app, pilot, "3", "ctrl+p", *"filter the")
        async with asyncio.timeout(30):
            while app.screen.query_one("CommandList").option_count != 1:
                await pilot.pause(0.01)
        await press(app, pilot, "enter")
        async with asyncio.timeout(30):
            while "text or pattern" not in scenes.grid(app):
                await pilot.pause(0.01)

    driven(tmp_path, "live", body)


def test_a_wrong_key_map_is_said_before_anything_is_drawn(tmp_path: Path):
    project = scenes.project_of(scenes.SCENES["live"], tmp_path / "chat-demo")
    (project / "pyproject.toml").write_text("[tool.hotloop.keys]\nfly = 'x'\n")

    with pytest.raises(UsageError, match=r"keys\.fly is no action"):
        scenes.Dashboard(scenes.ScriptedFeed([]), project=project)


def test_themes_change_in_turn(tmp_path: Path):
    async def body(app: Dashboard, pilot: Pilot[int]) -> None:
        names = []
        for _ in range(4):
            await press(app, pilot, "T")
            names.append(app.palette.name)
        assert names == ["paper", "ansi", "colorblind", "night"]

    driven(tmp_path, "live", body)


def test_ascii_draws_with_ascii_alone(tmp_path: Path):
    async def body(app: Dashboard, pilot: Pilot[int]) -> None:
        for key in ("end", *["up"] * 9, "ctrl+p"):
            screen = await press(app, pilot, key)
            assert [line for line in screen.splitlines() if not line.isascii()] == []

    driven(tmp_path, "live", body, looks=Looks(is_ascii=True))


def test_a_panel_that_can_not_be_drawn_leaves_the_others(tmp_path: Path):
    async def run() -> str:
        app = scenes.dashboard(scenes.SCENES["live"], tmp_path)
        async with app.run_test(size=WIDE) as pilot:
            await scenes.play(app, pilot, scenes.SCENES["live"])
            app.state = replace(app.state, probes=(None,))
            app._paint()
            await pilot.pause()
            return scenes.grid(app)

    screen = asyncio.run(run())

    assert "can't be drawn" in screen
    assert "Logs" in screen


# --- the question -------------------------------------------------------------------------------------------------------


def consenting(app: Dashboard) -> None:
    """Have the rules ask at the next good moment."""
    file = app.project_folder / ".hotloop" / "history.db"
    kept = answers.Answers(file, app.project_folder)
    kept.agree(yes=True)
    kept.close()
    app.asking._next = lambda _moment: pulse.question("feedback")


def test_the_question_is_a_row_that_a_digit_answers(tmp_path: Path):
    async def body(app: Dashboard, pilot: Pilot[int]) -> None:
        consenting(app)
        app.asking._moment = pulse.Moment(active_at_s=-1e9)
        app._ticked()
        await scenes.settled(app, pilot)
        assert pulse.TEXTS["feedback"] in line_of(app, -2)
        assert "noted: 4 of 5" in await press(app, pilot, "4")
        assert app.look.view == "loop"  # 4 was the answer
        assert app.focused_panel == "logs"

    app = driven(tmp_path, "live", body)

    with sqlite3.connect(app.project_folder / ".hotloop" / "history.db") as database:
        assert "4" in str(database.execute("SELECT * FROM pulse").fetchall())


def test_another_key_is_no_answer_and_does_what_it_always_does(tmp_path: Path):
    async def body(app: Dashboard, pilot: Pilot[int]) -> None:
        consenting(app)
        app.asking._moment = pulse.Moment(active_at_s=-1e9)
        app._ticked()
        await scenes.settled(app, pilot)
        await press(app, pilot, "w")
        assert app.look.view == "why"
        assert app.look.row is None
        assert app.asking.asked is None

    driven(tmp_path, "live", body)


def test_a_question_at_the_end_is_followed_by_the_end(tmp_path: Path):
    async def body(app: Dashboard, pilot: Pilot[int]) -> None:
        consenting(app)
        app.asking._moment = pulse.Moment()
        assert pulse.TEXTS["feedback"] in await press(app, pilot, "q", "enter")
        assert not app.feed.was_asked("stop")
        await pilot.press("escape")
        await pilot.pause()

    assert driven(tmp_path, "live", body).feed.was_asked("stop")


# --- local variables ----------------------------------------------------------------------------------------------------


def test_local_variables_are_asked_for_by_the_failures_id_and_shown_in_place_of_the_loop(tmp_path: Path):
    async def body(app: Dashboard, pilot: Pilot[int]) -> None:
        app.feed.answers["locals"] = scenes.LOCALS
        assert " i  locals" in line_of(app, -1)
        screen = await press(app, pilot, "i")
        assert app.feed.asked[-1] == ("locals", {"failure": known.KEY_ERROR.failure})
        assert "chat/render.py:31  in render_reply" in screen
        assert "days = policy['delivery_days']" in screen
        assert "Tensor [1, 512] int64 cuda:0" in screen
        assert "hidden: its name looks like a secret's" in screen
        assert "Last 42 iterations" not in screen
        await press(app, pilot, "left_square_bracket")
        assert app.feed.asked[-1] == ("locals", {"failure": "older"})
        await press(app, pilot, "y")
        assert "policy = dict of 3" in app.clipboard
        assert "Last 43 iterations" in await press(app, pilot, "escape", "escape")

    driven(tmp_path, "failed", body)


def test_local_variables_that_are_gone_say_so(tmp_path: Path):
    async def body(app: Dashboard, pilot: Pilot[int]) -> None:
        app.feed.answers["locals"] = {**scenes.LOCALS, "failure": None}
        screen = await press(app, pilot, "i")
        assert "not kept any more" in " ".join(screen.split())
        assert "kept failures" in screen
        app.feed.answers["locals"] = {"failure": None, "kept": []}
        assert "No failure has local" in await press(app, pilot, "i", "i")

    driven(tmp_path, "failed", body, size=(56, 20))


def test_a_failure_without_local_variables_opens_nothing(tmp_path: Path):
    async def body(app: Dashboard, pilot: Pilot[int]) -> None:
        assert "no local variables" in await press(app, pilot, "i")
        assert not app.feed.was_asked("locals")
        assert app.look.view == "loop"

    driven(tmp_path, "nothing", body)
