"""The strip and the view of the figures say what `dev stats` says."""

from __future__ import annotations

import asyncio
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.tui import scenes

from hotloop import events
from hotloop.devloop import history, metrics
from hotloop.devloop.metrics import Moment, Records, Session, TestRun
from hotloop.tui import figures

if TYPE_CHECKING:
    from pathlib import Path


def test_the_strip_says_what_stats_says_of_today_with_keys_and_tests(tmp_path: Path):
    scene = replace(scenes.SCENES["live"], script=scenes.session())  # all its iterations are in the history

    async def run() -> None:
        app = scenes.dashboard(scene, tmp_path)
        now_s = app.read_clock().wall_s
        async with app.run_test(size=(120, 36)) as pilot:
            await scenes.play(app, pilot, scene)
            # As the serving process writes it, before it tells anyone: an iteration whose tests fail, keys between.
            bad = scenes.iteration(43, at_s=scenes.NOW_S)
            with closing(history.History(app.project_folder / ".hotloop" / "history.db")) as kept:
                kept.begin(Session("now", now_s - 3000, "gpu-01"))
                kept.add("now", bad)
                for minute in range(40):
                    kept.add_moment(now_s - minute * 60, "key")
                kept.add_test_run(TestRun("now", 43, now_s + 2, "failed", 1.0, 3, 1))
                app.feed.add(
                    events.IterationFinished(scenes.NOW_S, bad),
                    events.TestsFinished(scenes.NOW_S + 2, 43, "pytest", "failed", 1.0, 0, 3, 1, ()),
                )
                await scenes.settled(app, pilot)
                trips, records = kept.trips(), kept.records()
            (said,) = [summary for day, summary in metrics.by_day(trips, records) if day == metrics.day_of(now_s)]
            strip = app.look.figures
            for field in ("feedback", "waited_s", "waited_ratio", "active_s", "iterations_per_h", "repairs", "focus"):
                assert getattr(strip, field) == getattr(said, field), field
            assert strip.active_s > 2300
            await pilot.press("5")
            await scenes.settled(app, pilot)
            week_s = now_s - figures.WEEK_S
            of_week = metrics.summarize(kept_since(trips, week_s), records.between(week_s, float("inf")))
            assert app.look.experience is not None
            assert app.look.experience.week == of_week

    asyncio.run(run())


def kept_since(trips: list[metrics.Trip], since_s: float) -> list[metrics.Trip]:
    return [trip for trip in trips if trip.saved_at_s >= since_s]


def test_what_no_history_here_keeps_is_counted_as_it_was_seen():
    kept = figures.Past((trip(1.0), trip(2.0)))

    assert kept.with_seen([trip(2.0), trip(3.0)]).trips == (trip(1.0), trip(2.0), trip(3.0))


def test_what_is_read_again_replaces_all_since_then():
    old = figures.Past((trip(1.0), trip(5.0)), Records(moments=(Moment(0.0, "key"), Moment(60.0, "key"))))
    new = figures.Past((trip(5.0, "failed"), trip(6.0)), Records(moments=(Moment(60.0, "key"), Moment(120.0, "key"))))
    found = old.renewed(new, 5.0)

    assert found.trips == (trip(1.0), trip(5.0, "failed"), trip(6.0))
    assert [moment.at_s for moment in found.records.moments] == [0.0, 60.0, 120.0]


def trip(at_s: float, outcome: str = "ok") -> metrics.Trip:
    return metrics.Trip("s", 1, outcome, at_s, 0.1)
