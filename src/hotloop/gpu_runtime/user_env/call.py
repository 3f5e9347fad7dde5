# pyright: basic
# The functions, the arguments and the results are the user's.
"""Run the calls that the runtime sends: decode the requests, call the function, send the answers.

A call is answered exactly once, whatever happens in it. Nothing here reads the link; `serving` does.
"""

from __future__ import annotations

import contextvars
import inspect
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from hotloop.gpu_runtime.user_env.answers import (
    CANCELLED,
    Answer,
    failed,
    has_length,
    not_encodable,
    result_frame,
    wrong_length,
)
from hotloop.gpu_runtime.user_env.app import EndpointSpec
from hotloop.gpu_runtime.user_env.jsonable import NotEncodable
from hotloop.gpu_runtime.user_env.resolve import Plan
from hotloop.gpu_runtime.user_env.served import Served
from hotloop.gpu_runtime.user_env.serving import serve
from hotloop.gpu_runtime.user_env.source import Project
from hotloop.gpu_runtime.user_env.staging import Staging
from hotloop.gpu_runtime.user_env.streams import StreamWriter
from hotloop.gpu_runtime.user_env.values import encode
from hotloop.gpu_runtime.user_env.wire import LinkClosed, Message

__all__ = ["Caller", "serve"]

Send = Callable[[dict[str, Any], bytes], None]
IsCancelled = Callable[[int], bool]
_OURS = (KeyboardInterrupt, GeneratorExit, LinkClosed)  # exceptions that are not an answer


@dataclass(slots=True)
class _Call:
    """One call on its way.

    Attributes:
        items: The headers of its requests.
        arguments: Of the requests that could be decoded, by position in `items`.
        answers: By position in `items`; what could not be decoded has its answer from the start.
        sizes: Of the requests that were measured, by identifier.
        compute_s: How long the user's function ran.
        has_raised: Whether it raised, so that the time says nothing of the next call's.
    """

    id: int
    endpoint: Served
    items: list[dict[str, Any]]
    arguments: dict[int, dict[str, Any]]
    answers: dict[int, Answer]
    sizes: dict[int, float]
    compute_s: float = 0.0
    has_raised: bool = False


@dataclass(frozen=True, slots=True)
class _Raised:
    """What the user's function raised."""

    error: BaseException


