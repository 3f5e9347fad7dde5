"""The log as part of the dashboard: without the keys that mean the same everywhere in it."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType

from hotloop.tui.log.pane import LogPane
from hotloop.tui.placing import is_placed

# The brackets choose an iteration for all panels, and the log follows; a copy says what was copied, as of every panel.
_OF_THE_DASHBOARD = frozenset({"log.iteration_up", "log.iteration_down", "log.copy"})


class Logs(LogPane, inherit_bindings=False):
    """The log."""

    BINDINGS: ClassVar[list[BindingType]] = [
        binding
        for binding in LogPane.BINDINGS
        if not (isinstance(binding, Binding) and binding.id in _OF_THE_DASHBOARD)
    ]

    def allow_focus_children(self) -> bool:
        """Tab stops at what is shown."""
        return super().allow_focus_children() and is_placed(self)

    def focus_lines(self) -> None:
        """Have the keys move in it."""
        self.lines.focus()
