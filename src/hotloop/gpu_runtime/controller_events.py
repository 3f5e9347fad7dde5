"""What the controller is told: by the agent, by zygotes, by workers, by the clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hotloop.events import Problem


@dataclass(frozen=True, slots=True)
class Started:
    """The runtime is up."""


@dataclass(frozen=True, slots=True)
class Revised:
    """The workspace holds a new revision. ``is_zygote_stale``: installed packages changed since the zygote began."""

    revision: int
    is_zygote_stale: bool = False


@dataclass(frozen=True, slots=True)
class EnvironmentChanged:
    """Another environment takes the place of the one in use. ``revision``: the newest one that is to run in it."""

    revision: int


@dataclass(frozen=True, slots=True)
class Asked:
    """The user asked to run the newest revision again, with some models loaded anew.

    Attributes:
        is_cold: From a new zygote, as a first start would.
    """

    is_cold: bool = False


@dataclass(frozen=True, slots=True)
class ZygoteUp:
    """A zygote imported what it should and can fork."""

    zygote: int


@dataclass(frozen=True, slots=True)
class ZygoteDown:
    """A zygote died, or could not start."""

    zygote: int
    at_s: float
    problem: Problem


@dataclass(frozen=True, slots=True)
class Relearned:
    """A better zygote could be made: a generation imported modules that this one lacks."""


@dataclass(frozen=True, slots=True)
class ZygoteStale:
    """What the loading worker did can't be right on this zygote: the project set an environment variable too late."""

    worker: int


@dataclass(frozen=True, slots=True)
class Warmed:
    """A standby attached what it can."""

    worker: int


@dataclass(frozen=True, slots=True)
class BecameReady:
    """A worker imported the project and has its models. ``replicas``: how many such workers the app wants."""

    worker: int
    replicas: int = 1


@dataclass(frozen=True, slots=True)
class Failed:
    """A worker could not become ready."""

    worker: int
    problem: Problem


@dataclass(frozen=True, slots=True)
class Moved:
    """A worker found the files newer than the revision that it was told to run."""

    worker: int


@dataclass(frozen=True, slots=True)
class MovedTooLong:
    """No newer revision came after a `Moved`."""

    revision: int
    problem: Problem


@dataclass(frozen=True, slots=True)
class Died:
    """A worker's process ended by itself."""

    worker: int
    at_s: float
    cause: str
    problem: Problem


@dataclass(frozen=True, slots=True)
class Probed:
    """All probes of a generation ran, or their time was up."""

    generation: int


@dataclass(frozen=True, slots=True)
class Grow:
    """A generation's first worker served for a moment: it is time for the others."""

    generation: int


@dataclass(frozen=True, slots=True)
class Drained:
    """A draining worker has answered its last request, or its time is up."""

    worker: int


@dataclass(frozen=True, slots=True)
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
    | Probed
    | Grow
    | Drained
    | Stop
)
