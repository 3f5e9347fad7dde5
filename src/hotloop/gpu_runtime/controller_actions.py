"""What the controller wants done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from hotloop.frozen import frozen

if TYPE_CHECKING:
    from hotloop.events import Problem

Start = Literal["standby", "fork", "zygote"]


@frozen
class StartZygote:
    """Start a zygote beside the one there is."""

    zygote: int


@frozen
class StopZygote:
    """End a zygote; the workers it forked live on."""

    zygote: int


@frozen
class Fork:
    """Fork a worker and let it warm up."""

    worker: int
    zygote: int


@frozen
class Go:
    """Tell a worker to import a revision."""

    worker: int
    revision: int
    start: Start


@frozen
class Replicate:
    """Tell a worker to import the revision that serves, and to take its models as they are."""

    worker: int
    generation: int


@frozen
class Join:
    """Give a worker a share of its generation's requests."""

    worker: int
    generation: int


@frozen
class Activate:
    """Give a worker all requests from now on, and say that its generation is ready."""

    worker: int
    generation: int


@frozen
class Drain:
    """Let a worker finish what it has, then report `Drained`."""

    worker: int


@frozen
class Retire:
    """End a worker that has nothing left to do: politely, then by force."""

    worker: int


@frozen
class Kill:
    """End a worker now."""

    worker: int


@frozen
class RunProbes:
    """Run the probes against a generation, then report `Probed`."""

    generation: int


@frozen
class TellFailed:
    """Say that a revision failed; if nothing serves, waiting requests are answered with the problem."""

    revision: int
    problem: Problem


@frozen
class TellFewer:
    """Say that a generation goes on with fewer workers than it should have."""

    generation: int
    problem: Problem


@frozen
class TellSuperseded:
    """Say that a revision was overtaken."""

    revision: int
    by: int


@frozen
class TellDied:
    """Say that a process died that should not have. ``is_replaced``: another is made without a save."""

    role: Literal["active", "standby", "zygote"]
    worker: int
    cause: str
    is_replaced: bool = True


@frozen
class WatchMoved:
    """Report `MovedTooLong` if no newer revision comes in time."""

    revision: int
    within_s: float


@frozen
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
