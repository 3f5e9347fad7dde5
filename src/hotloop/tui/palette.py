"""Colours by meaning. A panel never names a colour; every colour has a glyph or a word beside it, for those without."""

from __future__ import annotations

from hotloop.frozen import frozen


@frozen
class Palette:
    """Styles that Rich understands, by what they mean.

    Attributes:
        text: What is read.
        muted: What is there when it is looked for.
        strong: What is read first.
        good: A success, what was kept.
        bad: A failure.
        warning: Slower than usual, degraded, paused.
        code: Cause of an iteration: code alone. The same colour marks its bars everywhere.
        model: Cause: a model was loaded.
        environment: Cause: another environment.
        cold: Cause: a start from nothing.
        phases: One style a phase, in the order of `hotloop.devloop.timeline.PHASES`.
        ghost: What is yet to come.
        track: The empty part of a bar.
        panel: Background of a panel.
        page: Background between panels.
        strip: Background of header, strip and keys.
        is_ascii: Draw with ``=#.`` instead of block glyphs.
        is_mono: There are no colours: what they would tell apart gets letters.
    """

    name: str
    text: str
    muted: str
    strong: str
    good: str
    bad: str
    warning: str
    code: str
    model: str
    environment: str
    cold: str
    phases: tuple[str, ...]
    ghost: str
    track: str
    panel: str
    page: str
    strip: str
    is_ascii: bool = False
    is_mono: bool = False
