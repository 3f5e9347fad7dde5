"""What `benchmarks.tui` drives: the dashboard's process in a terminal, fed by a session's broadcast."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks import tui

if TYPE_CHECKING:
    from pathlib import Path


def test_a_dashboard_shows_every_line_and_answers_keys(tmp_path: Path):
    with tui.dashboard(tmp_path) as (feed, terminal):
        assert feed.tell("lines 1000") == 1000
        terminal.press("/")
        terminal.wait_for("text or pattern")
        terminal.press("tok/s")  # there are more lines than these: what the loop says, from time to time
        terminal.wait_for("1,000 of [0-9,]+ lines")
        terminal.press("\x1b")
        terminal.wait_for("warnings  1,[0-9]+ lines")
        answers = tui.keys(terminal, 1)

    assert len(answers.wall_ms) == len(tui.KEYS)
    assert all(own_ms <= wall_ms for own_ms, wall_ms in zip(answers.own_ms, answers.wall_ms, strict=True))
    assert not (tmp_path / "crashes.log").read_text()


def test_a_dashboard_sleeps_while_nothing_happens(tmp_path: Path):
    with tui.dashboard(tmp_path) as (_, terminal):
        terminal.drain(1)  # it says that nobody asks anything for so long, and the like
        before = terminal.num_wakes()
        terminal.drain(2)
        woke = terminal.num_wakes() - before
        terminal.press("/")
        terminal.wait_for("text or pattern")
        terminal.press("x")
        terminal.wait_for("of [0-9]+ lines")
        terminal.press("\x1b")
        terminal.wait_for("following")

    assert woke < 10, "Textual's own thread would have woken twenty times"
