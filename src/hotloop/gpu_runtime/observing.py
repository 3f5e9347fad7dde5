"""What whoever measures the front is told, and may look at. Nobody need: without an observer it costs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from hotloop.gpu_runtime.scheduler.lane import Batch

Reason = Literal["full", "deadline", "not_ready", "bad_header", "disconnected"]


class Observer(Protocol):
    """Hears of everything that is counted. Its methods must not raise, and are called for every request."""

    def batch_sent(self, batch: Batch, waited_s: Sequence[float]) -> None:
        """Hear of a call that begins, and how long each of its requests waited."""
        ...

    def batch_done(self, batch: Batch, compute_s: float) -> None:
        """Hear of a call that was answered, and how long the user's function ran."""
        ...

    def answered(self, endpoint: str, status: int, took_s: float) -> None:
        """Hear of an answer; ``endpoint`` is empty for what is none's, such as 404. Probes are not told of."""
        ...

    def rejected(self, endpoint: str, reason: Reason) -> None:
        """Hear of a request that no worker got, or whose client left; `answered` tells of it as well."""
        ...


@dataclass(frozen=True, slots=True)
class EndpointLoad:
    """How an endpoint is doing, as its line says at this moment.

    Attributes:
        name: The endpoint's.
        num_waiting: Requests in line.
        num_calls: Calls under way.
        wait_s: How long a request that came now would wait, as predicted.
        per_call_s: What a call costs however little is in it, as learned.
        per_unit_s: What each unit of size adds.
    """

    name: str
    num_waiting: int
    num_calls: int
    wait_s: float
    per_call_s: float
    per_unit_s: float
