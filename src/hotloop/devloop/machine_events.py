"""What the loop's machine is told: by the watcher, by who reads and sends changesets, by the runner, by the user."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hotloop.devloop import bench, tests_on_save
from hotloop.frozen import frozen

if TYPE_CHECKING:
    from hotloop import events
    from hotloop.clock import SaveTime


@frozen
class Save:
    """What the watcher saw.

    Attributes:
        seen_s: When, seconds on the monotonic clock.
        is_full: Everything may have changed.
        is_vcs: A checkout made the changes.
        resumed_s: When the user let it go on, if it was kept back: feedback is waited for from then on.
    """

    paths: frozenset[str]
    seen_s: float
    is_full: bool = False
    is_vcs: bool = False
    resumed_s: float | None = None

    def merged(self, newer: Save | None) -> Save:
        """Add a newer save; its time holds, since the newest write is what the user waits for."""
        if newer is None:
            return self
        paths, is_full = self.paths | newer.paths, self.is_full or newer.is_full
        return replace(newer, paths=paths, is_full=is_full, is_vcs=self.is_vcs and newer.is_vcs)


@frozen
class Opened:
    """The workspace equals the project and the runtime is about to start: the first flight, which no save caused."""

    began: SaveTime
    seen_s: float
    applied_s: float
    revision: int
    clock_error_s: float = 0.0


@frozen
class Saved:
    """The watcher saw changes."""

    save: Save


@frozen
class Snapshotted:
    """The changed paths were read, and are a changeset."""

    at_s: float
    sequence: int
    saved: SaveTime
    paths: tuple[str, ...]
    size_bytes: int


@frozen
class Unchanged:
    """The changed paths were read, and hold what they held."""

    at_s: float = 0.0


@frozen
class Dangerous:
    """The changes would delete most of the tree: nothing was read, the user is asked."""

    at_s: float
    reason: str
    hint: str


@frozen
class Confirmed:
    """The user wants the dangerous changes."""


@frozen
class Paused:
    """The user wants saves kept back."""

    at_s: float


@frozen
class Resumed:
    """The user wants them sent again."""

    at_s: float


@frozen
class Asked:
    """The runner was asked to run its revision again, with models loaded anew; ``is_cold``: from nothing."""

    began: SaveTime
    is_cold: bool = False


@frozen
class Undone:
    """A changeset was made that takes an iteration's edit back on the runner."""

    sequence: int
    began: SaveTime
    paths: tuple[str, ...]
    size_bytes: int
    undone: int


@frozen
class Acked:
    """A changeset was applied; ``applied_s`` is translated from the runner's clock, within ``clock_error_s``."""

    sequence: int
    revision: int
    applied_s: float
    clock_error_s: float = 0.0


@frozen
class Refused:
    """A changeset was not applied."""

    at_s: float
    sequence: int
    problem: events.Problem


@frozen
class Happened:
    """The runner said something; ``at_s`` is when it arrived."""

    at_s: float
    event: events.Event


@frozen
class Shown:
    """A probe's result was written to the screen."""

    at_s: float
    generation: int
    name: str


@frozen
class Ended:
    """The session is over."""

    at_s: float


Event = (
    Opened
    | Saved
    | Snapshotted
    | Unchanged
    | Dangerous
    | Confirmed
    | Paused
    | Resumed
    | Asked
    | Undone
    | Acked
    | Refused
    | Happened
    | Shown
    | bench.Benched
    | tests_on_save.Tested
    | tests_on_save.Wanted
    | Ended
)
