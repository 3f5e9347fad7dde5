"""A palette as a theme of Textual's, for what Textual draws itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.theme import BUILTIN_THEMES, Theme

if TYPE_CHECKING:
    from hotloop.tui.palette import Palette


def theme_name(palette: Palette) -> str:
    """Name Textual's side of a palette."""
    return f"hotloop-{palette.name}"


def theme_of(palette: Palette) -> Theme:
    """Give Textual the colours of a palette, for what it draws itself: the ground, scrollbars, the palette of commands."""
    is_ansi = palette.panel == "default"

    def color(style: str) -> str:
        return f"ansi_{style}" if is_ansi else style

    return Theme(
        name=theme_name(palette),
        primary=color(palette.code),
        secondary=color(palette.environment),
        accent=color(palette.model),
        success=color(palette.good),
        warning=color(palette.warning),
        error=color(palette.bad),
        background=color(palette.page),
        surface=color(palette.panel),
        panel=color(palette.strip),
        foreground=color(palette.text),
        dark=palette.name != "paper",
        ansi=is_ansi,
        variables={
            **(BUILTIN_THEMES["ansi-dark"].variables if is_ansi else {}),
            "track": color(palette.ghost),
            "ghost": color(palette.ghost),
            "muted": color(palette.muted),
        },
    )
