"""The dashboard."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar

from textual.app import App, ComposeResult
from textual.widgets import RichLog, Static

from hotloop import events
from hotloop.errors import HotloopError
from hotloop.tui.exits import Exit

if TYPE_CHECKING:
    from pathlib import Path

    from textual.binding import BindingType

    from hotloop.tui.feed import Feed


class Dashboard(App[int]):
    """A session's events, a line each, and the keys that end it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ("q", "leave('stop')", "stop"),
        ("d", "leave('detach')", "detach"),
        ("s", "plain", "plain lines"),
        ("ctrl+z", "suspend_process", "suspend"),
    ]

    def __init__(self, feed: Feed, *, project: Path, log: Path | None = None, is_attached: bool = False) -> None:
        super().__init__()
        self._feed = feed
        self._folder = project
        self._log_file = log
        self._is_attached = is_attached

    def compose(self) -> ComposeResult:
        """Lay out."""
        yield Static(f"hotloop {self._folder.name}", id="status")
        yield RichLog(id="lines", max_lines=1000)

    def on_mount(self) -> None:
        """Begin to read."""
        self.app_resume_signal.subscribe(self, self._redraw)  # pyright: ignore[reportUnknownMemberType]
        self.run_worker(self._read(), exclusive=True)

    def _redraw(self, _: object) -> None:
        """Draw all of it on the terminal that was away: Textual draws only what changes."""
        self.refresh(layout=True)

    async def _read(self) -> None:
        lines = self.query_one("#lines", RichLog)
        async for event in self._feed.events():
            match event:
                case events.RuntimeStarted():
                    self.query_one("#status", Static).update(f"hotloop {self._folder.name} {event.address}")
                case events.Log():
                    lines.write(event.text)
                case events.IterationFinished(iteration=iteration):
                    lines.write(f"#{iteration.number} {iteration.outcome}")
                case events.ProbeReported():
                    lines.write(f"{event.report.name} {event.report.output}")
                    self.call_after_refresh(self._shown, event)
                case _:
                    pass
        self.exit(return_code=Exit.CLOSED)

    async def _shown(self, event: events.ProbeReported) -> None:
        try:
            await self._feed.ask("shown", generation=event.generation, probe=event.report.name, at_s=time.monotonic())
        except HotloopError:
            return

    async def action_leave(self, request: str) -> None:
        """End the session, or leave it running."""
        if not self._is_attached:
            await self._feed.ask(request)
        self.exit(return_code=Exit.CLOSED)

    def action_plain(self) -> None:
        """Give way to plain lines."""
        self.exit(return_code=Exit.PLAIN)
