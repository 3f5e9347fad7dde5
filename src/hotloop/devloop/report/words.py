"""How the report writes shares, days and the user's own texts, beside `hotloop.devloop.words`. Pure."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# Control characters, marks that turn text around, and halves of characters: they could hide or forge what is shown.
_HARMFUL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def harmless(text: str) -> str:
    """Replace what does not show as itself."""
    return _HARMFUL.sub("\ufffd", text)


def axis(seconds: float) -> str:
    """Write a round duration beside an axis: ``10 ms``, ``0.3 s``, ``30 s``, ``5 min``."""
    if seconds < 0.1:
        return f"{seconds * 1000:g} ms"
    return f"{seconds:g} s" if seconds < 120 else f"{seconds / 60:g} min"


def share(ratio: float) -> str:
    """Write a share: ``39 %``, ``0.4 %``, and never 0 or 100 % for what is not."""
    percent = ratio * 100
    if 0 < percent < 9.95 and round(percent, 0) != percent:
        return f"{percent:.1f} %" if percent >= 0.05 else "< 0.1 %"
    return "> 99 %" if 99.5 <= percent < 100 else f"{percent:.0f} %"


def listed(names: Sequence[str]) -> str:
    """Write names in a row: ``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)


def day(at_s: float) -> str:
    """Write a day, as this machine's time zone has it: ``26 November 2026``."""
    moment = datetime.fromtimestamp(at_s).astimezone()
    return f"{moment.day} {moment:%B %Y}"


def period(begin_s: float, end_s: float) -> str:
    """Write two days as one period: ``16 to 20 November 2026``."""
    begin, end = (datetime.fromtimestamp(at_s).astimezone() for at_s in (begin_s, end_s))
    if begin.date() == end.date():
        return day(end_s)
    if (begin.year, begin.month) == (end.year, end.month):
        return f"{begin.day} to {day(end_s)}"
    return f"{begin.day} {begin:%B}{'' if begin.year == end.year else f' {begin.year}'} to {day(end_s)}"
