"""The rows of the log: strips only for those that are seen, following the end until someone looks up."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.cache import LRUCache
from textual.geometry import Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.scrollbar import ScrollBarRender
from textual.strip import Strip

from hotloop.devloop import words
from hotloop.tui.log import limit, painting
from hotloop.tui.log.filter import Filter, Search, View

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from textual import events
    from textual.selection import Selection

    from hotloop.tui.log.buffer import Buffer, Record
    from hotloop.tui.palette import Palette

NO_LINE = "no line is like that; Esc shows all"
MARGIN = 24  # cells in front of a line's text, at most
SLICE_LINES = 2_000  # of a search by pattern: 5 ms, so that keys are answered in between
SEARCH_S = 1.0  # of a pattern in all lines: four times what it takes
LIMIT_S = 0.25  # of such a slice: fifty times what it takes


class WholeCells(ScrollBarRender):
    """A scrollbar whose ends are as precise as spaces are."""

    VERTICAL_BARS: ClassVar[list[str]] = [" "] * len(ScrollBarRender.VERTICAL_BARS)


class LogList(ScrollView, can_focus=True, inherit_bindings=False):
    """The lines of a buffer that a filter wants.

    Attributes:
        following: Whether it stays at the end.
    """

    DEFAULT_CSS = """
    LogList { height: 1fr; overflow-x: hidden; overflow-y: scroll; scrollbar-size-vertical: 1; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "shift(-1)", "Left", show=False),
        Binding("right", "shift(1)", "Right", show=False),
    ]

    following: reactive[bool] = reactive(True, repaint=False)

    class TooSlow(Message):
        """A pattern takes so long that it is given up."""

    def __init__(self, palette: Palette, buffer: Buffer, on_change: Callable[[], None], where_older: str = "") -> None:
        """Show a buffer.

        Args:
            palette: Its colours.
            buffer: Its lines.
            on_change: Called when how much is shown of how much, or whether it follows, has changed. No message, which
                would be read after the lines are painted: the title would be painted apart, at half the cost of them.
            where_older: Says where lines are that the buffer has forgotten.
        """
        super().__init__()
        self._on_change = on_change
        self._where_older = where_older
        self.buffer = buffer
        self.view = View(buffer)
        self._look = painting.Look(palette, 0, Search())
        self._cursor: int | None = None  # the number of the line that the keys are at; None while none is
        self._anchor: int | None = None  # where a choice of several lines began
        self._strips: LRUCache[tuple[int, int], Strip] = LRUCache(1024)
        self._style: Style | None = None
        self._widest = 0
        self._is_placing = False
        self._searching: asyncio.Task[None] | None = None

    # --- what is shown ----------------------------------------------------------------------------------------------

    @property
    def look(self) -> painting.Look:
        """What lines look like; its search is marked in them, whether it filters them or not."""
        return self._look

    def show_as(self, palette: Palette | None = None, search: Search | None = None) -> None:
        """Change what lines look like."""
        old = self._look
        self._look = painting.Look(
            old.palette if palette is None else palette, self.size.width, old.search if search is None else search
        )
        ends = WholeCells if self._look.palette.is_ascii else ScrollBarRender
        self.vertical_scrollbar.renderer = ends  # pyright: ignore[reportAttributeAccessIssue]  as Textual's own docs do
        self._strips.clear()
        self.refresh()

    def append(self, records: Iterable[Record]) -> None:
        """Add lines at the end."""
        added = list(records)
        self.buffer.append(added)
        self._widest = max([self._widest, *(_width_of(record.text) for record in added)])
        self._settle(self._catch_up(0 if self.is_searching else None))

    def prepend(self, records: Sequence[Record]) -> int:
        """Add older lines, with what is looked at still in sight. Returns for how many there was room."""
        added = self.buffer.prepend(records)
        self._widest = max([self._widest, *(_width_of(record.text) for record in records)])
        self.narrow(self.view.wanted)
        return added

    def narrow(self, wanted: Filter) -> None:
        """Show other lines: at once, or little by little where that takes time."""
        at = self.at
        self.view.wanted = wanted
        if wanted.search.pattern is None:
            self._catch_up(None)
        elif not self.is_searching:
            self._searching = asyncio.get_running_loop().create_task(self._search())
        self._settle(0)
        if not self.following and at is not None:
            self.go_to(at)

    async def _search(self) -> None:
        while self.view.is_behind:
            self._settle(self._catch_up(SLICE_LINES))
            await asyncio.sleep(0)  # keys and painting come first

    def _catch_up(self, max_lines: int | None) -> int:
        if self.view.wanted.search.pattern is None:
            return self.view.catch_up(max_lines)
        try:
            with limit.within(LIMIT_S):
                return self.view.catch_up(max_lines)
        except limit.TooSlowError:
            self.view.wanted = replace(self.view.wanted, search=Search())
            self.post_message(self.TooSlow())
            return self.view.catch_up()

    @property
    def is_searching(self) -> bool:
        """Whether lines are yet to be looked at."""
        return self._searching is not None and not self._searching.done()

    def _settle(self, gone: int) -> None:
        """Fit the scroll range to the rows; what is looked at stays where it is."""
        top = self.scroll_offset.y - gone
        self._is_placing = True
        self.virtual_size = Size(self._widest + MARGIN, len(self.view))
        if self.following:
            self.scroll_end(animate=False, immediate=True, x_axis=False)
        elif gone:
            self.scroll_to(y=max(top, 0), animate=False)
            if self.text_selection is not None:
                self.screen.clear_selection()  # it is by rows, and these moved
        self._is_placing = False
        self.refresh()
        self._on_change()

    # --- where it is ------------------------------------------------------------------------------------------------

    @property
    def at(self) -> int | None:
        """The number of the line that the keys are at; the newest while it follows; None if nothing is shown."""
        if not len(self.view):
            return None
        if self._cursor is not None:
            return self.view[min(self.view.row_of(self._cursor), len(self.view) - 1)]
        return self.view[min(self.scroll_offset.y + max(self.size.height, 1), len(self.view)) - 1]

    @property
    def num_below(self) -> int:
        """How many rows are below the last one that is seen."""
        return max(len(self.view) - self.scroll_offset.y - self.size.height, 0)

    def follow(self) -> None:
        """Stay at the end from now on."""
        self._cursor = self._anchor = None
        self.following = True
        self._settle(0)

    def go_to(self, number: int, *, is_at_top: bool = False, is_extending: bool = False) -> None:
        """Stop following, and have a line in sight.

        Args:
            number: The line's; if it is not shown, the next one that is.
            is_at_top: Make it the first one in sight.
            is_extending: Choose every line from where the keys were to it.
        """
        if not len(self.view):
            return
        row = min(self.view.row_of(number), len(self.view) - 1)
        self._anchor = (self.at if self._anchor is None else self._anchor) if is_extending else None
        self._cursor = self.view[row]
        top, height = self.scroll_offset.y, max(self.size.height, 1)
        wanted = row if is_at_top else min(max(top, row - height + 1), row)
        self._is_placing = True
        self.following = False
        self.scroll_to(y=wanted, animate=False)
        self._is_placing = False
        self.refresh()
        self._on_change()

    def action_shift(self, steps: int) -> None:
        """See more of what is left or right of the lines in sight, a quarter of the width a step."""
        self.scroll_to(x=max(self.scroll_offset.x + steps * max(self.size.width // 4, 1), 0), animate=False, force=True)

    def found_beside(self, number: int, wanted: Filter, *, is_below: bool) -> int | None:
        """Give the number of the next line that a filter wants, or of the one before; None if there is none, or it takes too long."""
        rows, place = self.buffer.rows, number - self.buffer.first
        side, first = (rows[place + 1 :], number + 1) if is_below else (rows[:place], self.buffer.first)
        with contextlib.suppress(limit.TooSlowError), limit.within(SEARCH_S):
            found = wanted.pick(side, first)
            return found[0 if is_below else -1] if found else None
        return None

    def move(self, rows: int, *, is_extending: bool = False) -> None:
        """Go up or down; down from the last line is to follow."""
        if (at := self.at) is None:
            return
        row = self.view.row_of(at) + rows
        if row >= len(self.view) and not is_extending:
            self.follow()
        else:
            self.go_to(self.view[min(max(row, 0), len(self.view) - 1)], is_extending=is_extending)

    @property
    def chosen(self) -> list[int]:
        """The numbers of the lines that the keys chose: one, or a range; none while they chose none."""
        if self._cursor is None or not len(self.view):
            return []
        ends = sorted((self._cursor, self._cursor if self._anchor is None else self._anchor))
        first, last = (min(self.view.row_of(number), len(self.view) - 1) for number in ends)
        return [self.view[row] for row in range(first, last + 1)]

    @property
    def in_sight(self) -> list[int]:
        """The numbers of the lines that are seen."""
        top = self.scroll_offset.y
        return [self.view[row] for row in range(top, min(top + self.size.height, len(self.view)))]

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Follow if someone scrolls to the end, and stop if someone scrolls away from it."""
        super().watch_scroll_y(old_value, new_value)
        if not self._is_placing:
            self.following = round(new_value) >= self.max_scroll_y
            self._on_change()

    def watch_following(self) -> None:
        """Drop the keys' place: the end is it."""
        if self.following:
            self._cursor = self._anchor = None

    def on_resize(self, _event: events.Resize) -> None:
        """Lay the lines out again, with the one that the keys are at in sight."""
        self.show_as()
        self._settle(0)
        if self._cursor is not None and self._cursor not in self.in_sight:
            self.go_to(self._cursor)

    def notify_style_update(self) -> None:
        """Draw the lines on another background."""
        super().notify_style_update()
        self._style = None
        self._strips.clear()

    @property
    def _base(self) -> Style:
        """The widget's own style, kept: it takes as long to find as a line to lay out."""
        if self._style is None:
            self._style = self.rich_style
        return self._style

    # --- drawing ----------------------------------------------------------------------------------------------------

    def render_line(self, y: int) -> Strip:
        """Draw one row that is seen."""
        left, top = self.scroll_offset
        row, width = top + y, self.size.width
        if row >= len(self.view):
            said = NO_LINE if row == 0 and len(self.buffer) and not self.is_searching else ""
            return (
                Strip([Segment(said, self._look.styles["muted"])])
                .apply_style(self._base)
                .crop_extend(0, width, self._base)
            )
        number = self.view[row]
        selection = self.text_selection
        span = None if selection is None else selection.get_span(row)
        is_chosen = self._is_chosen(number)
        strip = None if span or is_chosen else self._strips.get((number, left))
        if strip is None:
            strip = self._strip(number, left, width, span, is_chosen=is_chosen)
            if not span and not is_chosen:
                self._strips[number, left] = strip
        return strip.apply_offsets(left, row)

    def _strip(self, number: int, left: int, width: int, span: tuple[int, int] | None, *, is_chosen: bool) -> Strip:
        pieces = self._pieces(number)
        if span is not None:
            marked = self.screen.get_component_rich_style("screen--selection")
            pieces = painting.restyled(pieces, *span, marked)
        base = self._base
        if is_chosen:
            base += Style.parse(f"on {self._look.palette.strip}") + Style(bold=True)
        return Strip(pieces).apply_style(base).crop_extend(left, left + width, base)

    def _pieces(self, number: int) -> list[Segment]:
        if number == self.buffer.first and number > 0:
            older = f"{words.count(number, 'older line')} not here: {self._where_older}"
            return [Segment(older, self._look.styles["muted"])]
        if self._look.search.pattern is None:
            return painting.segments(self.buffer[number], self._look)
        try:
            with limit.within(LIMIT_S):
                return painting.segments(self.buffer[number], self._look)
        except limit.TooSlowError:
            return painting.segments(self.buffer[number], replace(self._look, search=Search()))

    def _is_chosen(self, number: int) -> bool:
        if self._cursor is None:
            return False
        anchor = self._cursor if self._anchor is None else self._anchor
        return min(anchor, self._cursor) <= number <= max(anchor, self._cursor)

    # --- selecting with the mouse -----------------------------------------------------------------------------------

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """Give what the mouse selected: only those rows are laid out, not 100,000."""
        first = selection.start.y if selection.start is not None else 0
        last = selection.end.y if selection.end is not None else len(self.view) - 1
        lines: list[str] = []
        for row in range(first, min(last + 1, len(self.view))):
            text = painting.plain(self.buffer[self.view[row]], self._look)
            start, end = selection.get_span(row) or (0, 0)
            lines.append(text[start:] if end == -1 else text[start:end])
        return "\n".join(lines), "\n"

    def selection_updated(self, selection: Selection | None) -> None:
        """Draw the selection."""
        del selection
        self.refresh()


def _width_of(text: str) -> int:
    return len(text) if text.isascii() else cell_len(text)
