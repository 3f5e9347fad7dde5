"""Writes answers to requests: from a worker's frames, or the runtime's own; and tells that a request is finished."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from hotloop.gpu_runtime import answers
from hotloop.gpu_runtime.calls import Call, Generation, Pending
from hotloop.gpu_runtime.exchange import Headers, Likeness
from hotloop.gpu_runtime.observing import Observer, Reason
from hotloop.gpu_runtime.traffic import Traffic
from hotloop.gpu_runtime.user_env import doubles
from hotloop.gpu_runtime.user_env.items import runs
from hotloop.gpu_runtime.user_env.wire import Message

if TYPE_CHECKING:
    from hotloop.events import Event

MAX_BACKLOG_BYTES = 256 * 1024 * 1024
GONE_STATUS = 499  # as nginx logs it: the client left before the answer
_ONE = (b"x-hotloop-batch-size", b"1")
_BINARY = "application/octet-stream"


class Replies:
    """Answers requests, each once.

    Args:
        clock: Gives seconds, monotonic.
        emit: Gets `RequestFinished` for every request that is not a probe, or `RequestsFinished` for many of them.
        max_backlog_bytes: How far a client may be behind its stream before it is cut off. Until then it costs memory
            only: to slow down its worker would slow down every other client.

    Attributes:
        observers: Hear of each answer.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        emit: Callable[[Event], None],
        max_backlog_bytes: int = MAX_BACKLOG_BYTES,
    ) -> None:
        self._max_backlog_bytes = max_backlog_bytes
        self._clock = clock
        self._traffic = Traffic(emit, lambda delay_s, call: asyncio.get_running_loop().call_later(delay_s, call))
        self.observers: tuple[Observer, ...] = ()

    def respond(
        self, pending: Pending, status: int, headers: Headers, body: bytes | memoryview, own: Headers = ()
    ) -> None:
        """Answer at once."""
        self.settle(pending)
        pending.exchange.respond(status, headers, body, own)
        self.tell(pending, status)

    def refuse(self, pending: Pending, status: int, body: bytes, wait_s: float = 0.0) -> None:
        """Answer that it may be tried again later: after so long, in whole seconds."""
        self.respond(pending, status, answers.json_fields(answers.retry_after(wait_s)), body)

    def reject(self, pending: Pending, reason: Reason) -> None:
        """Take note that no worker gets a request; its answer is another call's to give."""
        if not pending.is_probe:
            for observer in self.observers:
                observer.rejected(pending, reason)

    def settle(self, pending: Pending) -> None:
        """Have it out of every hand before its answer is written, for that may bring in the client's next request."""
        pending.is_settled = True
        pending.call = None
        pending.exchange.on_disconnect = None

    def tell(self, pending: Pending, status: int) -> None:
        """Say that a request is finished, unless it is a probe."""
        if pending.is_probe:
            return
        self._tell_all([pending], status)

    def tell_rest(self) -> None:
        """Tell now of what was to be told of with others."""
        self._traffic.flush()

    def _tell_all(self, pendings: Sequence[Pending], status: int) -> None:
        """Say that requests of one endpoint are finished; none of them is a probe."""
        now_s = self._clock()
        took_s = [now_s - pending.arrived_at_s for pending in pendings]
        num_told = 0
        while num_told < len(pendings) and self._traffic.tells_singly(now_s):
            pending = pendings[num_told]
            exchange = pending.exchange
            self._traffic.finished(now_s, pending.generation, exchange.method, exchange.path, status, took_s[num_told])
            num_told += 1
        if num_told < len(pendings):
            self._traffic.count(now_s, status, took_s[num_told:])
        for observer in self.observers:
            observer.answered(pendings, status, took_s)

    def result(self, generation: Generation, call: Call, message: Message) -> None:
        """Answer the requests of a call; one that has no result fails alone."""
        header = message.header
        compute_s: float = header.get("compute_s", 0.0)
        if len(call.items) == 1 and header.get("ids") == list(call.items):
            self._answer_one(generation, call, header, compute_s, message.payload)
            return
        start, alike = 0, runs(header)
        size = (b"x-hotloop-batch-size", b"%d" % sum(len(run.ids) for run in alike))
        own = (_compute_field(compute_s), size)
        for run in alike:
            likeness = Likeness(run.like["status"], (_type_field(run.like["type"]), *generation.headers), own)
            pendings = list(map(call.items.get, run.ids))
            written = doubles.as_json if run.like.get("is_doubles") else None
            start = self._answer_alike(likeness, pendings, compute_s, run.sizes, message.payload, start, written)
        for pending in call.items.values():
            if not pending.is_settled:
                body = answers.error_body("NoResult", "The worker gave no result for this request.")
                self.respond(pending, 502, answers.json_fields(*generation.headers), body)

    def _answer_one(
        self, generation: Generation, call: Call, header: dict[str, Any], compute_s: float, body: bytes | memoryview
    ) -> None:
        """Answer the one request of a call, as `_answer_alike` would: at low load that is every call."""
        (pending,) = call.items.values()
        if pending.is_settled:
            return
        like = header["like"]
        own = (_compute_field(compute_s), _ONE)
        likeness = Likeness(like["status"], (_type_field(like["type"]), *generation.headers), own)
        exchange = pending.exchange
        pending.is_settled = True  # as `settle` does
        pending.call = exchange.on_disconnect = None
        pending.compute_s = compute_s
        exchange.respond_like(
            likeness, _queue_field(pending), doubles.as_json(body) if like.get("is_doubles") else body
        )
        if not pending.is_probe:
            self._tell_all((pending,), likeness.status)

    def _answer_alike(
        self,
        likeness: Likeness,
        pendings: Iterable[Pending | None],
        compute_s: float,
        sizes: Iterable[int],
        payload: bytes | memoryview,
        start: int,
        written: Callable[[bytes | memoryview], bytes] | None,
    ) -> int:
        """Answer requests that differ in nothing but their bodies; gives where the last of those ends."""
        answered: list[Pending] = []
        for pending, size in zip(pendings, sizes, strict=True):
            end = start + size
            if pending is not None and not pending.is_settled:
                exchange = pending.exchange
                pending.is_settled = True  # as `settle` does
                pending.call = exchange.on_disconnect = None
                pending.compute_s = compute_s
                body = payload[start:end]
                exchange.respond_like(likeness, _queue_field(pending), body if written is None else written(body))
                if not pending.is_probe:
                    answered.append(pending)
            start = end
        if answered:
            self._tell_all(answered, likeness.status)
        return start

    def failed_ahead(
        self, generation: Generation, pending: Pending, item: dict[str, Any], body: bytes | memoryview
    ) -> None:
        """Answer a request that the worker could not read, or not measure, before its call."""
        pending.generation = generation.number
        self.respond(pending, item["status"], (_type_field(item["type"]), *generation.headers), body)

    def chunk(self, generation: Generation, pending: Pending, part: dict[str, Any], data: bytes) -> bool:
        """Pass on what a stream has new; False if the client was cut off because it takes too little.

        Args:
            generation: Who answers.
            pending: The request.
            part: What its worker says of it: at the beginning ``type`` and ``status``; ``sizes`` of the pieces, if the
                client should see where one ends.
            data: The bytes.
        """
        if pending.is_settled:
            return True
        exchange = pending.exchange
        if not pending.stream_type:
            pending.stream_type = part.get("type") or _BINARY
            pending.status = part.get("status", 200)
            fields = (_type_field(pending.stream_type), *generation.headers, _queue_field(pending))
            exchange.begin(pending.status, fields)
        start = 0
        for size in part.get("piece_sizes", (len(data),)):
            exchange.write(data[start : start + size])
            start += size
        if exchange.backlog_bytes <= self._max_backlog_bytes:
            return True
        self.settle(pending)
        why = f"{exchange.backlog_bytes} bytes of the answer were not taken."
        exchange.abort(answers.error_body("TooSlow", why, "Take it as it comes, or ask for less at a time."))
        self.tell(pending, GONE_STATUS)
        return False

    def end(self, generation: Generation, pending: Pending, part: dict[str, Any]) -> None:
        """Complete a stream."""
        if pending.is_settled:
            return
        error: str = part.get("error") or ""
        pending.compute_s = part.get("compute_s", 0.0)
        if not pending.stream_type:
            self._end_unbegun(pending, generation, error)
        elif error:
            # The worker wrote the error into the stream where the format has a place for it.
            _, has_place = answers.stream_epitaph(pending.stream_type, {})
            body = answers.encode(answers.stream_error(error))
            self._break_off(pending, b"", body, is_well_formed=has_place)
        else:
            self.settle(pending)
            pending.exchange.finish((_compute_field(pending.compute_s),))
            self.tell(pending, pending.status)

    def fail_lost(self, pending: Pending, call: Call, cause: str) -> None:
        """Say that the worker died under a request, also within a stream that had begun."""
        body = answers.lost_body(call.endpoint.path, cause, is_idempotent=call.endpoint.idempotent)
        if pending.stream_type:
            error = answers.stream_error(body.decode("utf-8", "replace"))
            last, has_place = answers.stream_epitaph(pending.stream_type, error)
            self._break_off(pending, last, body, is_well_formed=has_place)
        else:
            self.respond(pending, 502, answers.json_fields(), body)

    def _end_unbegun(self, pending: Pending, generation: Generation, error: str) -> None:
        if error:
            body = answers.encode(answers.stream_error(error))
            self.respond(pending, 500, answers.json_fields(*generation.headers), body)
        else:
            self.respond(pending, 200, (_type_field(_BINARY), *generation.headers), b"")

    def _break_off(self, pending: Pending, last: bytes, error: bytes, *, is_well_formed: bool) -> None:
        self.settle(pending)
        pending.exchange.write(last)
        if is_well_formed and not pending.exchange.ends_with_status:
            pending.exchange.finish()
        else:
            pending.exchange.abort(error)
        self.tell(pending, 502)


def _compute_field(compute_s: float) -> tuple[bytes, bytes]:
    return (b"x-hotloop-compute-ms", b"%.3f" % (compute_s * 1000))


def _queue_field(pending: Pending) -> tuple[bytes, bytes]:
    return (b"x-hotloop-queue-ms", b"%.3f" % ((pending.left_at_s - pending.arrived_at_s) * 1000))


def _type_field(content_type: str) -> tuple[bytes, bytes]:
    if "\n" in content_type or "\r" in content_type:
        content_type = _BINARY
    return (b"content-type", content_type.encode("latin-1", "replace"))
