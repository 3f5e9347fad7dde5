"""A panel on the screen: draws what a painter gives, only when that differs, and lets the mouse select its text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, cast

from rich.style import Style
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from hotloop.tui.panels.lines import background
from hotloop.tui.placing import is_placed

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual import events as textual_events
    from textual.app import App
    from textual.selection import Selection

    from hotloop.tui.palette import Palette

    Draw = Callable[[int, int], list[Text]]

PADDING = 1  # cells at each side


class Surface(Widget):
    """Some lines on one ground.

    Attributes:
        palette: Its colours; setting them draws it again.
        ground: Which of the palette's grounds it has: ``panel``, ``page`` or ``strip``.
    """

    DEFAULT_CSS = "Surface { height: auto; width: auto; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "app.move(1)", show=False),
        Binding("up,k", "app.move(-1)", show=False),
        Binding("pagedown", "app.move(10)", show=False),
        Binding("pageup", "app.move(-10)", show=False),
        Binding("end,G", "app.edge(1)", show=False),
        Binding("home,g", "app.edge(-1)", show=False),
        Binding("enter", "app.enter", show=False),
        Binding("c", "app.compare", show=False),
    ]

    class Scrolled(Message):
        """The mouse's wheel was turned over it."""

        def __init__(self, panel: str, step: int) -> None:
            """Carry which, and by how many lines."""
            super().__init__()
            self.panel, self.step = panel, step

    def __init__(
        self, draw: Draw, palette: Palette, *, name: str, ground: str = "panel", can_focus: bool = False
    ) -> None:
        """Draw nothing yet.

        Args:
            draw: Gives at most ``height`` lines of at most ``width`` cells.
            palette: The colours.
            name: Names its place in the arrangement.
            ground: Which ground it has.
            can_focus: Whether Tab stops here.
        """
        super().__init__(id=name)
        self.can_focus = can_focus
        self.palette = palette
        self.ground = ground
        self._draw = draw
        self._lines: list[Text] | None = None
        self._size_drawn = self.size

    def look_again(self) -> None:
        """Draw again, and paint if that gave something else."""
        if not self.size.width or (self._lines is None and not is_placed(self)):
            return
        before, lines = self._lines, self._drawn()
        if before is None or lines != before or [line.spans for line in lines] != [line.spans for line in before]:
            self._lines = lines
            self.refresh()

    def forget(self) -> None:
        """It is not shown: when it is again, it is to show what holds then."""
        self._lines = None

    def restyle(self, palette: Palette) -> None:
        """Draw in other colours."""
        self.palette = palette
        self._lines = None
        self.refresh()

    @property
    def text(self) -> str:
        """What is written on it, without the air at the ends of lines."""
        return "\n".join(line.plain.rstrip() for line in self._lines or ())

    def _drawn(self) -> list[Text]:
        self._size_drawn = self.size
        return self._draw(max(self.size.width - 2 * PADDING, 0), self.size.height)

    # --- Textual's side -----------------------------------------------------------------------------------------------

    def allow_focus(self) -> bool:
        """Tab stops at what is shown."""
        return super().allow_focus() and is_placed(self)

    def on_show(self) -> None:
        """It had no place for a while: Textual has kept what was on it then."""
        self.look_again()

    def on_mouse_scroll_down(self, event: textual_events.MouseScrollDown) -> None:
        """See more of what is longer than its place."""
        self._scrolled(event, 3)

    def on_mouse_scroll_up(self, event: textual_events.MouseScrollUp) -> None:
        """See what is above."""
        self._scrolled(event, -3)

    def _scrolled(self, event: textual_events.MouseEvent, step: int) -> None:
        event.stop()
        self.post_message(self.Scrolled(self.id or "", step))

    def on_focus(self) -> None:
        """The mark at the edge comes and goes."""
        self.refresh()

    def on_blur(self) -> None:
        """The mark at the edge comes and goes."""
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """Give one row, with its ground under all of it."""
        if self._lines is None or self._size_drawn != self.size:
            self._lines = self._drawn()
        ground = background(getattr(self.palette, self.ground))
        base = Style.parse(self.palette.text) + ground
        width = self.size.width
        if y >= len(self._lines):
            return Strip.blank(width, base)
        line = self._lines[y].copy()
        self._mark_selection(line, y)
        edge = self._edge(y)
        line.rstrip()
        console = cast("App[Any]", self.app).console  # pyright: ignore[reportUnknownMemberType]
        segments = [*edge.render(console), *line.render(console)]
        strip = Strip(segments, edge.cell_len + line.cell_len).apply_style(base)
        return strip.crop_extend(0, width, base).apply_offsets(0, y)

    def _edge(self, y: int) -> Text:
        if y == 0 and self.has_focus:
            return Text(">" if self.palette.is_ascii else "▌", self.palette.code, end="")
        return Text(" " * PADDING, end="")

    def _mark_selection(self, line: Text, y: int) -> None:
        selection = self.text_selection
        span = selection.get_span(y) if selection is not None else None
        if span is not None:
            start, end = span
            end = len(line) if end == -1 else end - PADDING
            line.stylize("reverse", max(start - PADDING, 0), max(end, 0))

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """Give what the mouse selected, as it is written."""
        padded = "\n".join(" " * PADDING + line.plain for line in self._lines or ())
        return selection.extract(padded), "\n"

    def selection_updated(self, selection: Selection | None) -> None:
        """Show what is selected."""
        self.refresh()


class RowSurface(Surface):
    """The row of figures, which has the keys while it asks something."""

    def __init__(self, draw: Draw, palette: Palette, take: Callable[[str], bool]) -> None:
        """Prepare.

        Args:
            draw: As of `Surface`.
            palette: As of `Surface`.
            take: Is given each key, none if none is to come; says whether it was for the row, or is to do what it always does.
        """
        super().__init__(draw, palette, name="strip", ground="strip")
        self._take = take
        self._came_from: Widget | None = None

    def listen(self, *, is_listening: bool) -> None:
        """Take the keys, or give them back to whoever had them."""
        if is_listening == self.can_focus:
            return
        if is_listening:
            self._came_from = self.screen.focused
            self.can_focus = True
            self.screen.set_focus(self)  # at once: a blur that is on its way is one of before
        else:
            self.can_focus = False
            if self.screen.focused is self:
                there = self.screen.focus_chain
                target = self._came_from if self._came_from in there else next(iter(there), None)
                self.screen.set_focus(target)

    def on_blur(self) -> None:
        """A question whose keys go elsewhere, as after a click, is not open any more; another window is no elsewhere."""
        app = cast("App[Any]", self.app)  # pyright: ignore[reportUnknownMemberType]
        if self.can_focus and app.app_focus and app.focused is not self:
            self._take("")

    def on_key(self, event: textual_events.Key) -> None:
        """Ask whether it is for the row."""
        if self.can_focus and self._take(event.key):
            event.stop()
            event.prevent_default()
