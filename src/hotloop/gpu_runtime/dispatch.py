"""From request to answer: who holds it, which generation gets it, what happens if that one dies.

Rules:
1. A request goes to the generation that is active when it leaves, never to an older one; what was sent stays there.
2. While no generation is active, requests are held, `hold_timeout_s` at most.
3. A worker that dies may have run what it was sent. Only requests of idempotent endpoints are tried again, and once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from hotloop.events import Event, Problem
from hotloop.gpu_runtime import answers, builtin
from hotloop.gpu_runtime.batching import DEFAULT_MAX_QUEUED, Batch, EndpointSpec, Queues
from hotloop.gpu_runtime.calls import (
    PROBE_HEADER,
    Answer,
    Call,
    Exchange,
    Generation,
    InnerExchange,
    Pending,
    RecordedRequest,
    Send,
)
from hotloop.gpu_runtime.replies import GONE_STATUS, Replies
from hotloop.gpu_runtime.routes import Routes
from hotloop.gpu_runtime.user_env.wire import Message

MAX_RETRIES = 1


class Dispatcher:
    """Owns every request from its arrival to its answer.

    Args:
        clock: Gives seconds, monotonic.
        emit: Gets `RequestFinished` for every request from outside that is not a probe or a health check.
        hold_timeout_s: How long a request waits for a generation.
        max_queued: Most requests that wait for one endpoint, and most that are held in all.

    Attributes:
        on_idle: Called with the number of a replaced generation when it has answered its last request. Not called
            for one that has nothing to answer when it is replaced: see `is_idle`.
        last_request: The last request from outside that an endpoint got; None before the first.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        emit: Callable[[Event], None],
        hold_timeout_s: float,
        max_queued: int = DEFAULT_MAX_QUEUED,
    ) -> None:
        self.on_idle: Callable[[int], None] | None = None
        self._clock = clock
        self._replies = Replies(clock, emit)
        self._hold_timeout_s = hold_timeout_s
        self._max_queued = max_queued
        self._last: Pending | None = None
        self._generations: dict[int, Generation] = {}
        self._active: Generation | None = None
        self._queues = Queues((), max_queued)
        self._waiting: dict[int, Pending] = {}
        self._failure: Problem | None = None
        self._num_pauses = 0
        self._held_since_s = clock()
        self._hold_timer: asyncio.TimerHandle | None = None
        self._gather_timer: asyncio.TimerHandle | None = None
        self._next_request = 1
        self._next_call = 1

    # --- requests in --------------------------------------------------------------------------------------------

    @property
    def last_request(self) -> RecordedRequest | None:
        """The last request from outside that an endpoint got."""
        return None if self._last is None else self._last.recorded()

    def handle(self, request: Exchange) -> None:
        """Take a request from outside."""
        if request.path in {"/health", "/ready"} and not self._has_path(request.path):
            builtin.answer_health(request, self._active, self._failure)
            return
        self._accept(request, is_probe=bool(request.header(PROBE_HEADER)))

    async def submit(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        is_probe: bool = True,
    ) -> Answer:
        """Send a request from inside, and wait for the whole answer. ``path`` may hold a query."""
        path, _, query = path.partition("?")
        encoded = [
            (name.lower().encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers.items()
        ]
        exchange = InnerExchange(method, path, query, encoded, body)
        began_at_s = self._clock()
        pending = self._accept(exchange, is_probe=is_probe)
        try:
            await exchange.done
        except asyncio.CancelledError:
            self._client_gone(pending)
            raise
        return Answer(
            status=exchange.status,
            headers={name.decode("latin-1"): value.decode("latin-1") for name, value in exchange.answer_headers},
            body=exchange.answer_body,
            generation=pending.generation,
            took_s=self._clock() - began_at_s,
            compute_s=pending.compute_s,
        )

    def _accept(self, exchange: Exchange, *, is_probe: bool) -> Pending:
        pending = Pending(self._next_request, exchange, self._clock(), is_probe=is_probe)
        self._next_request += 1
        exchange.on_disconnect = partial(self._client_gone, pending)
        if self._failure is not None:
            self._replies.refuse(pending, 503, answers.problem_body(self._failure))
        elif self._active is None:
            self._hold(pending)
        elif self._route(pending, self._active):
            self._pump()
        return pending

    def _hold(self, pending: Pending) -> None:
        if len(self._waiting) >= self._max_queued:
            self._replies.refuse(pending, 429, builtin.full_body("the app", self._max_queued))
            return
        self._waiting[pending.id] = pending
        self._watch_held()

    def _route(self, pending: Pending, active: Generation) -> bool:
        """Queue a request that is new or was held; False if it was answered instead."""
        endpoint = self._find(pending, active)
        if endpoint is None:
            return False
        if not self._queues.offer(endpoint.name, pending.id, pending.arrived_at_s):
            self._replies.refuse(pending, 429, builtin.full_body(endpoint.path, self._max_queued))
            return False
        self._queue(pending, endpoint)
        return True

    def _queue(self, pending: Pending, endpoint: EndpointSpec) -> None:
        pending.endpoint = endpoint
        self._waiting[pending.id] = pending
        if not pending.is_probe:
            self._last = pending
        if self._num_pauses:
            self._watch_held()

    def _find(self, pending: Pending, active: Generation) -> EndpointSpec | None:
        method, path = pending.exchange.method, pending.exchange.path
        endpoint = active.routes.find(method, path)
        if endpoint is not None:
            return endpoint
        if path in active.routes:
            allow = (b"allow", active.routes.allowed(path).encode("latin-1", "replace"))
            body = active.routes.not_allowed_body(method, path)
            self._replies.respond(pending, 405, answers.json_fields(allow), body)
        elif path == "/" and method in {"GET", "HEAD"}:
            self._replies.respond(pending, 200, answers.json_fields(*active.headers), builtin.index_body(active))
        else:
            self._replies.respond(pending, 404, answers.json_fields(), active.routes.not_found_body(path))
        return None

    # --- generations --------------------------------------------------------------------------------------------

    @property
    def num_waiting(self) -> int:
        """How many requests were not sent to a worker yet."""
        return len(self._waiting)

    def activate(
        self, generation: int, revision: int, endpoints: Iterable[EndpointSpec | Mapping[str, Any]], send: Send
    ) -> None:
        """Send every request from now on to a new generation, also those that wait.

        Args:
            generation: Its number.
            revision: What it runs.
            endpoints: What it serves, as specs or as a worker describes them.
            send: Sends it a frame. If it returns False, or raises OSError or EOFError, the frame was not sent.
        """
        specs = [e if isinstance(e, EndpointSpec) else EndpointSpec.from_json(e) for e in endpoints]
        old, self._active = self._active, Generation(generation, revision, Routes(specs), send)
        if old is not None and not old.calls:
            del self._generations[old.number]
        self._generations[generation] = self._active
        self._failure = None
        self._queues = Queues(specs, self._max_queued)
        waiting, self._waiting = self._waiting, {}
        self._num_pauses += 1  # nothing leaves before all that waited are in line
        for request_id in sorted(waiting):
            self._requeue(waiting[request_id], self._active)
        self.resume()

    def is_idle(self, generation: int) -> bool:
        """Whether a generation has answered all that it was sent."""
        known = self._generations.get(generation)
        return known is None or not known.calls

    def pause(self) -> None:
        """Send nothing to any worker until `resume`; may be nested. Requests wait, `hold_timeout_s` at most."""
        if not self._num_pauses:
            self._held_since_s = self._clock()
        self._num_pauses += 1
        if self._waiting:
            self._watch_held()

    def resume(self) -> None:
        """Go on, when every `pause` was taken back."""
        self._num_pauses = max(0, self._num_pauses - 1)
        self._pump()

    def fail_all(self, problem: Problem) -> None:
        """Answer 503 with the problem to all that wait and, until the next `activate`, to all that come."""
        self._failure = problem
        waiting, self._waiting = self._waiting, {}
        self._queues.drain()
        for pending in waiting.values():
            self._replies.refuse(pending, 503, answers.problem_body(problem))

    def stop(self) -> None:
        """Answer everything that is open, for nothing will serve any more: call it before the server is closed."""
        self.fail_all(Problem("Stopped", "hotloop was stopped.", hint="start it again, then send the request again"))
        for number in list(self._generations):
            self.lost(number, "hotloop was stopped")

    def lost(self, generation: int, cause: str) -> int:
        """Take note that a worker died, and settle what it was sent.

        Returns:
            How many requests failed because they may have run.
        """
        dead = self._generations.pop(generation, None)
        if dead is None:
            return 0
        if dead is self._active:
            self._deactivate()
        again: list[Pending] = []
        num_failed = 0
        for call in dead.calls.values():
            for pending in call.items.values():
                if pending.is_settled:
                    continue
                if self._can_retry(pending, call):
                    again.append(pending)
                else:
                    num_failed += 1
                    self._replies.fail_lost(pending, call, cause)
        for pending in sorted(again, key=lambda pending: pending.id, reverse=True):
            pending.num_retries += 1
            self._put_back(pending)
        self._pump()
        return num_failed

    def _deactivate(self) -> None:
        self._active = None
        self._queues = Queues((), self._max_queued)
        self._held_since_s = self._clock()
        if self._waiting:
            self._watch_held()

    @staticmethod
    def _can_retry(pending: Pending, call: Call) -> bool:
        return call.endpoint.idempotent and not pending.stream_type and pending.num_retries < MAX_RETRIES

    def _put_back(self, pending: Pending) -> None:
        """Queue a request again in front of all others."""
        pending.call = None
        if self._failure is not None:
            self._replies.refuse(pending, 503, answers.problem_body(self._failure))
        elif self._active is None:
            self._waiting[pending.id] = pending
            self._watch_held()
        else:
            self._requeue(pending, self._active)

    def _requeue(self, pending: Pending, active: Generation) -> None:
        """Queue a request that was admitted before: by its age, and whether or not its queue is full."""
        endpoint = self._find(pending, active)
        if endpoint is not None:
            self._queue(pending, endpoint)
            self._queues.put_back(endpoint.name, pending.id, pending.arrived_at_s)

    # --- to a worker --------------------------------------------------------------------------------------------

    def _pump(self) -> None:
        while self._active is not None and not self._num_pauses:
            batch = self._queues.take(self._clock())
            if batch is None:
                self._watch_gathering()
                return
            self._send(batch, self._active)

    def _send(self, batch: Batch, active: Generation) -> None:
        items = {request_id: self._waiting.pop(request_id) for request_id in batch.requests}
        call = Call(self._next_call, batch, items)
        self._next_call += 1
        active.calls[call.id] = call
        for pending in items.values():
            pending.call = call
            pending.generation = active.number
        bodies = [pending.exchange.body for pending in items.values()]
        header = {
            "kind": "call",
            "id": call.id,
            "endpoint": batch.endpoint.name,
            "items": [pending.item() for pending in items.values()],
        }
        if not _was_sent(active.send, header, bodies[0] if len(bodies) == 1 else b"".join(bodies)):
            self._take_back(call, active)

    def _take_back(self, call: Call, active: Generation) -> None:
        """Hold what could not be sent: the worker is gone, which `lost` is about to say."""
        del active.calls[call.id]
        self._deactivate()
        for pending in call.items.values():
            pending.generation = 0
            self._put_back(pending)

    def _client_gone(self, pending: Pending) -> None:
        if pending.is_settled:
            return
        call = pending.call
        if call is None:
            self._waiting.pop(pending.id, None)
            if pending.endpoint is not None:
                self._queues.cancel(pending.endpoint.name, pending.id)
        self._replies.settle(pending)
        if call is not None:
            self._cancel(call, pending.generation)
        self._replies.tell(pending, GONE_STATUS)

    def _cancel(self, call: Call, number: int) -> None:
        generation = self._generations.get(number)
        if generation is not None and call.is_unwanted and not call.is_cancelled:
            call.is_cancelled = True
            _was_sent(generation.send, {"kind": "cancel", "id": call.id}, b"")

    # --- from a worker ------------------------------------------------------------------------------------------

    def deliver(self, generation: int, message: Message) -> None:
        """Take a frame from a worker: ``result``, ``chunk`` or ``end``."""
        known = self._generations.get(generation)
        call = None if known is None else known.calls.get(message.header["id"])
        if known is None or call is None:
            return
        if message.kind == "chunk":
            if not self._replies.chunk(known, call, message):
                self._cancel(call, generation)
        elif message.kind == "result":
            self._replies.result(known, call, message)
            self._close_call(known, call, message.header.get("compute_s"))
        elif message.kind == "end":
            self._replies.end(known, call, message)
            if not call.items:
                self._close_call(known, call)

    def _close_call(self, generation: Generation, call: Call, took_s: float | None = None) -> None:
        del generation.calls[call.id]
        if generation is self._active:
            self._queues.done(call.batch, None if call.is_cancelled else took_s)
            self._pump()
        elif not generation.calls:
            self._generations.pop(generation.number, None)
            if self.on_idle is not None:
                self.on_idle(generation.number)

    def _has_path(self, path: str) -> bool:
        return self._active is not None and path in self._active.routes

    # --- time ---------------------------------------------------------------------------------------------------

    def _watch_held(self) -> None:
        if self._hold_timer is None:
            self._hold_timer = asyncio.get_running_loop().call_later(self._hold_timeout_s, self._expire_held)

    def _expire_held(self) -> None:
        self._hold_timer = None
        if self._active is not None and not self._num_pauses:
            return
        now_s = self._clock()
        held = list(self._waiting.values())
        deadlines_s = [max(p.arrived_at_s, self._held_since_s) + self._hold_timeout_s for p in held]
        for pending, deadline_s in zip(held, deadlines_s, strict=True):
            if deadline_s <= now_s:
                self._expire(pending)
        left_s = [deadline_s - now_s for deadline_s in deadlines_s if deadline_s > now_s]
        if left_s:
            self._hold_timer = asyncio.get_running_loop().call_later(min(left_s), self._expire_held)

    def _expire(self, pending: Pending) -> None:
        del self._waiting[pending.id]
        if pending.endpoint is not None:
            self._queues.cancel(pending.endpoint.name, pending.id)
        message = f"Nothing could serve this request within {self._hold_timeout_s:g} s."
        self._replies.refuse(
            pending, 503, answers.error_body("NotReady", message, "The app is starting, or loading models.")
        )

    def _watch_gathering(self) -> None:
        wake_at_s = self._queues.wake_at_s()
        if self._gather_timer is not None:
            self._gather_timer.cancel()
            self._gather_timer = None
        if wake_at_s is not None:
            delay_s = max(0.0, wake_at_s - self._clock())
            self._gather_timer = asyncio.get_running_loop().call_later(delay_s, self._pump)


def _was_sent(send: Send, header: dict[str, Any], payload: bytes) -> bool:
    try:
        return send(header, payload) is not False
    except (OSError, EOFError):
        return False
