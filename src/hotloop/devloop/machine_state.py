"""What the loop's machine knows, and what it wants done."""

from __future__ import annotations

from dataclasses import field, replace
from typing import TYPE_CHECKING

from hotloop import events
from hotloop.devloop import bench, expected, tests_on_save
from hotloop.frozen import frozen

if TYPE_CHECKING:
    from hotloop.devloop.flight import Flight
    from hotloop.devloop.machine_events import Save


@frozen
class State:
    """What the loop knows.

    Attributes:
        dirty: Saved and seen, not read yet.
        num_dirty: How many saves that were.
        taken: What the snapshot under way reads.
        flights: Sent, without an outcome yet; oldest first.
        early: Events of a revision that was not acknowledged yet.
        previous: The newest result of each probe that was good.
        hold: Why nothing is sent; empty if it is.
        is_offline: The runner does not answer: saves gather, since of each file only the latest content counts.
        is_paused: The user wants saves kept back: they gather likewise.
        revision: The newest that was acknowledged.
        bench: What is known about benches.
        tests: What is known about tests.
        past: Times to feedback of the last good iterations by cause, of earlier sessions too.
    """

    number: int = 0
    dirty: Save | None = None
    num_dirty: int = 0
    taken: Save | None = None
    flights: tuple[Flight, ...] = ()
    early: tuple[events.Event, ...] = ()
    previous: dict[str, events.ProbeReport] = field(default_factory=dict[str, events.ProbeReport])
    serving: int | None = None
    hold: str = ""
    is_offline: bool = False
    is_paused: bool = False
    revision: int = 0
    bench: bench.State = field(default_factory=bench.State)
    tests: tests_on_save.State = field(default_factory=tests_on_save.State)
    past: expected.Past = field(default_factory=expected.Past)

    @property
    def is_quiet(self) -> bool:
        """Whether no save is on its way."""
        return (self.dirty is None or self.is_paused) and self.taken is None and not self.flights

    @property
    def num_unacked(self) -> int:
        """How many changesets wait for the runner's answer."""
        return sum(flight.revision is None for flight in self.flights)

    @property
    def num_queued(self) -> int:
        """How many saves wait for the runner."""
        return self.num_dirty + (self.taken is not None) + self.num_unacked

    def of_sequence(self, sequence: int) -> Flight | None:
        """The flight of a changeset that the runner has not answered yet."""
        return next((f for f in self.flights if f.sequence == sequence and f.revision is None), None)

    def of_revision(self, revision: int) -> Flight | None:
        """The oldest flight that runs a revision."""
        return next((flight for flight in self.flights if flight.revision == revision), None)

    def of_generation(self, revision: int, generation: int) -> Flight | None:
        """The flight whose generation it is, not one that has yet to run the same revision again."""
        flight = self.of_revision(revision)
        return flight if flight is not None and generation > flight.after else None

    def adding(self, flight: Flight) -> State:
        """Let a flight begin; its number is the newest."""
        return replace(self, number=flight.number, flights=(*self.flights, flight))

    def updating(self, flight: Flight) -> State:
        """Put a flight in the place of what it was."""
        return replace(self, flights=tuple(flight if f.number == flight.number else f for f in self.flights))

    def removing(self, flight: Flight) -> State:
        """Let a flight end."""
        return replace(self, flights=tuple(f for f in self.flights if f.number != flight.number))


@frozen
class Snapshot:
    """Read a save's paths and report `Snapshotted`, `Unchanged` or `Dangerous`."""

    save: Save
    is_confirmed: bool = False


@frozen
class Send:
    """Send the changeset of this number."""

    sequence: int


@frozen
class Emit:
    """Tell everyone who reads the stream."""

    event: events.Event


Action = Snapshot | Send | Emit | bench.Action | tests_on_save.Action
Step = tuple[State, tuple[Action, ...]]


def chain(first: Step, then: Step) -> Step:
    """Put two steps into one; the second began with the first's state."""
    return then[0], first[1] + then[1]
