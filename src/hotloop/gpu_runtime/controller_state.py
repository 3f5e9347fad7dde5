"""What the controller knows: the workers there are, what is newest, what is on its way."""

from __future__ import annotations

from dataclasses import field, replace
from typing import Literal

from hotloop.frozen import frozen

Role = Literal["standby", "loading", "joining", "active", "draining"]


@frozen
class Worker:
    """One worker process.

    Attributes:
        number: Names it for its whole life; never used again.
        zygote: The number of the zygote that it was forked from.
        role: Of those that become ready, one that is ``loading`` begins a generation, one that is ``joining`` joins it.
        is_warm: A standby that has attached what it can ahead of a save.
        revision: What it was told to run; 0 for a standby.
        generation: The one that it serves in, or is joining; 0 before.
    """

    number: int
    zygote: int
    role: Role
    is_warm: bool = False
    revision: int = 0
    generation: int = 0


@frozen
class State:
    """What the controller knows.

    Attributes:
        revision: The newest revision in the workspace; 0 before the first.
        is_settled: The newest revision was tried: it serves or it failed. Only a newer one is tried again.
        zygote: The number of the zygote to fork from; 0 while none is up.
        next_zygote: The number of one that is starting; 0 if none.
        waited: The reload under way had to wait for a zygote.
        crashes_s: When workers died lately, to stop a crash loop.
        cold_deaths: How many standbys died before they were warm, since one was: a loop too, however slow.
        replicas: How many workers the active generation should have.
        may_grow: Its first worker had the machine to itself for a moment, so that the others may be made.
        given_up: How many of the others are not to be made any more: one failed, or too many died.
        switching: A zygote is on its way in another environment, and what is to run in it: this revision, or a newer
            one; None if none is.
    """

    revision: int = 0
    is_settled: bool = True
    generation: int = 0
    zygote: int = 0
    next_zygote: int = 0
    zygotes_made: int = 0
    workers_made: int = 0
    workers: dict[int, Worker] = field(default_factory=dict[int, Worker])
    waited: bool = False
    crashes_s: tuple[float, ...] = ()
    cold_deaths: int = 0
    zygote_crashes_s: tuple[float, ...] = ()
    is_probing: bool = False
    is_stopping: bool = False
    replicas: int = 1
    may_grow: bool = False
    given_up: int = 0
    switching: int | None = None

    @property
    def serving(self) -> tuple[Worker, ...]:
        """The active workers, by age."""
        return tuple(worker for worker in self.workers.values() if worker.role == "active")

    def having(self, role: Role) -> Worker | None:
        """The newest worker in a role, None if there is none."""
        found = [worker for worker in self.workers.values() if worker.role == role]
        return max(found, key=lambda worker: worker.number, default=None)

    def updating(self, worker: Worker) -> State:
        """Add a worker, or put it in the place of what it was."""
        return replace(self, workers={**self.workers, worker.number: worker})

    def removing(self, number: int) -> State:
        """Forget a worker."""
        return replace(self, workers={n: worker for n, worker in self.workers.items() if n != number})
