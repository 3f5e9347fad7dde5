"""Where values lie on a chart: durations on a logarithmic axis, edits in columns of days, weeks or months. Pure."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from hotloop.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from hotloop.devloop.report.data import Point

TICKS_S = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 120.0, 300.0, 1800.0)
THRESHOLDS_S = (1.0, 10.0)
MAX_DAYS, MAX_WEEKS = 14, 26
DAY_S = 86400.0


@frozen
class LogAxis:
    """A logarithmic axis with round durations on it. What lies outside is put at its end."""

    low_s: float
    high_s: float
    ticks_s: tuple[float, ...]

    def at(self, value_s: float) -> float:
        """Where a duration lies, from 0 to 1."""
        inside = min(max(value_s, self.low_s), self.high_s)
        return math.log(inside / self.low_s) / math.log(self.high_s / self.low_s)


def log_axis(values_s: Iterable[float], through_s: float = 1.0) -> LogAxis:
    """Make an axis from tick to tick that holds all values and one duration more."""
    known = [value for value in values_s if value > 0]
    low, high = min([*known, through_s]), max([*known, through_s])
    low_s = max((tick for tick in TICKS_S if tick < low), default=TICKS_S[0])
    high_s = min((tick for tick in TICKS_S if tick > high), default=max(TICKS_S[-1], high))
    return LogAxis(low_s, high_s, tuple(tick for tick in TICKS_S if low_s <= tick <= high_s))


def close_axis(values_s: Sequence[float]) -> LogAxis:
    """Make an axis about values (one at least) that are near each other."""
    low_s, high_s = min(values_s) / 1.6, max(values_s) * 1.6
    powers = range(math.floor(math.log10(low_s)), math.ceil(math.log10(high_s)) + 1)
    ticks = [round(digit * 10.0**power, 6) for power in powers for digit in (1, 1.5, 2, 3, 5, 7)]
    return LogAxis(low_s, high_s, tuple(tick for tick in ticks if low_s <= tick <= high_s))


@frozen
class Column:
    """One day, week or month of a chart.

    Attributes:
        label: Such as ``Mon 16``.
        edits: Each with where it lies between the column's sides, from 0 to 1.
    """

    label: str
    edits: tuple[tuple[Point, float], ...]


def columns(points: Sequence[Point]) -> tuple[Column, ...]:
    """Sort edits into days, into weeks if those are more than 14, into months if those are more than 26."""
    if not points:
        return ()
    moments = [(point, datetime.fromtimestamp(point.saved_at_s).astimezone()) for point in points]
    if len({moment.date() for _, moment in moments}) <= MAX_DAYS:
        return _by_day(moments)
    weeks = _grouped(moments, _week, lambda moment: (moment.weekday() + _of_day(moment)) / 7)
    return weeks if len(weeks) <= MAX_WEEKS else _grouped(moments, "{:%b %Y}".format, _of_month)


def hours(points: Sequence[Point]) -> tuple[str, str]:
    """The time of day of the first and the last edit, as the columns of days run from one to the other."""
    times = sorted(datetime.fromtimestamp(point.saved_at_s).astimezone().time() for point in points)
    is_short = times[-1].hour * 60 + times[-1].minute - times[0].hour * 60 - times[0].minute < 10
    form = "%H:%M:%S" if is_short else "%H:%M"
    return times[0].strftime(form), times[-1].strftime(form)


def _by_day(moments: Sequence[tuple[Point, datetime]]) -> tuple[Column, ...]:
    """Days run from the earliest time of day that has an edit to the latest."""
    of_day = [_of_day(moment) for _, moment in moments]
    low, high = min(of_day), max(of_day)
    span = max(high - low, 1 / DAY_S)
    return _grouped(moments, lambda moment: f"{moment:%a} {moment.day}", lambda moment: (_of_day(moment) - low) / span)


def _grouped(
    moments: Sequence[tuple[Point, datetime]], label: Callable[[datetime], str], place: Callable[[datetime], float]
) -> tuple[Column, ...]:
    """One column a label, in the order of the edits; a year later a label may come again, and is another column."""
    found: list[tuple[str, list[tuple[Point, float]]]] = []
    for point, moment in moments:
        name = label(moment)
        if not found or found[-1][0] != name:
            found.append((name, []))
        found[-1][1].append((point, min(place(moment), 1.0)))
    return tuple(Column(name, tuple(edits)) for name, edits in found)


def _of_day(moment: datetime) -> float:
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    return (moment - midnight) / timedelta(days=1)


def _week(moment: datetime) -> str:
    return f"w{moment.isocalendar().week:02d}"


def _of_month(moment: datetime) -> float:
    return (moment.day - 1 + _of_day(moment)) / 31
