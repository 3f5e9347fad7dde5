"""What whoever measures the front is told, and may look at. Nobody need: without an observer it costs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Protocol

from hotloop.frozen import frozen

if TYPE_CHECKING:
    from hotloop.gpu_runtime.calls import Call, Pending

Reason = Literal["full", "deadline", "not_ready", "bad_header", "disconnected"]


class Observer(Protocol):
    """Hears of everything that is counted. Its methods must not raise, and are called for every request."""

    def call_began(self, call: Call, now_s: float) -> None:
        """Hear of a call that a worker was sent. Its requests may be gone from it when it ends."""
        ...

    def call_ended(self, call: Call, compute_s: float | None) -> None:
        """Hear of a call that is over, and how long the user's function ran; None if its worker died."""
        ...

    def streamed(self, call: Call, num_items: int) -> None:
        """Hear of items of a stream that its client is sent; for each frame that a worker sends, not for each item."""
        ...

    def answered(self, pendings: Sequence[Pending], status: int, took_s: Sequence[float]) -> None:
        """Hear of answers to requests of one endpoint, or of none. Probes are not told of."""
        ...

    def rejected(self, pending: Pending, reason: Reason) -> None:
        """Hear of a request that no worker got, or whose client left; `answered` tells of it as well."""
        ...


@frozen
class EndpointLoad:
    """How an endpoint is doing, as its line says at this moment.

    Attributes:
        name: The endpoint's.
        num_waiting: Requests in line.
        num_calls: Calls under way.
        wait_s: How long a request that came now would wait, as predicted.
        per_call_s: What a call costs however little is in it, as learned.
        per_unit_s: What each unit of size adds.
        path: Where it is.
        num_running: Requests in those calls, of generations that were replaced as well.
        is_batched: Whether it takes several requests a call.
        is_stream: Whether it answers in pieces.
    """

    name: str
    num_waiting: int
    num_calls: int
    wait_s: float
    per_call_s: float
    per_unit_s: float
    path: str = ""
    num_running: int = 0
    is_batched: bool = False
    is_stream: bool = False
