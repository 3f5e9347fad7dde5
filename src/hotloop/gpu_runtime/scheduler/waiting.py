"""A request that waits: what it wants, how large it is, how often others went before it."""

from __future__ import annotations

import math
from enum import IntEnum

from hotloop.frozen import frozen

# Among a tenant's requests the earliest deadline goes first; one without is taken to have this one, or a stream of hurried
# requests would keep it waiting for ever.
PATIENCE_S = 30.0


class Priority(IntEnum):
    """Whose requests go first."""

    INTERACTIVE = 0
    NORMAL = 1
    BULK = 2


@frozen
class Wants:
    """What a request asks of the queue.

    Attributes:
        priority: Its class.
        tenant: Whose it is; shares are fair between tenants.
        deadline_at_s: When an answer is of no use any more.
    """

    priority: Priority = Priority.NORMAL
    tenant: str = ""
    deadline_at_s: float = math.inf

    @property
    def is_ordinary(self) -> bool:
        """Whether arrival alone decides about it, among others of its tenant."""
        return self.priority is Priority.NORMAL and self.deadline_at_s == math.inf


ORDINARY = Wants()


class Waiting:
    """One request in line.

    Attributes:
        id: Counts up with arrivals.
        size: As the endpoint's sizes count, or a guess by its body's length.
        level: Its class now: with age it rises.
        num_passed: How many calls left with requests that had less right to go.
        passed_s: How long those calls were predicted to take.
    """

    __slots__ = (
        "arrived_at_s",
        "due_at_s",
        "id",
        "level",
        "num_passed",
        "passed_s",
        "size",
        "wants",
    )

    def __init__(self, request_id: int, arrived_at_s: float, wants: Wants, size: float) -> None:
        self.id = request_id
        self.arrived_at_s = arrived_at_s
        self.wants = wants
        self.size = size
        self.level: int = wants.priority
        self.due_at_s = min(wants.deadline_at_s, arrived_at_s + PATIENCE_S)
        self.num_passed = 0
        self.passed_s = 0.0

    @property
    def right(self) -> tuple[float, int]:
        """Its place among its tenant's requests of one class."""
        return self.due_at_s, self.id
