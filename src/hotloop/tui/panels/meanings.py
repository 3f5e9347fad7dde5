"""What has which colour and which glyph, and what counts as a clear difference. The same everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotloop.devloop.timeline import PHASES
from hotloop.tui.panels.lines import line

if TYPE_CHECKING:
    from rich.text import Text

    from hotloop.tui.palette import Palette
    from hotloop.tui.state import Trip

CAUSES = ("code", "model", "environment", "cold")

CLEAR_RATIO = 0.25  # a phase that took so much more than its median
CLEAR_S = 0.005  # and so much: of a phase of 0.4 ms nobody notices half


def cause_style(cause: str, palette: Palette) -> str:
    """Give the colour of what an iteration's time went to."""
    styles = {"model": palette.model, "environment": palette.environment, "cold": palette.cold}
    return styles.get(cause, palette.code)


def phase_style(name: str, palette: Palette) -> str:
    """Give a phase's colour."""
    if name in PHASES and palette.phases:
        return palette.phases[PHASES.index(name) % len(palette.phases)]
    return palette.environment if name == "environment" else palette.warning


def phase_name(name: str) -> str:
    """Write a phase's name."""
    return name.replace("_", " ")


def badge(text: str, style: str) -> Text:
    """A word on a coloured ground; without colours the ground is still reversed."""
    return line((f" {text} ", f"bold reverse {style}"))


def title_of(trip: Trip) -> str:
    """Call an iteration by its number; 0 is what no save caused."""
    if trip.number:
        return f"Iteration #{trip.number}"
    return "Resumed" if trip.cause == "resumed" else "First start"


def mark_of(trip: Trip, palette: Palette) -> tuple[str, str]:
    """Give the glyph of an iteration's outcome and its style."""
    marks = {
        "ok": ("✓", palette.good),
        "failed": ("✗", palette.bad),
        "superseded": ("·", palette.muted),
        "running": ("◐", palette.warning),
    }
    return marks[trip.outcome]


def change(took_s: float, usual_s: float | None) -> float | None:
    """Say by how much a time differs from the usual one, as a ratio; None if not clearly."""
    if not usual_s or not took_s or abs(took_s - usual_s) < CLEAR_S:
        return None
    ratio = took_s / usual_s - 1
    return ratio if abs(ratio) > CLEAR_RATIO else None


def arrow(ratio: float | None, palette: Palette) -> Text:
    """Write a change of a time: ``▲42%`` slower, ``▼13%`` faster; nothing for None."""
    if ratio is None:
        return line()
    if ratio >= 9.95:
        return line((f"▲{ratio + 1:.0f}×" if ratio < 998 else "▲>999×", palette.warning))
    return line((f"{'▲' if ratio > 0 else '▼'}{abs(ratio):.0%}", palette.warning if ratio > 0 else palette.good))
