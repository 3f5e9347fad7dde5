"""The row that says which sources are shown, and takes the digits that change it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Static

from hotloop.tui.log.buffer import SOURCES

if TYPE_CHECKING:
    from hotloop.tui.palette import Palette


class SourceRow(Static, can_focus=True):
    """One row of numbered sources.

    Attributes:
        hidden: Those that are not shown.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        *[Binding(str(at), f"switch({at - 1})", source, show=False) for at, source in enumerate(SOURCES, 1)],
        Binding("0", "all", "All sources", show=False),
        Binding("escape,enter,f", "close", "Close", show=False),
    ]

    class Chosen(Message):
        """Other sources are wanted."""

        def __init__(self, hidden: frozenset[str]) -> None:
            """Carry those that are not."""
            super().__init__()
            self.hidden = hidden

    class Closed(Message):
        """The row has done its work."""

    hidden: frozenset[str] = frozenset()
    _palette: Palette

    def show(self, palette: Palette) -> None:
        """Appear, and take the keys."""
        self._palette = palette
        self._say()
        self.add_class("-shown")
        self.focus()

    def _say(self) -> None:
        colors = self._palette
        text = Text("Sources  ", colors.muted, no_wrap=True)
        for at, source in enumerate(SOURCES, 1):
            is_shown = source not in self.hidden
            mark = ("x" if colors.is_ascii else "●") if is_shown else ("-" if colors.is_ascii else "○")
            text.append(f"{at} ", colors.strong).append(f"{mark} {source}  ", colors.text if is_shown else colors.muted)
        self.update(text.append("0 all  enter done", colors.muted))

    def action_switch(self, at: int) -> None:
        """Show a source, or leave it out."""
        self._choose(self.hidden ^ {SOURCES[at]})

    def action_all(self) -> None:
        """Show all."""
        self._choose(frozenset())

    def _choose(self, hidden: frozenset[str]) -> None:
        self.hidden = hidden
        self._say()
        self.post_message(self.Chosen(hidden))

    def action_close(self) -> None:
        """Give the keys back."""
        self.post_message(self.Closed())
