"""The dashboard's log: a title, the lines, and rows to filter them by text and by source."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from textual.actions import SkipAction
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Input, Static

from hotloop import clock
from hotloop.errors import HotloopError
from hotloop.events import Log
from hotloop.tui.delays import call_after
from hotloop.tui.log import elsewhere, older, painting, title
from hotloop.tui.log.buffer import Buffer, Record
from hotloop.tui.log.filter import LEVELS, Filter, Search
from hotloop.tui.log.listing import SLICE_LINES, LogList
from hotloop.tui.log.sources import SourceRow
from hotloop.tui.log.telling import Teller
from hotloop.tui.log.whole import WholeLine

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from textual import events as textual_events
    from textual.app import ComposeResult

    from hotloop.events import Event
    from hotloop.tui.palette import Palette

    ReadKept = Callable[[], Awaitable[tuple[list[Log], bool]]]  # the lines, and whether older ones are gone

FLUSH_S = 0.1  # lines are shown in batches: a repaint costs as much for one as for a hundred


class LogPane(Vertical):
    """The log of one session.

    `add` takes every event of the feed; nothing runs while there are none. `palette` may be set at any time.
    `show_iteration` scrolls to where an iteration ended. The keys are bindings of the pane, so they work while it or a
    part of it has the focus; an app that wants them everywhere binds them to the actions, such as ``filter``.

    Attributes:
        buffer: What is kept.
        lines: The rows; what should have the focus.
    """

    DEFAULT_CSS = """
    LogPane { height: 1fr; }
    LogPane > Static { height: 1; }
    LogPane > Horizontal { height: 1; display: none; }
    LogPane > Horizontal > Static { width: 2; }
    LogPane Input { width: 1fr; background: transparent; &:focus { background: transparent; } }
    LogPane > SourceRow, LogPane > WholeLine { display: none; }
    LogPane > .-shown { display: block; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "Filter", id="log.filter"),
        Binding("escape", "clear_filter", "Show all lines", id="log.clear", show=False),
        Binding("n", "next_match(1)", "Next match", id="log.next", show=False),
        Binding("N", "next_match(-1)", "Previous match", id="log.previous", show=False),
        Binding("c", "context", "Match in context", id="log.context", show=False),
        Binding("l", "level", "Level", id="log.level"),
        Binding("f", "sources", "Sources", id="log.sources"),
        Binding("m", "mark", "Marker", id="log.mark", show=False),
        Binding("y", "copy", "Copy lines", id="log.copy", show=False),
        Binding("o", "pager", "Open in pager", id="log.pager", show=False),
        Binding("enter", "whole", "Whole line", id="log.whole", show=False),
        Binding("left_square_bracket", "iteration(-1)", "Previous iteration", id="log.iteration_up", show=False),
        Binding("right_square_bracket", "iteration(1)", "Next iteration", id="log.iteration_down", show=False),
        Binding("end,G", "end", "Follow", id="log.end", show=False),
        Binding("home,g", "home", "Top", id="log.home", show=False),
        Binding("j,down", "move(1)", "Down", id="log.down", show=False),
        Binding("k,up", "move(-1)", "Up", id="log.up", show=False),
        Binding("J,shift+down", "move(1, True)", "Choose down", id="log.choose_down", show=False),
        Binding("K,shift+up", "move(-1, True)", "Choose up", id="log.choose_up", show=False),
        Binding("pagedown", "page(1)", "Page down", id="log.page_down", show=False),
        Binding("pageup", "page(-1)", "Page up", id="log.page_up", show=False),
    ]

    def __init__(
        self,
        palette: Palette,
        *,
        log: Path | None = None,
        read_kept: ReadKept | None = None,
        id: str | None = None,  # noqa: A002  as Textual's
    ) -> None:
        """Show nothing yet.

        Args:
            palette: Its colours; more may follow.
            log: The file with the whole log of the session, for the pager; None if there is none here.
            read_kept: Gives the lines that the runner kept, among them older ones than came; None if nobody knows.
            id: As Textual's.
        """
        super().__init__(id=id)
        self._log_file = log
        self.buffer = Buffer()
        self._palette = palette
        self._title = Static()
        self.lines = LogList(
            palette,
            self.buffer,
            self._say,
            f"o shows {log}" if log is not None else "dev logs prints what the runner kept",
        )
        self._read_kept = read_kept
        self._first_logs: list[Log] = []
        self._teller = Teller()
        self._events: list[Event] = []
        self._is_waiting = False
        self._flushed_s = 0.0
        self._search = Search()
        self._is_in_context = False  # the search only marks lines, instead of leaving out those without it

    def compose(self) -> ComposeResult:
        """Title, lines, and the two rows that are there when they are asked for."""
        yield self._title
        yield self.lines
        with Horizontal():
            yield Static("/ ", markup=False)
            yield Input(
                placeholder="text or pattern, ! for lines without it",
                compact=True,
                select_on_focus=False,
            )
        yield SourceRow()
        yield WholeLine()

    @property
    def palette(self) -> Palette:
        """The colours."""
        return self._palette

    @palette.setter
    def palette(self, palette: Palette) -> None:
        self._palette = palette
        self.lines.show_as(palette=palette)
        self._say()

    # --- what comes in ----------------------------------------------------------------------------------------------

    def add(self, event: Event) -> None:
        """Take an event; what it comes to is shown within a tenth of a second, with all others of that time."""
        self._events.append(event)
        if not self._is_waiting:
            self._is_waiting = True
            call_after(max(self._flushed_s + FLUSH_S - time.monotonic(), 0.001), self, self._flush)

    @property
    def is_busy(self) -> bool:
        """Whether lines are yet to be shown, or looked at by a search."""
        return self._is_waiting or self.lines.is_searching

    def _flush(self) -> None:
        now = clock.read_pair()
        taken, self._events = self._events, []
        self._is_waiting = False
        records = [record for event in taken for record in self._teller.records_of(event, now)]
        if len(self._first_logs) < older.COMPARED:
            self._first_logs += [event for event in taken if isinstance(event, Log) and not event.source]
            del self._first_logs[older.COMPARED :]
        if records:
            self.lines.append(records)
        self._flushed_s = time.monotonic()

    def _want_older(self) -> None:
        """Have older lines than came added, once: when somebody looks above the first one, or for something in all of them."""
        if self._read_kept is not None and self.buffer.first == 0:
            read_kept, self._read_kept = self._read_kept, None
            self.run_worker(self._add_older(read_kept), name="read older lines")

    async def _add_older(self, read_kept: ReadKept) -> None:
        try:
            kept, is_cut = await read_kept()
        except HotloopError as error:
            kept, is_cut, said = [], False, f"older lines can't be read: {error.message}"
        else:
            said = "older lines are gone: the runner keeps 4 to 8 MB" if is_cut else "the app wrote nothing before"
        found, teller, now = older.before(kept, self._first_logs), Teller(), clock.read_pair()
        records: list[Record] = []
        for number, event in enumerate(found):
            records += teller.records_of(event, now)
            if not number % SLICE_LINES:
                await asyncio.sleep(0)  # keys come first
        at_s = records[0].at_s if records else self.buffer[0].at_s if self.buffer else now.wall_s
        self.lines.prepend([Record(at_s, "D", "loop", 0, 0, said), *records])

    # --- the title --------------------------------------------------------------------------------------------------

    def on_resize(self, _event: textual_events.Resize) -> None:
        """Say as much as there is room for."""
        self._say()

    def _say(self) -> None:
        if not self.lines.following and not self.lines.scroll_offset.y:
            self._want_older()
        shown = title.Title(
            self._wanted, self._search, self._is_in_context, len(self.lines.view), self.buffer.counts, len(self.buffer),
            None if self.lines.following else self.lines.num_below,
        )  # fmt: skip
        self._title.update(title.draw(shown, self.size.width, self._palette), layout=False)

    # --- filtering --------------------------------------------------------------------------------------------------

    @property
    def _wanted(self) -> Filter:
        return self.lines.view.wanted

    def _narrow(self, **changed: object) -> None:
        self.lines.narrow(replace(self._wanted, **changed))  # pyright: ignore[reportArgumentType]  its own fields

    def action_filter(self) -> None:
        """Ask what to look for."""
        self._leave_rows()
        self.query_one(Horizontal).add_class("-shown")
        self.query_one(Input).focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Look for it while it is typed."""
        event.stop()
        self._look_for(Search(event.value))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Keep looking for it, with the keys back at the lines."""
        event.stop()
        self._leave_rows()

    def on_log_list_too_slow(self) -> None:
        """Look for the text that was typed instead."""
        self.notify("This pattern takes too long; looking for it as a text.", severity="warning")
        self._look_for(replace(self._search, is_text=True))

    def _look_for(self, search: Search) -> None:
        self._search, self._is_in_context = search, False
        if search:
            self._want_older()
        self.lines.show_as(search=search)
        self._narrow(search=search)

    def action_clear_filter(self) -> None:
        """Look for nothing, and show every line; where that is so already the key is not the log's."""
        if not (self._search or self._wanted or self.query(".-shown")):
            raise SkipAction
        self.clear_filter()

    def clear_filter(self) -> None:
        """Look for nothing, and show every line."""
        self.query_one(Input).value = ""
        self._leave_rows()
        if self._search or self._wanted:
            self._look_for(Search())
            self._narrow(level="D", hidden=frozenset[str]())

    def _leave_rows(self) -> None:
        self.query_one(Horizontal).remove_class("-shown")
        self.query_one(SourceRow).remove_class("-shown")
        self.query_one(WholeLine).remove_class("-shown")
        self.lines.focus()

    def action_context(self) -> None:
        """Show what is around the line that the search found, and back."""
        if not self._search:
            self.notify("Type / to look for something first.")
            return
        at = self.lines.at
        self._is_in_context = not self._is_in_context
        self._narrow(search=Search() if self._is_in_context else self._search)
        if at is not None:
            self.lines.go_to(at)

    def action_next_match(self, step: int) -> None:
        """Go to the next line that the search finds, or to the one before."""
        if not self._search:
            self.notify("Type / to look for something first.")
            return
        at = self.lines.at
        if at is None:
            return
        found = self.lines.found_beside(at, replace(self._wanted, search=self._search), is_below=step > 0)
        if found is not None:
            self.lines.go_to(found)
        else:
            self.notify("No other line has it." if step > 0 else "No line before has it.")

    def action_level(self) -> None:
        """Leave out the next level; behind the last one show all."""
        level = self._wanted.level
        self._narrow(level=LEVELS[(LEVELS.index(level) + 1) % len(LEVELS)])

    def action_sources(self) -> None:
        """Ask which sources to show."""
        self._leave_rows()
        row = self.query_one(SourceRow)
        row.hidden = self._wanted.hidden
        row.show(self._palette)

    def on_source_row_chosen(self, event: SourceRow.Chosen) -> None:
        """Show those that were chosen."""
        self._narrow(hidden=event.hidden)

    def on_source_row_closed(self) -> None:
        """Go back to the lines."""
        self._leave_rows()

    def on_whole_line_closed(self) -> None:
        """Go back to the lines."""
        self._leave_rows()

    # --- moving -----------------------------------------------------------------------------------------------------

    def action_end(self) -> None:
        """Follow."""
        self.lines.follow()

    def action_home(self) -> None:
        """Go to the oldest line."""
        self.lines.go_to(self.buffer.first)

    def action_move(self, rows: int, is_extending: bool = False) -> None:  # noqa: FBT001, FBT002  a binding's argument
        """Go up or down, and choose lines on the way if asked to."""
        self.lines.move(rows, is_extending=is_extending)

    def action_page(self, pages: int) -> None:
        """Go up or down as far as is seen."""
        self.lines.move(pages * max(self.lines.size.height - 1, 1))

    def action_iteration(self, step: int) -> None:
        """Go to the separator of the iteration before or after."""
        at = self.lines.at
        if at is None:
            return
        ends = [number for number, record in self.buffer.separators() if _is_end(record)]
        found = [number for number in ends if (number < at if step < 0 else number > at)]
        if found:
            self.lines.go_to(found[-1 if step < 0 else 0])
        elif step > 0:
            self.lines.follow()

    def show_iteration(self, number: int) -> bool:
        """Have the separator of an iteration in sight. Returns False if its line is gone, or yet to come."""
        for at, record in self.buffer.separators():
            if _is_end(record) and record.iteration == number:
                self.lines.go_to(at, is_at_top=True)
                return True
        return False

    # --- taking lines elsewhere -------------------------------------------------------------------------------------

    def action_mark(self) -> None:
        """Draw a line to find again."""
        now = time.time()
        at = time.strftime("%H:%M:%S", time.localtime(now))
        self.lines.append([Record(now, "-", "loop", 0, self._teller.iteration, f"mark {at}")])

    def action_copy(self) -> None:
        """Copy what the mouse selected, else the lines that the keys chose, else those in sight."""
        selected = self.screen.get_selected_text()
        if selected:
            elsewhere.copy(self, selected)
            self.notify(f"{selected.count(chr(10)) + 1} selected lines copied.")
            return
        numbers = self.lines.chosen or self.lines.in_sight
        text = "\n".join(
            painting.written(self.buffer[number]._replace(text=self.buffer.whole(number))) for number in numbers
        )
        elsewhere.copy(self, text)
        self.notify(f"{len(numbers)} {'line' if len(numbers) == 1 else 'lines'} copied.")

    def action_whole(self) -> None:
        """Show all of a line, wrapped."""
        at = self.lines.at
        if at is not None:
            self._leave_rows()
            self.query_one(WholeLine).show(self.buffer.whole(at), self._palette)

    def action_pager(self) -> None:
        """Read everything that is kept in the user's own pager."""
        elsewhere.page(self, self.buffer, self._log_file)


def _is_end(record: Record) -> bool:
    return record.text.startswith(("#", "started", "resumed"))
