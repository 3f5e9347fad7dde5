"""What the controller wants done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from hotloop.events import Problem

Start = Literal["standby", "fork", "zygote"]


@dataclass(frozen=True, slots=True)
class StartZygote:
    """Start a zygote beside the one there is."""

    zygote: int


@dataclass(frozen=True, slots=True)
class StopZygote:
    """End a zygote; the workers it forked live on."""

    zygote: int


@dataclass(frozen=True, slots=True)
class Fork:
    """Fork a worker and let it warm up."""

    worker: int
    zygote: int


@dataclass(frozen=True, slots=True)
class Go:
    """Tell a worker to import a revision."""

    worker: int
    revision: int
    start: Start


@dataclass(frozen=True, slots=True)
class Replicate:
    """Tell a worker to import the revision that serves, and to take its models as they are."""

    worker: int
    generation: int


@dataclass(frozen=True, slots=True)
class Join:
    """Give a worker a share of its generation's requests."""

    worker: int
    generation: int


@dataclass(frozen=True, slots=True)
class Activate:
    """Give a worker all requests from now on, and say that its generation is ready."""

    worker: int
    generation: int


@dataclass(frozen=True, slots=True)
class Drain:
    """Let a worker finish what it has, then report `Drained`."""

    worker: int


@dataclass(frozen=True, slots=True)
class Retire:
    """End a worker that has nothing left to do: politely, then by force."""

    worker: int


@dataclass(frozen=True, slots=True)
class Kill:
    """End a worker now."""

    worker: int


@dataclass(frozen=True, slots=True)
class RunProbes:
    """Run the probes against a generation, then report `Probed`."""

    generation: int


@dataclass(frozen=True, slots=True)
class TellFailed:
    """Say that a revision failed; if nothing serves, waiting requests are answered with the problem."""

    revision: int
    problem: Problem


@dataclass(frozen=True, slots=True)
class TellFewer:
    """Say that a generation goes on with fewer workers than it should have."""

    generation: int
    problem: Problem


@dataclass(frozen=True, slots=True)
class TellSuperseded:
    """Say that a revision was overtaken."""

    revision: int
    by: int


@dataclass(frozen=True, slots=True)
class TellDied:
    """Say that a process died that should not have. ``is_replaced``: another is made without a save."""

    role: Literal["active", "standby", "zygote"]
    worker: int
    cause: str
    is_replaced: bool = True


@dataclass(frozen=True, slots=True)
class WatchMoved:
    """Report `MovedTooLong` if no newer revision comes in time."""

    revision: int
    within_s: float


@dataclass(frozen=True, slots=True)
class Exit:
    """Kill every process and end the runtime."""


Action = (
    StartZygote
    | StopZygote
    | Fork
    | Go
    | Replicate
    | Join
    | Activate
    | Drain
    | Retire
    | Kill
    | RunProbes
    | TellFailed
    | TellFewer
    | TellSuperseded
    | TellDied
    | WatchMoved
    | Exit
)