class Caller:
    """Calls one generation's endpoints.

    Attributes:
        needs_loop: Whether some endpoint is async, so that an event loop must read the link.
        staging: What came ahead of its call.
        before_answer: Called when a sync call is done and not yet answered: to look at what came ahead meanwhile.
    """

    def __init__(self, plan: Plan, models: dict[str, Any], send: Send, project: Project) -> None:
        self._endpoints = {e.spec.name: Served.of(e, project) for e in plan.endpoints}
        self._models = models
        self._send = send
        self._project = project
        self.needs_loop = any(e.spec.kind == "async" for e in plan.endpoints)
        self.staging = Staging(self._endpoints, send)
        self.before_answer: Callable[[], None] = lambda: None

    def is_async(self, message: Message) -> bool:
        """Whether a call is one for `handle_async`."""
        return self._endpoints[message.header["endpoint"]].spec.kind == "async"

    def refuse(self, message: Message) -> None:
        """Answer a call whose client went away before it began."""
        header = message.header
        self.staging.take_in(Message({"kind": "drop", "ids": [item["id"] for item in header["items"]]}))
        if self._endpoints[header["endpoint"]].spec.is_stream:
            for item in header["items"]:
                self._end(header["id"], item["id"], 0.0, CANCELLED.error)
        else:
            self._send(*result_frame(header["id"], 0.0, [(item["id"], CANCELLED) for item in header["items"]]))

    def handle(self, message: Message, is_cancelled: IsCancelled = lambda _: False) -> None:
        """Run a call of a sync endpoint and send its answers.

        Args:
            message: The call frame.
            is_cancelled: Asked between a stream's items: whether the client of a call is gone.
        """
        call = self._open(message)
        if call.endpoint.spec.is_stream:
            for position, item in enumerate(call.items):
                self._stream(call, position, item, is_cancelled)
            return
        for positions in _runs(call):
            self._run(call, positions)
        self.before_answer()
        self._answer(call)

    async def handle_async(self, message: Message) -> None:
        """Run a call of an async endpoint and send its answers. Cancel the task when the client is gone."""
        call = self._open(message)
        if call.endpoint.spec.is_stream:
            for position, item in enumerate(call.items):
                await self._stream_async(call, position, item)
            return
        for positions in _runs(call):
            if not await self._run_async(call, positions):
                self.refuse(message)
                return
        self._answer(call)

    # --- the function -------------------------------------------------------------------------------------------

    def _run(self, call: _Call, positions: list[int]) -> None:
        """Call the function for some requests; if it raises, once more for fewer, as the batch says."""
        parts = [positions]
        while parts:
            part = parts.pop()
            began_s = time.perf_counter()
            try:
                result = contextvars.copy_context().run(call.endpoint.spec.function, **self._given(call, part))
            except BaseException as error:  # noqa: BLE001 - whatever the user's code raises is an answer
                result = _Raised(error)
            call.compute_s += time.perf_counter() - began_s
            parts += self._settle(call, part, result)

    async def _run_async(self, call: _Call, positions: list[int]) -> bool:
        """Do as `_run`; False if the call was cancelled."""
        parts = [positions]
        while parts:
            part = parts.pop()
            began_s = time.perf_counter()
            try:
                result = call.endpoint.spec.function(**self._given(call, part))
                result = await result if inspect.isawaitable(result) else result
            except BaseException as error:  # noqa: BLE001 - whatever the user's code raises is an answer
                if _is_cancellation(error):
                    return False
                result = _Raised(error)
            call.compute_s += time.perf_counter() - began_s
            parts += self._settle(call, part, result)
        return True

    # --- one call -----------------------------------------------------------------------------------------------

    def _open(self, message: Message) -> _Call:
        header = message.header
        call = _Call(header["id"], self._endpoints[header["endpoint"]], header["items"], {}, {}, {})
        offset = 0
        for position, item in enumerate(call.items):
            end = offset + item["size"]
            if item.get("is_staged"):
                entry = self.staging.pop(item["id"])
            else:
                entry = call.endpoint.read(item, message.payload[offset:end])
            offset = end
            if isinstance(entry, Answer):
                call.answers[position] = entry
                continue
            call.arguments[position] = entry.arguments
            if call.endpoint.has_key:
                call.sizes[item["id"]] = entry.size
        return call

    def _given(self, call: _Call, positions: list[int]) -> dict[str, Any]:
        """Put together the arguments: the request's, or lists of several requests', and the models."""
        planned = call.endpoint.planned
        given = {name: self._models[name] for name in planned.injected}
        if planned.spec.batch is None:
            return {**call.arguments[positions[0]], **given}
        for parameter in planned.parameters:  # one without a value has a default: None, for a batch
            given[parameter.name] = [call.arguments[position].get(parameter.name) for position in positions]
        return given

    def _settle(self, call: _Call, positions: list[int], result: Any) -> list[list[int]]:
        """Turn what the function gave into answers; gives the parts for which it has to be called again."""
        spec = call.endpoint.spec
        if isinstance(result, _Raised):
            call.has_raised = True
            parts = _parts(spec, positions, result.error)
            if not parts:
                call.answers.update(dict.fromkeys(positions, self._failure(result.error)))
            return parts
        if spec.batch is None:
            call.answers[positions[0]] = self._encoded(spec, call.items[positions[0]], result)
        elif not has_length(result, len(positions)):
            call.answers.update(dict.fromkeys(positions, self._failure(wrong_length(spec, len(positions), result))))
        else:
            for position, entry in zip(positions, result, strict=True):
                call.answers[position] = self._encoded(spec, call.items[position], entry)
        return []

    def _encoded(self, spec: EndpointSpec, item: dict[str, Any], value: Any) -> Answer:
        try:
            kind, body = encode(value, item.get("accept") or "")
        except NotEncodable as error:
            return self._failure(not_encodable(spec, error))
        except Exception as error:  # noqa: BLE001 - a property or a serializer of the user's raised
            return self._failure(error)
        return Answer(200, kind, body)

    def _failure(self, error: BaseException) -> Answer:
        if isinstance(error, _OURS):
            raise error
        return failed(error, self._project)

    def _answer(self, call: _Call) -> None:
        answers = [(item["id"], call.answers[position]) for position, item in enumerate(call.items)]
        more: dict[str, Any] = {"has_raised": True} if call.has_raised else {}
        if call.sizes:
            more["sizes"] = list(call.sizes.items())
        self._send(*result_frame(call.id, call.compute_s, answers, **more))

    # --- streams ------------------------------------------------------------------------------------------------

    def _stream(self, call: _Call, position: int, item: dict[str, Any], is_cancelled: IsCancelled) -> None:
        if position in call.answers:
            self._end_badly(call, item, None, call.answers[position])
            return
        context = contextvars.copy_context()  # one for the whole stream, so that what it sets stays set
        writer: StreamWriter | None = None
        iterator: Iterator[Any] | None = None
        try:
            iterator = iter(context.run(call.endpoint.spec.function, **self._given(call, [position])))
            for value in _timed(iterator, context, call):
                writer = self._send_item(call, item, writer, value)
                if is_cancelled(call.id):
                    context.run(_close, iterator)
                    self._end(call.id, item["id"], call.compute_s, CANCELLED.error)
                    return
        except BaseException as error:  # noqa: BLE001 - whatever the user's code raises is an answer
            self._end_badly(call, item, writer, self._stream_failure(call, error))
            return
        self._end_well(call, item, writer)

    async def _stream_async(self, call: _Call, position: int, item: dict[str, Any]) -> None:
        import asyncio

        if position in call.answers:
            self._end_badly(call, item, None, call.answers[position])
            return
        writer: StreamWriter | None = None
        began_s = time.perf_counter()
        iterator: Any = None
        try:
            iterator = call.endpoint.spec.function(**self._given(call, [position]))
            async for value in iterator:
                call.compute_s = time.perf_counter() - began_s
                writer = self._send_item(call, item, writer, value)
                await asyncio.sleep(0)  # a generator that never waits must not shut out the others
        except BaseException as error:  # noqa: BLE001 - whatever the user's code raises is an answer
            self._end_badly(call, item, writer, self._stream_failure(call, error))
            return
        finally:
            if hasattr(iterator, "aclose"):
                await iterator.aclose()
        self._end_well(call, item, writer)

    def _send_item(self, call: _Call, item: dict[str, Any], writer: StreamWriter | None, value: Any) -> StreamWriter:
        header: dict[str, Any] = {"kind": "chunk", "id": call.id, "item": item["id"]}
        if writer is None:
            writer = StreamWriter(item.get("accept") or "")
            header |= {"type": writer.start(value), "status": 200}
        self._send(header, writer.write(value))
        return writer

    def _stream_failure(self, call: _Call, error: BaseException) -> Answer:
        if _is_cancellation(error):
            return CANCELLED
        if isinstance(error, NotEncodable):
            error = not_encodable(call.endpoint.spec, error)
        return self._failure(error)

    def _end_badly(self, call: _Call, item: dict[str, Any], writer: StreamWriter | None, answer: Answer) -> None:
        """End a stream with an error: as a response of its own if nothing was sent yet."""
        header: dict[str, Any] = {"kind": "chunk", "id": call.id, "item": item["id"]}
        if writer is None and answer is not CANCELLED:
            self._send({**header, "type": answer.type, "status": answer.status}, answer.body)
            self._end(call.id, item["id"], call.compute_s, "")
            return
        last = b"" if writer is None or answer is CANCELLED else writer.write_error(answer)
        if last:
            self._send(header, last)
        self._end(call.id, item["id"], call.compute_s, answer.error)

    def _end_well(self, call: _Call, item: dict[str, Any], writer: StreamWriter | None) -> None:
        if writer is None:
            kind = StreamWriter(item.get("accept") or "").start(None)
            self._send({"kind": "chunk", "id": call.id, "item": item["id"], "type": kind, "status": 200}, b"")
        self._end(call.id, item["id"], call.compute_s, "")

    def _end(self, call_id: int, item_id: int, compute_s: float, error: str) -> None:
        header: dict[str, Any] = {"kind": "end", "id": call_id, "item": item_id, "compute_s": compute_s}
        self._send({**header, "error": error} if error else header, b"")


