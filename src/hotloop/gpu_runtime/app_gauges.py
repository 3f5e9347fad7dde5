"""What the app's processes last said of their own figures (`hotloop.gauge`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hotloop.events import GaugeSample


class AppGauges:
    """The newest of each figure, by process: a process's figures end with it."""

    def __init__(self) -> None:
        self._told: dict[int, dict[str, GaugeSample]] = {}

    def heard(self, process: int, header: dict[str, Any]) -> None:
        """Keep what a process said."""
        sample = GaugeSample(header["name"], header["value"], header["limit"])
        self._told.setdefault(process, {})[sample.name] = sample

    def forget(self, process: int) -> None:
        """A process is gone."""
        self._told.pop(process, None)

    def of(self, processes: Iterable[int]) -> tuple[GaugeSample, ...]:
        """Sum up the figures of some processes, by name in the order in which they were first told."""
        found: dict[str, GaugeSample] = {}
        for process in processes:
            for name, each in self._told.get(process, {}).items():
                other = found.get(name)
                found[name] = each if other is None else _sum(other, each)
        return tuple(found.values())


def _sum(one: GaugeSample, other: GaugeSample) -> GaugeSample:
    limits = (one.limit, other.limit)
    limit = None if None in limits else sum(each for each in limits if each is not None)
    return GaugeSample(one.name, one.value + other.value, limit)
