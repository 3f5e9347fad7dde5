"""The workers of one generation, as the front sees them: what each has to do, and who gets the next call.

`batching` says when a call may begin; here it finds its worker. No process, no clock: a worker is a way to send to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hotloop.gpu_runtime.endpoints import EndpointSpec
from hotloop.gpu_runtime.user_env.lending import Payload

Send = Callable[[dict[str, Any], Payload], object]
_SYNC = ""  # no endpoint's name: the sync ones share the worker's one thread


def was_sent(send: Send, header: dict[str, Any], payload: Payload) -> bool:
    """Send a frame to a worker; False if the worker is gone."""
    try:
        return send(header, payload) is not False
    except (OSError, EOFError):
        return False


class Worker:
    """One worker of a generation.

    Attributes:
        number: Names it among its generation's.
        send: Sends it a frame. If it returns False, or raises OSError or EOFError, the frame was not sent.
        num_calls: Calls that it has.
        num_ahead: Requests that it was sent ahead of their calls.
    """

    __slots__ = ("_calls", "num_ahead", "num_calls", "number", "send")

    def __init__(self, number: int, send: Send) -> None:
        self.number = number
        self.send = send
        self.num_calls = 0
        self.num_ahead = 0
        self._calls: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"<Worker {self.number}: {self._calls}>"

    @property
    def is_blocked(self) -> bool:
        """Whether a sync call has its thread, so that nothing else moves."""
        return self._calls.get(_SYNC, 0) > 0

    def has_room(self, endpoint: EndpointSpec) -> bool:
        """Whether it may begin another call of an endpoint."""
        if endpoint.kind == "sync":
            return not self.is_blocked
        return self._calls.get(endpoint.name, 0) < endpoint.concurrency

    def begin(self, endpoint: EndpointSpec) -> None:
        """Take note of a call that it gets."""
        slot = _SYNC if endpoint.kind == "sync" else endpoint.name
        self.num_calls += 1
        self._calls[slot] = self._calls.get(slot, 0) + 1

    def end(self, endpoint: EndpointSpec) -> None:
        """Take note of a call that is done."""
        self.num_calls -= 1
        self._calls[_SYNC if endpoint.kind == "sync" else endpoint.name] -= 1


def least_loaded(workers: Sequence[Worker], endpoint: EndpointSpec) -> Worker:
    """Say who gets the next call of an endpoint: of those that have room for it the one with the least to do.

    One whose thread a sync call has comes last, whatever the others have: an async call would wait there for its end.
    Of equals the first goes, so that at low load one worker has its memory at hand.
    """
    if len(workers) == 1:
        return workers[0]
    free = [worker for worker in workers if worker.has_room(endpoint)]
    return min(free, key=lambda worker: (worker.is_blocked, worker.num_calls))
