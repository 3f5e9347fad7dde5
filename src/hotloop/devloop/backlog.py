"""What whoever begins to watch a session needs to know: standing facts, its iterations, the last lines. Bounded, in order."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from hotloop import events
from hotloop.frozen import frozen

if TYPE_CHECKING:
    from hotloop.events import Event

# How many events of a kind are kept; of the others the newest alone, which is the fact that stands.
LIMITS = {
    "log": 5000,
    "request_finished": 200,
    "requests_finished": 60,
    "runtime_sampled": 60,
    "iteration_started": 200,
    "iteration_finished": 200,
    "tests_finished": 200,
    "edit_undone": 50,
    "bench_finished": 50,
    "process_died": 50,
    "model_loading": 50,
    "notice": 100,
}
MAX_BYTES = 8_000_000  # of a kind: what the app writes, and its probes' outputs, may be long


@frozen
class _Kept:
    number: int
    event: Event
    weight: int


class _Ring:
    """The newest events of one kind."""

    def __init__(self, limit: int) -> None:
        self.kept: deque[_Kept] = deque()
        self._limit = limit
        self._weight = 0

    def add(self, kept: _Kept) -> None:
        self.kept.append(kept)
        self._weight += kept.weight
        while len(self.kept) > self._limit or (self._weight > MAX_BYTES and len(self.kept) > 1):
            self._weight -= self.kept.popleft().weight


class Backlog:
    """Numbers events from 1 on and keeps those that still say something.

    Attributes:
        last: The newest event's number; 0 before there is one.
    """

    def __init__(self) -> None:
        self.last = 0
        self._rings: dict[tuple[str, str], _Ring] = {}

    def add(self, event: Event) -> int:
        """Keep an event, and forget what it supersedes. Gives its number."""
        self.last += 1
        key = _key(event)
        if key not in self._rings:
            self._rings[key] = _Ring(LIMITS.get(event.kind, 1))
        self._rings[key].add(_Kept(self.last, event, _weight(event)))
        return self.last

    def since(self, number: int) -> list[Event]:
        """Give what is kept from a number on, in the order in which it happened."""
        kept = [each for ring in self._rings.values() for each in ring.kept if each.number >= number]
        return [each.event for each in sorted(kept, key=lambda each: each.number)]


def _key(event: Event) -> tuple[str, str]:
    """Of each probe the newest report stands."""
    return event.kind, event.report.name if isinstance(event, events.ProbeReported) else ""


def _weight(event: Event) -> int:
    match event:
        case events.Log():
            return len(event.text)
        case events.IterationFinished():
            return sum(len(probe.output) + sum(map(len, probe.diff)) for probe in event.iteration.probes)
        case _:
            return 0
