"""The dashboard: a session's events in, its panels on the screen, and keys.

What is known is a `State`, what is looked at is a `Look`; each panel is drawn from both, and painted when that differs from
what is there. Nothing happens while nothing changes, save a clock that ticks when something on the screen counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import os
import time
import traceback
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

# Read when Textual is imported. What has changed waits for its next frame: at its usual 60 a second a result would be seen
# 8 ms later on average, and nothing is painted in frames without a change.
os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")
os.environ.setdefault("TEXTUAL_FPS", "250")

from textual import events as textual_events
from textual.app import App, ComposeResult, SystemCommand
from textual.command import CommandPalette
from textual.drivers.linux_driver import LinuxDriver

from hotloop import events
from hotloop.clock import ClockPair, read_pair
from hotloop.devloop import history, pulse
from hotloop.devloop.control import state_folder
from hotloop.errors import HotloopError
from hotloop.tui import actions, drawing, expectation, figures, looks, pace, rows, themes
from hotloop.tui.arrangement import Box, arrange
from hotloop.tui.asking import Asking
from hotloop.tui.delays import call_after
from hotloop.tui.doing import Doing
from hotloop.tui.drawing import Look
from hotloop.tui.driver import SleepingDriver
from hotloop.tui.exits import Exit
from hotloop.tui.logs import Logs
from hotloop.tui.panels.lines import finished, line, wrapped
from hotloop.tui.placing import Panels
from hotloop.tui.reduce import reduce, tick
from hotloop.tui.state import State
from hotloop.tui.surface import PADDING, RowSurface, Surface
from hotloop.tui.textual_theme import theme_name, theme_of
from hotloop.tui.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from pathlib import Path

    from rich.text import Text
    from textual.driver import Driver
    from textual.screen import Screen

    from hotloop.devloop.metrics import Trip
    from hotloop.tui.feed import Feed
    from hotloop.tui.palette import Palette

REPAINT_S = 0.05  # a save that is live within it is painted once, with its result
SLICE_S = 0.01  # of events taken one after another; then keys have their turn
TOUCHED_S = 60.0  # the history keeps the minutes in which the user did something
# Somebody waits for these: they are painted at once.
URGENT = (
    events.ProbeReported, events.IterationFinished, events.ReloadFailed, events.EnvironmentFailed, events.Held,
    events.Offline, events.Online, events.SyncPaused, events.SyncResumed, events.EditUndone, events.SessionEnded,
)  # fmt: skip
HANDS_ON = (
    textual_events.Key,
    textual_events.Paste,
    textual_events.MouseDown,
    textual_events.MouseScrollDown,
    textual_events.MouseScrollUp,
)
# Panel: whether Tab stops there, and on which ground it is.
PANELS = {
    "status": (False, "strip"), "iteration": (True, "panel"), "probe": (True, "panel"), "history": (True, "panel"),
    "runtime": (True, "panel"), "runtime_strip": (False, "panel"),
    "iterations": (True, "panel"), "metrics": (True, "panel"), "why": (True, "panel"), "locals": (True, "panel"), "help": (True, "panel"),
    "keys": (False, "page"), "too_small": (False, "page"),
}  # fmt: skip


class Dashboard(Doing, App[int]):
    """One session on one terminal.

    Attributes:
        state: What is known of the session.
        look: What is looked at.
        undrawn: What went wrong when a panel was drawn, by its name.
        is_visiting: Another process holds the session, which goes on when this dashboard is closed.
    """

    CSS = """
    Screen { background: $background; overflow: hidden hidden; }
    LogPane { background: $surface; color: $foreground; padding: 0 1; scrollbar-color: $track; }
    LogList { scrollbar-color: $track; scrollbar-background: $surface; scrollbar-color-hover: $track;
              scrollbar-background-hover: $surface; scrollbar-color-active: $track; scrollbar-background-active: $surface; }
    Dashboard.-ascii CommandPalette #--input { border: none; }
    Dashboard.-ascii CommandPalette SearchIcon { display: none; }
    Dashboard.-ascii CommandPalette LoadingIndicator { display: none; }
    Dashboard.-ascii CommandList { border: none; scrollbar-size: 0 0; }
    """
    BINDINGS: ClassVar = Doing.BINDINGS

    def __init__(
        self,
        feed: Feed,
        *,
        project: Path,
        log: Path | None = None,
        is_attached: bool = False,
        chosen: looks.Looks | None = None,
        read_clock: Callable[[], ClockPair] = read_pair,
    ) -> None:
        """Prepare.

        Args:
            feed: The session.
            project: Its folder.
            log: Where the session's whole log is; None if it is not on this machine.
            is_attached: The session goes on when the dashboard is closed.
            chosen: How it is to look; None to take it from the project, the user and the environment.
            read_clock: Says what time it is.

        Raises:
            UsageError: A setting of its looks or keys is wrong.
        """
        self.chosen = chosen if chosen is not None else looks.read(project)
        super().__init__()
        self.read_clock = read_clock
        self.feed, self.project_folder, self.log_file, self.is_visiting = feed, project, log, is_attached
        self.palette = themes.palette(self.chosen.theme, is_ascii=self.chosen.is_ascii, is_mono=self.no_color)
        for palette in themes.PALETTES.values():
            self.register_theme(theme_of(palette))
        self.theme = theme_name(self.palette)
        self.set_class(self.palette.is_ascii, "-ascii")
        self.set_keymap(dict(self.chosen.keys))
        self._kept = figures.read(project, self._now().timestamp() - 2 * figures.WEEK_S)
        self._seen: list[Trip] = []
        self._are_figures_due = self._are_figures_made = False
        self.state = State(recent=expectation.seeded(self._kept.trips))
        self.look = Look(keys=actions.shown_keys(self.chosen.keys))
        self.asking = Asking(project, state_folder())
        self.undrawn: dict[str, Exception] = {}
        self._shown: list[events.ProbeReported] = []
        self._is_painting = False
        self._later: asyncio.TimerHandle | None = None
        self._clock: asyncio.TimerHandle | None = None
        self._touched_at_s = float("-inf")
        self._turns = Turns(self, super().on_event)
        self.show_figures()

    def get_driver_class(self) -> type[Driver]:
        """Wait for keys without waking; in a browser, and where Textual has another one for a system, take that."""
        usual = super().get_driver_class()
        return SleepingDriver if usual is LinuxDriver else usual

    # --- what is on the screen ----------------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        """All panels there are; those that the arrangement leaves out have no place."""
        surfaces = [
            Surface(self._drawer(name), self.palette, name=name, ground=ground, can_focus=can_focus)
            for name, (can_focus, ground) in PANELS.items()
        ]
        strip = RowSurface(self._drawer("strip"), self.palette, self.row_key)
        yield Panels(
            *surfaces,
            Logs(self.palette, log=self.log_file, read_kept=self._read_kept, id="logs"),
            strip,
            arrange=self.arranged,
        )

    def _drawer(self, name: str) -> drawing.Drawer:
        def draw(width: int, height: int) -> list[Text]:
            now_s = self.read_clock().monotonic_s
            try:
                return drawing.draw(name, self.state, self.look, width, height, self.palette, now_s)
            except Exception as error:  # noqa: BLE001  one panel's fault must not take the others away
                return self._undrawn(name, error, width, height)

        return draw

    def _undrawn(self, name: str, error: Exception, width: int, height: int) -> list[Text]:
        """Say in a panel's place that it can't be drawn; how, once, where crashes of the dashboard are kept."""
        if name not in self.undrawn:
            self.undrawn[name] = error
            self.error_console.print("".join(traceback.format_exception(error)), markup=False)
        about = f"The panel {name} can't be drawn ({type(error).__name__}: {error}). Please report this."
        return finished(wrapped(line((about, self.palette.bad)), width), width, height, self.palette)

    def arranged(self, width: int, height: int) -> dict[str, Box]:
        """Give each panel its place."""
        return arrange(width, height, self.look.view, self.look.zoomed)

    def on_resize(self, _event: textual_events.Resize) -> None:
        """Have the focus on something that is shown, and draw what was not shown anew: behind Textual's own part."""
        self.call_later(self.rearrange)

    def last_first(self, panel: str) -> int | None:
        """Give the highest line that a panel may begin at; None for one that is never longer than its place."""
        box = self.arranged(*self.size).get(panel)
        if box is None:
            return None
        width, now_s = box.width - 2 * PADDING, self.read_clock().monotonic_s
        return drawing.last_first(panel, self.state, self.look, width, box.height, self.palette, now_s)

    def on_mount(self) -> None:
        """Lay out, and begin to read."""
        self.logs.focus_lines()
        # Textual paints anew where it gave the terminal away itself, but not after Ctrl-Z and fg.
        self.app_resume_signal.subscribe(self, self._paint_anew)  # pyright: ignore[reportUnknownMemberType]
        self.run_worker(self._read(), name="read the session", exit_on_error=True)
        self._wind()

    def _paint_anew(self, _app: object) -> None:
        self.refresh(layout=True)

    @property
    def logs(self) -> Logs:
        """The log."""
        return self.main.query_one(Logs)

    @property
    def main(self) -> Screen[object]:
        """The screen with the panels, whatever lies above it."""
        return self.screen_stack[0]

    @property
    def strip(self) -> RowSurface:
        """The row of figures and questions."""
        return self.main.query_one(RowSurface)

    def surfaces(self) -> Iterable[Surface]:
        """Give the panels that have a place now."""
        return (surface for surface in self.main.query(Surface) if surface.region)

    # --- who is there -------------------------------------------------------------------------------------------------

    async def on_event(self, event: textual_events.Event) -> None:
        """Note that the user is there, for what the history measures, before a key does what it does."""
        if isinstance(event, HANDS_ON) and not event.is_forwarded:
            self.asking.active()
            now_s = self.read_clock().monotonic_s
            if now_s - self._touched_at_s >= TOUCHED_S:
                self._touched_at_s = now_s
                self.run_worker(self._say_touched(), name="say that the user is there")
            if isinstance(event, textual_events.Key | textual_events.Paste):
                await self._turns.take(event)
                return
        await super().on_event(event)

    async def _say_touched(self) -> None:
        with contextlib.suppress(HotloopError):  # it is gone: nobody measures any more
            await self.feed.ask("touched")

    # --- what comes in ------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        since_s = time.monotonic()
        async for event in self.feed.events():
            self.take(event)
            if time.monotonic() - since_s > SLICE_S:
                await asyncio.sleep(0)
                since_s = time.monotonic()
        if not self.is_visiting:
            self.exit(return_code=Exit.CLOSED)
        elif self.state.ended is None:
            self.take(events.SessionEnded(time.monotonic(), "the connection to the session is gone"))

    def take(self, event: events.Event) -> None:
        """Take in an event."""
        self.logs.add(event)
        self.asking.follow(event)
        before, self.state = self.state, reduce(self.state, event)
        if isinstance(event, events.IterationFinished):
            self._seen.append(history.trip_of("", event.iteration))
        if isinstance(event, events.IterationFinished | events.TestsFinished):
            self.follow_figures()
        if isinstance(event, events.ProbeReported):
            self._shown.append(event)
        if self.state is not before:
            self.repaint(is_urgent=isinstance(event, URGENT))

    async def _read_kept(self) -> tuple[list[events.Log], bool]:
        """Ask for all lines that the runner kept; whether older ones are gone."""
        said = await self.feed.ask("lines")
        return [events.Log(*line) for line in said["lines"]], said["is_cut"]

    def follow_figures(self) -> None:
        """Have the figures computed anew, from what the history says by now; when it is asked again meanwhile, once more."""
        self._are_figures_due = True
        if not self._are_figures_made:
            self._are_figures_made = True
            self.run_worker(self._renew_figures(), name="compute the figures")

    async def _renew_figures(self) -> None:
        try:
            while self._are_figures_due:
                self._are_figures_due = False
                today_s = figures.start_of_day_s(self._now())
                newer = await asyncio.to_thread(figures.read, self.project_folder, today_s)
                self._kept = self._kept.renewed(newer, today_s)
                self.show_figures()
                self.repaint()
        finally:
            self._are_figures_made = False

    def show_figures(self) -> None:
        """Compute the figures from what is known here."""
        past, now = self._kept.with_seen(self._seen), self._now()
        self._figured_at_s = now.timestamp()
        today = figures.between(past, figures.start_of_day_s(now))
        seen = figures.experience(past, self.asking.felt(), now) if self.look.view == "metrics" else None
        self.look = replace(self.look, figures=today, experience=seen)

    def _now(self) -> dt.datetime:
        return dt.datetime.fromtimestamp(self.read_clock().wall_s).astimezone()

    # --- painting -----------------------------------------------------------------------------------------------------

    def repaint(self, *, is_urgent: bool = True) -> None:
        """Have the panels drawn again: after what is handled now, or a moment later with what comes until then."""
        if self._is_painting:
            return
        if is_urgent:
            self._is_painting = True
            self.call_next(self._paint)
        elif self._later is None:
            self._later = call_after(REPAINT_S, self, self._paint)

    def _paint(self) -> None:
        self._is_painting = False
        if not self.is_running:
            return
        if self._later is not None:
            self._later.cancel()
            self._later = None
        for surface in self.surfaces():
            surface.look_again()
        shown, self._shown = self._shown, []
        if shown:
            self.call_after_refresh(self._say_shown, shown)
        self._wind()

    @property
    def is_busy(self) -> bool:
        """Whether something is yet to be painted."""
        is_painting = self._is_painting or self._later is not None
        return is_painting or self._are_figures_made or self.logs.is_busy or bool(self._num_beside)

    async def _say_shown(self, reports: list[events.ProbeReported]) -> None:
        """Tell the session when results were on the screen: that ends the time to feedback."""
        at_s = time.monotonic()
        for event in reports:
            try:
                await self.feed.ask("shown", generation=event.generation, probe=event.report.name, at_s=at_s)
            except HotloopError:
                return  # it is gone: nobody measures any more

    def _wind(self) -> None:
        """Set the clock to when time alone changes what is shown."""
        if self._clock is not None:
            self._clock.cancel()
        row = self.look.row
        wait_s = pace.next_s(
            self.state, self.read_clock().monotonic_s, row_until_s=row.until_s if row is not None else None
        )
        self._clock = call_after(wait_s, self, self._ticked)

    def _ticked(self) -> None:
        if not self.is_running:
            return
        now_s = self.read_clock().monotonic_s
        self.state = tick(self.state, now_s)
        if self._figured_at_s < figures.start_of_day_s(self._now()):
            self.show_figures()  # today is another day
        row = self.look.row
        if row is not None and row.until_s is not None and row.until_s <= now_s:
            self.close_row()
        elif row is None and (asked := self.asking.due()) is not None:
            self.open_row(rows.question(asked, now_s + pulse.SHOWN_S))
        self._paint()

    def restyle(self, palette: Palette) -> None:
        """Draw everything in other colours."""
        self.palette = palette
        self.theme = theme_name(palette)
        for surface in self.main.query(Surface):
            surface.restyle(palette)
        self.logs.palette = palette

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """All actions by name, for the palette."""
        for action in actions.ACTIONS:
            if action.id != "palette":
                yield SystemCommand(action.about, f"{action.id}  {self.look.keys[action.id]}", self._doer(action.does))

    def action_command_palette(self) -> None:
        """Open the palette, with a placeholder that is ASCII."""
        if self.screen is self.main:
            self.push_screen(CommandPalette(id="--command-palette", placeholder="what to do"))

    def _doer(self, does: str) -> Callable[[], Awaitable[None]]:
        async def do() -> None:
            await self.run_action(does)

        return do
