"""Puts the widgets of the screen where `arrangement` says: the one place that knows both."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.geometry import NULL_OFFSET, Region, Spacing
from textual.layout import ArrangeResult, Layout, WidgetPlacement
from textual.widget import Widget

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.geometry import Size

    from hotloop.tui.arrangement import Box

_NO_MARGIN = Spacing()


class Panels(Widget):
    """All panels of the dashboard, on the whole screen."""

    DEFAULT_CSS = "Panels { width: 1fr; height: 1fr; }"

    def __init__(self, *panels: Widget, arrange: Callable[[int, int], dict[str, Box]]) -> None:
        """Hold panels.

        Args:
            panels: In the order in which Tab goes through them.
            arrange: Gives those that are shown their boxes, for a width and a height.
        """
        super().__init__(*panels)
        self._by_arrangement = ByArrangement(arrange)

    @property
    def layout(self) -> Layout:
        """Textual has no other way to a layout of one's own."""
        return self._by_arrangement

    def has_place(self, name: str | None) -> bool:
        """Whether a panel is shown."""
        return name in self._by_arrangement.boxes(self.app.size)  # pyright: ignore[reportUnknownMemberType]

    def arrange_again(self) -> None:
        """Give every panel its place anew; a child's wish for it is what makes Textual forget the old places."""
        self.children[0].refresh(layout=True)


def is_placed(widget: Widget) -> bool:
    """Whether a panel has a place: the focus does not go to others."""
    parent = widget.parent
    return isinstance(parent, Panels) and parent.has_place(widget.id)


class ByArrangement(Layout):
    """Gives each child the box that has its id; children without one are not shown."""

    name: ClassVar[str] = "arrangement"

    def __init__(self, arrange: Callable[[int, int], dict[str, Box]]) -> None:
        self._arrange = arrange

    def boxes(self, size: Size) -> dict[str, Box]:
        """Give what is shown on a screen of a size, and where."""
        return self._arrange(size.width, size.height)

    def arrange(self, parent: Widget, children: list[Widget], size: Size, greedy: bool = True) -> ArrangeResult:  # noqa: FBT001, FBT002  as Textual's
        """Place the children."""
        boxes = self.boxes(size)
        return [
            WidgetPlacement(Region(*box), NULL_OFFSET, _NO_MARGIN, child)
            for child in children
            if (box := boxes.get(child.id or "")) is not None and box.width > 0 and box.height > 0
        ]
