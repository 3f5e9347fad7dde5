"""One line of the log with all of its text, wrapped, below the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.message import Message
from textual.widgets import Static

from hotloop.devloop import words
from hotloop.tui.log import elsewhere

if TYPE_CHECKING:
    from textual.app import ComposeResult

    from hotloop.tui.palette import Palette


class WholeLine(VerticalScroll, can_focus=True):
    """Shows a line as long as it is."""

    DEFAULT_CSS = """
    WholeLine { height: auto; max-height: 60%; }
    WholeLine > Static { height: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,escape", "close", "Close", show=False),
        Binding("y", "copy", "Copy", show=False),
        Binding("j", "scroll_down", "Down", show=False),
        Binding("k", "scroll_up", "Up", show=False),
    ]

    class Closed(Message):
        """It was read."""

    def __init__(self) -> None:
        """Show nothing."""
        super().__init__()
        self._text = ""
        self._about, self._body = Static(), Static()

    def compose(self) -> ComposeResult:
        """What it is, and the line."""
        yield self._about
        yield self._body

    def show(self, text: str, palette: Palette) -> None:
        """Appear with a line, and take the keys."""
        self._text = text
        about = f"{words.count(len(text), 'character')}  y copy  enter done"
        self._about.update(Text(about, palette.muted, no_wrap=True, overflow="ellipsis"))
        self._body.update(Text(text, palette.text, overflow="fold"))
        self.scroll_home(animate=False)
        self.add_class("-shown")
        self.focus()

    def action_copy(self) -> None:
        """Copy the line's text alone."""
        elsewhere.copy(self, self._text)
        self.notify("The line is copied.")

    def action_close(self) -> None:
        """Give the keys back."""
        self.post_message(self.Closed())
