"""The dashboard's themes: each a `Palette`, whose colours all keep a contrast of 4.5 to 1 on every ground. Pure."""

from __future__ import annotations

import dataclasses

from hotloop.errors import UsageError
from hotloop.tui.palette import Palette

NIGHT = Palette(
    name="night",
    text="#c8d0e0",
    muted="#8c95aa",
    strong="#e4e9f4",
    good="#73daca",
    bad="#f7768e",
    warning="#e0af68",
    code="#7aa2f7",
    model="#bb9af7",
    environment="#7dcfff",
    cold="#ff9e64",
    phases=("#8c95aa", "#7dcfff", "#7aa2f7", "#bb9af7", "#e0af68", "#73daca"),
    ghost="#3a4358",
    track="#2b3242",
    panel="#171b24",
    page="#10131a",
    strip="#1f2530",
)
PAPER = Palette(
    name="paper",
    text="#22262e",
    muted="#5c616e",
    strong="#0f1218",
    good="#0a6a56",
    bad="#b81f3a",
    warning="#855000",
    code="#2a56c2",
    model="#7236bc",
    environment="#09678c",
    cold="#a0470a",
    phases=("#5c616e", "#0b7fab", "#2f5fd0", "#7a3ec8", "#b07a1a", "#0b7a63"),
    ghost="#c9c5ba",
    track="#dcd9d1",
    panel="#fbfaf7",
    page="#f1efe9",
    strip="#e9e6df",
)
# Blue and orange, and steps of lightness: what red-green blindness leaves apart.
COLORBLIND = Palette(
    name="colorblind",
    text="#d3d8e2",
    muted="#939cae",
    strong="#f2f4f8",
    good="#6db3f2",
    bad="#ff8f3f",
    warning="#f0e442",
    code="#56a0e8",
    model="#e7c24a",
    environment="#c3cad8",
    cold="#ff8f3f",
    phases=("#939cae", "#b9d7f5", "#56a0e8", "#c3cad8", "#e7c24a", "#6db3f2"),
    ghost="#3b4252",
    track="#2c3240",
    panel="#161a22",
    page="#0f1218",
    strip="#1e242f",
)
# The terminal's own sixteen, on its own ground: it decides what they are.
ANSI = Palette(
    name="ansi",
    text="default",
    muted="bright_black",
    strong="default",
    good="green",
    bad="red",
    warning="yellow",
    code="blue",
    model="magenta",
    environment="cyan",
    cold="bright_red",
    phases=("bright_black", "cyan", "blue", "magenta", "yellow", "green"),
    ghost="bright_black",
    track="bright_black",
    panel="default",
    page="default",
    strip="default",
)
PALETTES = {palette.name: palette for palette in (NIGHT, PAPER, ANSI, COLORBLIND)}
GROUNDS = ("panel", "page", "strip")
INKS = ("text", "muted", "strong", "good", "bad", "warning", "code", "model", "environment", "cold")


def palette(name: str, *, is_ascii: bool = False, is_mono: bool = False) -> Palette:
    """Give a theme's palette.

    Raises:
        UsageError: No theme is called so.
    """
    check(name, "the theme")
    return dataclasses.replace(PALETTES[name], is_ascii=is_ascii, is_mono=is_mono)


def check(name: str, what: str) -> None:
    """Refuse a name that no theme has.

    Args:
        name: The name.
        what: Where it was said, for the message.

    Raises:
        UsageError: It has none.
    """
    if name not in PALETTES:
        msg = f"{what} is {name!r}, one of {', '.join(PALETTES)} was expected"
        raise UsageError(msg, hint='write it as theme = "night" in [tool.hotloop], or HOTLOOP_THEME=night')


def after(name: str) -> str:
    """Give the theme that comes after another, around."""
    names = list(PALETTES)
    return names[(names.index(name) + 1) % len(names)] if name in names else names[0]


def contrast(ink: str, ground: str) -> float:
    """Give the contrast of two colours written ``#rrggbb``, as WCAG 2 defines it: from 1 to 21."""
    lighter, darker = sorted((_luminance(ink), _luminance(ground)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(color: str) -> float:
    red, green, blue = (_linear(int(color[at : at + 2], 16) / 255) for at in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(part: float) -> float:
    return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
