"""One line of the log, wrapped, on a screen of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from hotloop.devloop import words
from hotloop.tui.log import elsewhere, painting

if TYPE_CHECKING:
    from textual.app import ComposeResult

    from hotloop.tui.log.buffer import Record


class WholeLine(ModalScreen[None]):
    """Shows a line as long as it is; enter, escape or q closes it."""

    DEFAULT_CSS = """
    WholeLine { align: center bottom; }
    WholeLine > Static { height: 1; padding: 0 1; background: $panel; }
    WholeLine > VerticalScroll { height: auto; max-height: 80%; padding: 0 1; background: $surface; }
    WholeLine > VerticalScroll > Static { height: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,escape,q", "dismiss", "Close"),
        Binding("y", "copy", "Copy"),
    ]

    def __init__(self, record: Record, text: str) -> None:
        """Show a record with all of its text."""
        super().__init__()
        self._record = record
        self._text = text

    def compose(self) -> ComposeResult:
        """The line, which can be scrolled."""
        about = f"{painting.written(self._record._replace(text=''))}  {words.count(len(self._text), 'character')}"
        yield Static(Text(f"{about}  ·  y copy  ·  enter close", style="dim", no_wrap=True, overflow="ellipsis"))
        with VerticalScroll():
            yield Static(Text(self._text, overflow="fold"))

    def action_copy(self) -> None:
        """Copy the line's text alone."""
        elsewhere.copy(self, self._text)
        self.notify("The line is copied.")
