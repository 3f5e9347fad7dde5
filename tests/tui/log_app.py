"""An app of nothing but the log, for tests."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from textual.app import App

from hotloop import events
from hotloop.tui.log.pane import LogPane
from hotloop.tui.palette import Palette

if TYPE_CHECKING:
    from pathlib import Path

    from textual.app import ComposeResult

    from hotloop.tui.log.pane import ReadKept

NIGHT = Palette(
    name="night", text="#c8d0e0", muted="#8c95aa", strong="#e4e9f4", good="#73daca", bad="#f7768e", warning="#e0af68",
    code="#7aa2f7", model="#bb9af7", environment="#7dcfff", cold="#ff9e64", phases=("#8c95aa",) * 6, ghost="#3a4358",
    track="#2b3242", panel="#171b24", page="#10131a", strip="#1f2530",
)  # fmt: skip


class LogApp(App[None]):
    """Shows the pane and gives it the keys."""

    CSS = "Screen { background: #171b24; }"

    def __init__(self, log: Path | None = None, read_kept: ReadKept | None = None) -> None:
        super().__init__()
        self.pane = LogPane(NIGHT, log=log, read_kept=read_kept)

    def compose(self) -> ComposeResult:
        yield self.pane

    def on_mount(self) -> None:
        self.pane.lines.focus()

    def grid(self) -> list[str]:
        """The screen's rows as text."""
        rows = self.screen._compositor.render_strips(self.size)
        return ["".join(strip.text for strip in row).rstrip() for row in rows]

    def shown(self) -> list[str]:
        """The log's rows without time and scroll bar."""
        height = self.pane.lines.size.height
        return [row[9:].rstrip(" ▁▂▃▄▅▆▇") for row in self.grid()[1 : 1 + height] if row.strip(" ▁▂▃▄▅▆▇")]


def log(text: str, generation: int = 3, stream: str = "stdout") -> events.Log:
    return events.Log(time.monotonic(), generation, stream, text)  # type: ignore[arg-type]


def iteration(number: int, outcome: str = "ok", cause: str = "code") -> events.IterationFinished:
    record = events.Iteration(
        number, outcome, 0.0, False, number, number, ("app.py",), 10, 1.35, 1.0, {"detect": 1.35}, cause=cause  # type: ignore[arg-type]
    )  # fmt: skip
    return events.IterationFinished(time.monotonic(), record)
