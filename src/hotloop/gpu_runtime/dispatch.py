"""From request to answer: who holds it, which generation gets it, what happens if that one dies.

Rules:
1. A request goes to the generation that is active when it leaves, never to an older one; what was sent stays there. Of
   its workers the one with the least to do gets it.
2. While no generation is active, requests are held, `hold_timeout_s` at most.
3. A worker that dies, or a hosted model's process, may have run what it was sent, save the sync calls behind the first one
   that it had. Only requests of idempotent endpoints are tried again, and once.
4. A request whose deadline passes before it is sent is answered 504, wherever it waits.

The file is long because it is the one place that knows where every request is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from hotloop.events import Problem
from hotloop.gpu_runtime import answers, builtin
from hotloop.gpu_runtime.alarm import Alarm
from hotloop.gpu_runtime.batching import DEFAULT_MAX_QUEUED
from hotloop.gpu_runtime.calls import (
    Answer,
    Call,
    Exchange,
    Generation,
    InnerExchange,
    Pending,
    RecordedRequest,
)
from hotloop.gpu_runtime.endpoints import EndpointSpec
from hotloop.gpu_runtime.holding import Holding
from hotloop.gpu_runtime.line import Line
from hotloop.gpu_runtime.manners import PROBE, Manners, NotUnderstoodError
from hotloop.gpu_runtime.observing import EndpointLoad, Observer
from hotloop.gpu_runtime.replies import GONE_STATUS, Replies
from hotloop.gpu_runtime.routes import Routes
from hotloop.gpu_runtime.scheduler.lane import Batch
from hotloop.gpu_runtime.user_env.items import items as items_of
from hotloop.gpu_runtime.user_env.wire import Message
from hotloop.gpu_runtime.workers import Send, Worker, least_loaded, was_sent

if TYPE_CHECKING:
    from hotloop.events import Event

MAX_RETRIES = 1


class Dispatcher:
    """Owns every request from its arrival to its answer.

    Args:
        clock: Gives seconds, monotonic.
        emit: Gets `RequestFinished` for every request from outside that is not a probe or a health check.
        hold_timeout_s: How long a request waits for a generation.
        max_queued: Most requests that wait for one endpoint, and most that are held in all.
        weights: How much of the machine an API key is due beside others; 1 for those that are not named.

    Attributes:
        on_idle: Called with the number of a replaced generation when it has answered its last request. Not called
            for one that has nothing to answer when it is replaced: see `is_idle`.
        on_lost_host: Called with the number of a hosted model's process that a worker could not reach: it pauses, unless
            there is another one already.
        last_request: The last request from outside that an endpoint got; None before the first.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        emit: Callable[[Event], None],
        hold_timeout_s: float,
        max_queued: int = DEFAULT_MAX_QUEUED,
        weights: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        self.on_idle: Callable[[int], None] | None = None
        self.on_lost_host: Callable[[int], object] = lambda _: None
        self._clock = clock
        self._replies = Replies(clock, emit)
        self._hold_timeout_s = hold_timeout_s
        self._max_queued = max_queued
        self._manners = Manners(weights)
        self._line = Line(max_queued, self._manners.weights)
        self._holding = Holding(clock, hold_timeout_s, lambda: self._line.waiting, self._expire, self._miss)
        self._holding.is_over = lambda: self._active is not None and not self._num_pauses
        self._last: Pending | None = None
        self._generations: dict[int, Generation] = {}
        self._active: Generation | None = None
        self._newest: Generation | None = None  # is not active while it has no worker
        self._failure: Problem | None = None
        self._num_pauses = 0
        self._queue_alarm = Alarm(clock, self._pump)
        self._is_pump_due = False
        self._comes_alone = True
        self._next_request = 1
        self._next_call = 1

    # --- requests in --------------------------------------------------------------------------------------------

    @property
    def active(self) -> Generation | None:
        """The generation that gets what comes now."""
        return self._active

    @property
    def last_request(self) -> RecordedRequest | None:
        """The last request from outside that an endpoint got."""
        return None if self._last is None else self._last.recorded()

    def handle(self, request: Exchange) -> None:
        """Take a request from outside."""
        if request.path in {"/health", "/ready"} and not self._has_path(request.path):
            builtin.answer_health(request, self._active, self._failure)
        else:
            self._accept(request)

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

    def _accept(self, exchange: Exchange, *, is_probe: bool | None = None) -> Pending:
        """Take a request; whether it is a probe its headers say, unless that is known."""
        now_s = self._clock()
        try:
            asked = exchange.asked
            if asked is None:
                asked = exchange.asked = self._manners.ask(exchange.headers, exchange.query)
            wants = asked.wants or self._manners.read(exchange.headers, now_s)
        except NotUnderstoodError as error:
            return self._not_understood(exchange, now_s, error, is_probe=bool(is_probe or exchange.header(PROBE)))
        is_probe = asked.is_probe if is_probe is None else is_probe
        pending = Pending(self._next_request, exchange, now_s, wants, asked.item, is_probe=is_probe)
        self._next_request += 1
        exchange.on_disconnect = partial(self._client_gone, pending)
        if self._failure is not None:
            self._refuse_all([pending], self._failure)
        elif self._active is None:
            self._hold(pending)
        else:
            self._route(pending, self._active)
        return pending

    def _not_understood(self, exchange: Exchange, now_s: float, error: Exception, *, is_probe: bool) -> Pending:
        pending = Pending(self._next_request, exchange, now_s, is_probe=is_probe)
        self._next_request += 1
        self._replies.reject(pending, "bad_header")
        self._replies.respond(pending, 400, answers.json_fields(), answers.error_body("BadRequest", str(error)))
        return pending

    def _hold(self, pending: Pending) -> None:
        if len(self._line) >= self._max_queued:
            self._replies.reject(pending, "full")
            self._replies.refuse(pending, 429, builtin.full_body("the app", self._max_queued))
            return
        self._line.hold(pending)
        self._holding.watch(pending)

    def _route(self, pending: Pending, active: Generation) -> None:
        """Queue a request, or answer it at once."""
        exchange = pending.exchange
        endpoint = active.routes.find(exchange.method, exchange.path) or self._find(pending, active)
        if endpoint is None:
            return
        line = self._line
        if self._comes_alone and not line.waiting and not self._num_pauses and pending.wants.is_ordinary:
            batch = line.queues.take_alone(endpoint, pending.id)
            if batch is not None:
                pending.endpoint = endpoint
                if not pending.is_probe:
                    self._last = pending
                self._send(batch, {pending.id: pending}, active, pending.arrived_at_s)
                return
        if not line.admit(pending, endpoint):
            self._replies.reject(pending, "full")
            body = builtin.full_body(endpoint.path, self._max_queued)
            self._replies.refuse(pending, 429, body, line.queues.wait_s(endpoint.name))
            return
        self._is_in_line(pending)
        if not (self._is_pump_due or line.queues.holds_up(endpoint)):
            self._pump_in_time()

    def _is_in_line(self, pending: Pending) -> None:
        if not pending.is_probe:
            self._last = pending
        if self._num_pauses:
            self._holding.watch(pending)

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
        return len(self._line)

    def activate(
        self,
        generation: int,
        revision: int,
        endpoints: Iterable[EndpointSpec | Mapping[str, Any]],
        send: Send,
        worker: int = 0,
    ) -> None:
        """Send every request from now on to a new generation, also those that wait.

        Args:
            generation: Its number.
            revision: What it runs.
            endpoints: What it serves, as specs or as a worker describes them.
            send: Sends its first worker a frame: see `Worker`.
            worker: That worker's number.
        """
        specs = [e if isinstance(e, EndpointSpec) else EndpointSpec.from_json(e) for e in endpoints]
        self._serve(Generation(generation, revision, Routes(specs), [Worker(worker, send)]))

    def _serve(self, generation: Generation) -> None:
        old = self._active
        self._active = self._newest = generation
        if old is not None and not old.calls:
            del self._generations[old.number]
        self._generations[generation.number] = generation
        self._failure = None
        waiting = self._line.clear()
        self._line.open(generation.routes.specs, generation.workers, generation.calls.values())
        self._num_pauses += 1  # nothing leaves before all that waited are in line
        for pending in waiting:
            self._requeue(pending, generation)
        self.resume()

    def join(self, generation: int, worker: int, send: Send) -> None:
        """Let another worker of the newest generation have its share; of one that was replaced nobody is needed."""
        newest = self._newest
        if newest is None or newest.number != generation:
            return
        newest.workers.append(Worker(worker, send))
        if newest is self._active:
            self._line.queues.staff(len(newest.workers))
            self._pump()
        else:  # all others died or left while it became ready
            self._serve(newest)

    def is_idle(self, generation: int) -> bool:
        """Whether a generation has answered all that it was sent."""
        known = self._generations.get(generation)
        return known is None or not known.calls

    def pause(self) -> None:
        """Send nothing to any worker until `resume`; may be nested. Requests wait, `hold_timeout_s` at most."""
        if not self._num_pauses:
            self._holding.begin()
        self._num_pauses += 1
        self._holding.watch_all()

    def resume(self) -> None:
        """Go on, when every `pause` was taken back."""
        self._num_pauses = max(0, self._num_pauses - 1)
        self._pump()

    def fail_all(self, problem: Problem) -> None:
        """Answer 503 with the problem to all that wait and, until the next `activate`, to all that come."""
        self._failure = problem
        self._refuse_all(self._line.clear(), problem)

    def _refuse_all(self, pendings: Iterable[Pending], problem: Problem) -> None:
        for pending in pendings:
            self._replies.reject(pending, "not_ready")
            self._replies.refuse(pending, 503, answers.problem_body(problem))

    def stop(self) -> None:
        """Answer everything that is open, for nothing will serve any more: call it before the server is closed."""
        self.fail_all(Problem("Stopped", "hotloop was stopped.", hint="start it again, then send the request again"))
        for number in list(self._generations):
            self.lost(number, "hotloop was stopped")
        self.tell_rest()

    def tell_rest(self) -> None:
        """Tell now of the finished requests that were to be told of with others."""
        self._replies.tell_rest()

    def lost(self, generation: int, cause: str, worker: int | None = None) -> int:
        """Take note that a worker died, and settle what it was sent.

        Args:
            generation: Its generation.
            cause: How it ended.
            worker: Its number; None for all of the generation's.

        Returns:
            How many requests failed because they may have run.
        """
        known = self._generations.get(generation)
        if known is None:
            return 0
        self._dismiss(known, worker)
        calls = known.take_calls(worker)
        again: list[Pending] = []
        num_failed = 0
        begun = _first_sync(calls)
        for call in calls:
            self._tell_end(call, None)
            for pending in call.items.values():
                if pending.is_settled:
                    continue
                if call.endpoint.kind == "sync" and call.id not in begun:
                    again.append(pending)
                elif self._can_retry(pending, call):
                    pending.num_retries += 1
                    again.append(pending)
                else:
                    num_failed += 1
                    self._replies.fail_lost(pending, call, cause)
        self._give_back(known, calls)
        for pending in sorted(again, key=lambda pending: pending.id, reverse=True):
            self._put_back(pending)
        self._pump()
        return num_failed

    def leaves(self, generation: int, worker: int, begun: Collection[int]) -> None:
        """Take note that a worker ends by itself: it gets no more calls, and those that it did not begin go to others.

        Args:
            generation: Its generation.
            worker: Its number.
            begun: The calls that run there; they end with it, or before.
        """
        known = self._generations.get(generation)
        if known is None:
            return
        self._dismiss(known, worker)
        calls = known.take_calls(worker, begun)
        for call in calls:
            self._tell_end(call, None)
        self._give_back(known, calls)
        again = [each for call in calls for each in call.items.values() if not each.is_settled]
        for pending in sorted(again, key=lambda pending: pending.id, reverse=True):
            self._put_back(pending)
        self._pump()

    def _dismiss(self, generation: Generation, number: int | None) -> None:
        """Have a worker get no more calls. Without any the generation is not active any more."""
        if not generation.dismiss(number) or generation is not self._active:
            return
        if generation.workers:
            self._line.queues.staff(len(generation.workers))
        else:
            self._deactivate()

    def _give_back(self, generation: Generation, calls: Iterable[Call]) -> None:
        """Give back the slots of calls that nobody will answer, or forget their generation if nothing of it is left."""
        if generation is self._active:
            for call in calls:
                self._line.queues.done(call.batch)
        elif generation.workers:
            self._look_if_idle(generation)
        elif not generation.calls:
            del self._generations[generation.number]

    def _deactivate(self) -> None:
        self._active = None
        self._line.shut()
        self._holding.begin()
        self._holding.watch_all()

    @staticmethod
    def _can_retry(pending: Pending, call: Call) -> bool:
        return call.endpoint.idempotent and not pending.stream_type and pending.num_retries < MAX_RETRIES

    def _put_back(self, pending: Pending) -> None:
        """Queue a request again in front of all others."""
        pending.call = None
        if self._failure is not None:
            self._refuse_all([pending], self._failure)
        elif self._active is None:
            self._line.hold(pending)
            self._holding.watch(pending)
        else:
            self._requeue(pending, self._active)

    def _requeue(self, pending: Pending, active: Generation) -> None:
        """Queue a request that was admitted before: by its age, and whether or not its queue is full."""
        endpoint = self._find(pending, active)
        if endpoint is not None:
            self._line.put_back(pending, endpoint)
            self._is_in_line(pending)

    # --- to a worker --------------------------------------------------------------------------------------------

    def _pump_in_time(self) -> None:
        """Have a request leave: where others went together last, when all that clients sent until now is read."""
        if self._comes_alone:
            self._pump()
        else:
            self._is_pump_due = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._is_pump_due = False
        line, queues = self._line, self._line.queues
        while line.waiting and self._active is not None and not self._num_pauses and not queues.is_stuck:
            now_s = self._clock()
            batch = queues.take(now_s)
            if batch is None:
                for pending in line.give_up(now_s):
                    self._miss(pending, now_s)
                self._queue_alarm.set(queues.wake_at_s())
                return
            self._send(batch, line.take(batch), self._active, now_s)

    def _send(self, batch: Batch, items: dict[int, Pending], active: Generation, now_s: float) -> None:
        worker = least_loaded(active.workers, batch.endpoint)
        worker.begin(batch.endpoint)
        call = Call(self._next_call, batch, worker, items)
        self._next_call += 1
        self._comes_alone = len(items) == 1
        active.calls[call.id] = call
        for pending in items.values():
            pending.call = call
            pending.generation = active.number
            pending.left_at_s = now_s
        bodies: list[bytes | bytearray] = []
        header = {"kind": "call", "id": call.id, "endpoint": batch.endpoint.name, **self._line.described(call, bodies)}
        is_sent = was_sent(worker.send, header, bodies)
        for observer in self._replies.observers:  # while the worker begins
            observer.call_began(call, now_s)
        if not is_sent:
            self._take_back(call, active)

    def _take_back(self, call: Call, active: Generation) -> None:
        """Hold what could not be sent: the worker is gone, which `lost` is about to say."""
        del active.calls[call.id]
        self._tell_end(call, None)
        self._line.queues.done(call.batch)
        self._dismiss(active, call.worker.number)
        for pending in call.items.values():
            pending.generation = 0
            self._put_back(pending)

    def _client_gone(self, pending: Pending) -> None:
        if pending.is_settled:
            return
        call = pending.call
        if call is None:
            self._line.leave(pending)
            self._replies.reject(pending, "disconnected")
        self._replies.settle(pending)
        if call is not None:
            self._cancel(call, pending)
        self._replies.tell(pending, GONE_STATUS)

    @staticmethod
    def _cancel(call: Call, pending: Pending) -> None:
        """Tell a worker that nobody waits for a call any more, or for one of the streams that it serves together."""
        if call.is_cancelled:
            return
        if call.is_unwanted:
            call.is_cancelled = True
            was_sent(call.worker.send, {"kind": "cancel", "id": call.id}, b"")
        elif call.endpoint.is_stream:
            was_sent(call.worker.send, {"kind": "cancel", "id": call.id, "item": pending.id}, b"")

    # --- for who measures ---------------------------------------------------------------------------------------

    def observe(self, *observers: Observer) -> None:
        """Have these hear of every call, answer and rejection from now on."""
        self._replies.observers = observers

    def load(self) -> list[EndpointLoad]:
        """Say how each endpoint of the active generation is doing: read from its line, so that nothing can leak."""
        return self._line.load(call for each in self._generations.values() for call in each.calls.values())

    # --- from a worker ------------------------------------------------------------------------------------------

    def deliver(self, generation: int, message: Message) -> None:
        """Take a frame from a worker: ``result``, ``stream`` or ``staged``."""
        known = self._generations.get(generation)
        if known is None:
            return
        if message.kind == "stream":
            self._streamed(known, message)
        elif message.kind == "staged":
            self._staged(known, message)
        elif (call := known.calls.get(message.header["id"])) is not None:
            again = self._take_out_lost(call, items_of(message.header)) if message.header.get("has_raised") else []
            self._end_call(known, call, message)
            for pending in again:
                self._put_back(pending)
        if known is not self._active:
            self._look_if_idle(known)

    def _end_call(self, generation: Generation, call: Call, message: Message) -> None:
        """Answer a call's requests and begin the next: what somebody waits for first."""
        self._tell_end(call, message.header.get("compute_s", 0.0))
        if (
            self._line.waiting
        ):  # sending the next call takes less time than writing answers, and the worker need not wait
            self._free_slot(generation, call, message.header)
            self._replies.result(generation, call, message)
            return
        try:
            self._replies.result(generation, call, message)
        finally:
            self._free_slot(generation, call, message.header)

    def _take_out_lost(self, call: Call, items: Iterable[dict[str, Any]]) -> list[Pending]:
        """Take those out of a call that are to be tried again, since a hosted model's process was gone; newest first."""
        again: list[Pending] = []
        for item in items:
            if host := item.get("lost_host"):
                self.on_lost_host(host)
                pending = call.items.get(item["id"])
                if pending is not None and not pending.is_settled and self._can_retry(pending, call):
                    del call.items[pending.id]
                    pending.num_retries += 1
                    again.append(pending)
        return sorted(again, key=lambda pending: pending.id, reverse=True)

    def _streamed(self, generation: Generation, message: Message) -> None:
        """Pass on pieces of streams, and the ends of some."""
        start = 0
        for part in message.header["parts"]:
            end = start + part["size"]
            call = generation.calls.get(part["id"])
            pending = None if call is None else call.items.get(part["item"])
            if call is not None and pending is not None:
                self._stream_on(generation, call, pending, part, message.payload[start:end])
            start = end

    def _stream_on(
        self, generation: Generation, call: Call, pending: Pending, part: dict[str, Any], data: bytes
    ) -> None:
        is_end = part.get("is_end", False)
        again = [] if "lost_host" not in part else self._take_out_lost(call, [{**part, "id": pending.id}])
        if is_end:
            call.items.pop(pending.id, None)
            if not call.items:
                self._tell_end(call, part.get("compute_s", 0.0))
                self._free_slot(generation, call, part)
        if again:
            self._put_back(pending)
            return
        if data and not pending.is_probe:
            self._tell_items(call, part)
        if (data or part.get("type")) and not self._replies.chunk(generation, pending, part, data) and not is_end:
            self._cancel(call, pending)
        if is_end:
            self._replies.end(generation, pending, part)

    def _staged(self, generation: Generation, message: Message) -> None:
        """Take note of sizes; what could not be measured is answered."""
        if generation is not self._active:
            return
        for request_id, size in message.header["sizes"]:
            self._line.measure(request_id, size)
        start = 0
        for item in message.header["items"]:
            end = start + item["size"]
            pending = self._line.waiting.get(item["id"])
            if pending is not None:
                self._line.leave(pending)
                self._replies.failed_ahead(generation, pending, item, message.payload[start:end])
            start = end

    def _free_slot(self, generation: Generation, call: Call, header: dict[str, Any]) -> None:
        """Take note that a call is done, and begin the next."""
        del generation.calls[call.id]
        call.worker.end(call.endpoint)
        if generation is self._active:
            self._learn(call, header)
            self._pump()

    def _tell_items(self, call: Call, part: dict[str, Any]) -> None:
        num_items = part.get("num_pieces") or len(part.get("piece_sizes", (0,)))
        for observer in self._replies.observers:
            observer.streamed(call, num_items)

    def _tell_end(self, call: Call, compute_s: float | None) -> None:
        for observer in self._replies.observers:
            observer.call_ended(call, compute_s)

    def _look_if_idle(self, generation: Generation) -> None:
        """Say so if a replaced generation has answered its last request."""
        if not generation.calls and self._generations.pop(generation.number, None) and self.on_idle is not None:
            self.on_idle(generation.number)

    def _learn(self, call: Call, header: dict[str, Any]) -> None:
        """Give the slot back, and have the queues learn from a call that ran as the next one will."""
        compute_s: float = header.get("compute_s", 0.0)
        is_example = compute_s > 0 and not call.is_cancelled and not header.get("has_raised")
        sizes: list[tuple[int, float]] = header.get("sizes", [])
        for request_id, size in sizes:
            pending = call.items.get(request_id)
            if pending is not None:
                self._line.queues.compare(call.endpoint.name, len(pending.exchange.body), size)
        units = len(sizes) * max(size for _, size in sizes) if sizes else None
        self._line.queues.done(call.batch, compute_s if is_example else None, units)

    def _has_path(self, path: str) -> bool:
        return self._active is not None and path in self._active.routes

    # --- time ---------------------------------------------------------------------------------------------------

    def _expire(self, pending: Pending) -> None:
        self._line.leave(pending)
        self._replies.reject(pending, "not_ready")
        message = f"Nothing could serve this request within {self._hold_timeout_s:g} s."
        self._replies.refuse(
            pending, 503, answers.error_body("NotReady", message, "The app is starting, or loading models.")
        )

    def _miss(self, pending: Pending, now_s: float) -> None:
        """Answer a request whose deadline passed, or can't be met any more."""
        self._line.leave(pending)
        self._replies.reject(pending, "deadline")
        is_over = pending.wants.deadline_at_s <= now_s
        body = answers.deadline_body(now_s - pending.arrived_at_s, is_over=is_over)
        self._replies.respond(pending, 504, answers.json_fields(), body)


def _first_sync(calls: Iterable[Call]) -> set[int]:
    """Say which of the sync calls that workers were sent may have begun: the first of each, for they run in order."""
    first: dict[int, int] = {}
    for call in calls:
        if call.endpoint.kind == "sync":
            first.setdefault(call.worker.number, call.id)
    return set(first.values())