def _runs(call: _Call) -> list[list[int]]:
    """Say which requests go into one call of the function: all of a batch, else each alone."""
    positions = list(call.arguments)
    if call.endpoint.spec.batch is not None:
        return [positions] if positions else []
    return [[position] for position in positions]


def _parts(spec: EndpointSpec, positions: list[int], error: BaseException) -> list[list[int]]:
    """Say for which of a batch's requests the function is called again, last first; none if all of them fail."""
    on_error = "fail" if spec.batch is None else spec.batch.on_error
    if len(positions) == 1 or on_error == "fail" or isinstance(error, _OURS):
        return []
    if on_error == "single":
        return [[position] for position in reversed(positions)]
    middle = len(positions) // 2
    return [positions[middle:], positions[:middle]]


def _timed(iterator: Iterator[Any], context: contextvars.Context, call: _Call) -> Iterator[Any]:
    """Step through the user's generator in its context; only its own time counts."""
    nothing = object()
    while True:
        began_s = time.perf_counter()
        try:
            value = context.run(next, iterator, nothing)
        finally:
            call.compute_s += time.perf_counter() - began_s
        if value is nothing:
            return
        yield value


def _close(iterator: Any) -> None:
    if hasattr(iterator, "close"):
        iterator.close()


def _is_cancellation(error: BaseException) -> bool:
    return type(error).__name__ == "CancelledError" and type(error).__module__.startswith("asyncio")
