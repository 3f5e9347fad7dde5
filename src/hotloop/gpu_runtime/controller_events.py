"""What the controller is told: by the agent, by zygotes, by workers, by the clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotloop.frozen import frozen

if TYPE_CHECKING:
    from hotloop.events import Problem


@frozen
class Started:
    """The runtime is up."""


@frozen
class Revised:
    """The workspace holds a new revision. ``is_zygote_stale``: installed packages changed since the zygote began."""

    revision: int
    is_zygote_stale: bool = False


@frozen
class EnvironmentChanged:
    """Another environment takes the place of the one in use. ``revision``: the newest one that is to run in it."""

    revision: int


@frozen
class Asked:
    """The user asked to run the newest revision again, with some models loaded anew.

    Attributes:
        is_cold: From a new zygote, as a first start would.
    """

    is_cold: bool = False


@frozen
class ZygoteUp:
    """A zygote imported what it should and can fork."""

    zygote: int


@frozen
class ZygoteDown:
    """A zygote died, or could not start."""

    zygote: int
    at_s: float
    problem: Problem


@frozen
class Relearned:
    """A better zygote could be made: a generation imported modules that this one lacks."""


@frozen
class ZygoteStale:
    """What the loading worker did can't be right on this zygote: the project set an environment variable too late."""

    worker: int


@frozen
class Warmed:
    """A standby attached what it can."""

    worker: int


@frozen
class BecameReady:
    """A worker imported the project and has its models. ``replicas``: how many such workers the app wants."""

    worker: int
    replicas: int = 1


@frozen
class Failed:
    """A worker could not become ready."""

    worker: int
    problem: Problem


@frozen
class Moved:
    """A worker found the files newer than the revision that it was told to run."""

    worker: int


@frozen
class MovedTooLong:
    """No newer revision came after a `Moved`."""

    revision: int
    problem: Problem


@frozen
class Died:
    """A worker's process ended by itself."""

    worker: int
    at_s: float
    cause: str
    problem: Problem


@frozen
class NeverForked:
    """A process was asked for, and its zygote ended before it made it."""

    worker: int


@frozen
class Probed:
    """All probes of a generation ran, or their time was up."""

    generation: int


@frozen
class Grow:
    """A generation's first worker served for a moment: it is time for the others."""

    generation: int


@frozen
class Drained:
    """A draining worker has answered its last request, or its time is up."""

    worker: int


@frozen
class Stop:
    """End everything."""


Event = (
    Started
    | Revised
    | EnvironmentChanged
    | Asked
    | ZygoteUp
    | ZygoteDown
    | Relearned
    | ZygoteStale
    | Warmed
    | BecameReady
    | Failed
    | Moved
    | MovedTooLong
    | Died
    | NeverForked
    | Probed
    | Grow
    | Drained
    | Stop
)
