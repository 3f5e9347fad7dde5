# pyright: basic
# The functions, the arguments and the results are the user's.
"""Run the calls that the runtime sends: decode the requests, call the function, send the answers.

A call is answered exactly once, whatever happens in it. Nothing here reads the link; `serving` does.
"""

from __future__ import annotations

import contextvars
import inspect
import time
from collections.abc import Callable
from functools import partial
from itertools import chain
from typing import Any

from hotloop.frozen import frozen
from hotloop.gpu_runtime.user_env import arrays
from hotloop.gpu_runtime.user_env.advice import Holders
from hotloop.gpu_runtime.user_env.answers import (
    CANCELLED,
    Answer,
    alike_frame,
    entries_of,
    failed,
    not_encodable,
    result_frame,
    wrong_length,
)
from hotloop.gpu_runtime.user_env.app import EndpointSpec
from hotloop.gpu_runtime.user_env.doubles import NOTHING, Allowance
from hotloop.gpu_runtime.user_env.items import items as items_of
from hotloop.gpu_runtime.user_env.jsonable import NotEncodable
from hotloop.gpu_runtime.user_env.opened import OURS, Opened, is_cancellation, parts
from hotloop.gpu_runtime.user_env.operations import Learner
from hotloop.gpu_runtime.user_env.outbox import Channel, Outbox
from hotloop.gpu_runtime.user_env.resolve import Plan
from hotloop.gpu_runtime.user_env.served import Served
from hotloop.gpu_runtime.user_env.serving import serve
from hotloop.gpu_runtime.user_env.source import Project
from hotloop.gpu_runtime.user_env.staging import Staging
from hotloop.gpu_runtime.user_env.streaming import NOBODY, Gone, Streamer
from hotloop.gpu_runtime.user_env.values import JSON, encode, encode_alike, takes_json
from hotloop.gpu_runtime.user_env.variables import Variables
from hotloop.gpu_runtime.user_env.vault import cuda
from hotloop.gpu_runtime.user_env.wire import Message

__all__ = ["Caller", "serve"]

Send = Callable[[dict[str, Any], Any], None]


@frozen
class _Raised:
    """What the user's function raised."""

    error: BaseException


def _tell_nobody(*_: Any) -> None: ...


class Caller:
    """Calls one generation's endpoints.

    Attributes:
        is_broken: Whether nothing more can be called here: the process has to be replaced.
        needs_loop: Whether some endpoint is async, so that an event loop must read the link.
        staging: What came ahead of its call.
        before_answer: Called when a sync call is done and not yet answered: to look at what came ahead meanwhile.
    """

    def __init__(
        self,
        plan: Plan,
        models: dict[str, Any],
        send: Send,
        project: Project,
        learner: Learner | None = None,
        variables: Variables | None = None,
        holders: Holders = (),
    ) -> None:
        self._failed = partial(failed, project=project, variables=variables, holders=holders)
        self._endpoints = {e.spec.name: Served.of(e, self._failed, learner) for e in plan.endpoints}
        self._models = models
        self._send = send
        self._outbox = Outbox(send)
        self._streamer = Streamer(models, self._outbox, self._failure)
        self.needs_loop = any(e.spec.kind == "async" for e in plan.endpoints)
        self.staging = Staging(self._endpoints, send)
        self.before_answer: Callable[[], None] = lambda: None
        self.is_broken = False

    def close(self) -> None:
        """Let go of what only calls need."""
        self._outbox.close()

    def leave(self) -> None:
        """Answer nothing more: the process ends, and who still waits is answered, or tried again elsewhere, when it has."""
        self._send = _tell_nobody
        self._outbox.leave(_tell_nobody)

    def is_async(self, message: Message) -> bool:
        """Whether a call is one for `handle_async`."""
        return self._endpoints[message.header["endpoint"]].spec.kind == "async"

    def refuse(self, message: Message) -> None:
        """Answer a call whose client went away before it began."""
        header = message.header
        items = items_of(header)
        self.staging.take_in(Message({"kind": "drop", "ids": [item["id"] for item in items]}))
        if self._endpoints[header["endpoint"]].spec.is_stream:
            for item in items:
                self._outbox.end(Channel(header["id"], item["id"]), 0.0, CANCELLED.error)
            self._outbox.flush()
        else:
            self._send(*result_frame(header["id"], 0.0, [(item["id"], CANCELLED) for item in items]))

    def handle(self, message: Message, gone: Gone = NOBODY) -> None:
        """Run a call of a sync endpoint and send its answers.

        Args:
            message: The call frame.
            gone: Asked, within a stream and between the parts of a batch that failed, whose clients are gone.
        """
        call = self._open(message)
        if call.endpoint.spec.is_stream:
            self._streamer.run(call, gone)
            return
        for positions in call.runs():
            self._run(call, positions, gone)
        self.before_answer()
        self._answer(call)

    async def handle_async(self, message: Message, gone: Gone = NOBODY) -> None:
        """Run a call of an async endpoint and send its answers. Cancel the task when the client is gone."""
        call = self._open(message)
        if call.endpoint.spec.is_stream:
            await self._streamer.run_async(call, gone)
            return
        for positions in call.runs():
            if not await self._run_async(call, positions):
                self.refuse(message)
                return
        self._answer(call)

    # --- the function -------------------------------------------------------------------------------------------

    def _run(self, call: Opened, positions: list[int], gone: Gone) -> None:
        """Call the function for some requests; if it raises, once more for fewer, as the batch says."""
        left = [positions]
        while left:
            part = left.pop()
            began_s = time.perf_counter()
            try:
                result = contextvars.copy_context().run(call.endpoint.spec.function, **call.given(part, self._models))
            except BaseException as error:  # noqa: BLE001 - whatever the user's code raises is an answer
                result = _Raised(error)
            call.compute_s += time.perf_counter() - began_s
            left += self._settle(call, part, result)
            if left and gone.is_cancelled(call.id):
                call.answers.update(dict.fromkeys(chain.from_iterable(left), CANCELLED))
                return

    async def _run_async(self, call: Opened, positions: list[int]) -> bool:
        """Do as `_run`; False if the call was cancelled."""
        left = [positions]
        while left:
            part = left.pop()
            began_s = time.perf_counter()
            try:
                result = call.endpoint.spec.function(**call.given(part, self._models))
                result = await result if inspect.isawaitable(result) else result
            except BaseException as error:  # noqa: BLE001 - whatever the user's code raises is an answer
                if is_cancellation(error):
                    return False
                result = _Raised(error)
            call.compute_s += time.perf_counter() - began_s
            left += self._settle(call, part, result)
        return True

    # --- one call -----------------------------------------------------------------------------------------------

    def _open(self, message: Message) -> Opened:
        header = message.header
        call = Opened(header["id"], self._endpoints[header["endpoint"]], items_of(header), header.get("like"))
        if call.like is not None:
            read = call.endpoint.read_alike(call.like, header["lengths"], message.payload)
            if read is not None:
                call.arguments = dict(enumerate(read))
                return call
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

    def _settle(self, call: Opened, positions: list[int], result: Any) -> list[list[int]]:
        """Turn what the function gave into answers; gives the parts for which it has to be called again."""
        spec = call.endpoint.spec
        if isinstance(result, _Raised):
            call.has_raised = True
            again = parts(spec, positions, result.error)
            if not again:
                call.answers.update(dict.fromkeys(positions, self._failure(result.error)))
            return again
        results = [result] if spec.batch is None else result
        is_whole = type(results) is list and len(results) == len(positions) == len(call.items)
        # What runs beside other calls may have waited for most of its time; for one request alone nothing is gained.
        allowance = Allowance(call.compute_s) if spec.kind == "sync" and len(positions) > 1 else NOTHING
        if call.like is not None and is_whole and not allowance.num_left:
            call.bodies = encode_alike(results, call.like.get("accept", ""))
            if call.bodies is not None:
                return []
        if spec.batch is None:
            call.answers[positions[0]] = self._encoded(spec, call.items[positions[0]], result, may_view=True)
            return []
        entries = self._entries(spec, len(positions), result)
        if isinstance(entries, Answer):
            call.answers.update(dict.fromkeys(positions, entries))
            return []
        is_last = len(positions) == len(call.arguments)  # else the next run may write into the same array
        for position, entry in zip(positions, entries, strict=True):
            call.answers[position] = self._encoded(spec, call.items[position], entry, allowance, may_view=is_last)
        return []

    def _entries(self, spec: EndpointSpec, count: int, result: Any) -> list[Any] | Answer:
        """Give a batch's results, one a request, or the answer that says why there are none."""
        try:
            entries = entries_of(result)
        except Exception as error:  # noqa: BLE001 - a sequence of the user's raised
            return self._failure(error)
        if entries is None or len(entries) != count:
            return self._failure(wrong_length(spec, count, result, entries))
        return entries

    def _encoded(
        self,
        spec: EndpointSpec,
        item: dict[str, Any],
        value: Any,
        allowance: Allowance = NOTHING,
        *,
        may_view: bool,
    ) -> Answer:
        accept = item.get("accept") or ""
        try:
            if may_view and arrays.NPY in accept and arrays.can_be_npy(value):
                head, numbers = arrays.npy_parts(arrays.as_numpy(value))
                return Answer(200, arrays.NPY, head, tail=numbers)
            if allowance.num_left and takes_json(accept):
                row = arrays.to_lists(value) if arrays.is_row_of_floats(value) else value
                if (raw := allowance.take(row)) is not None:
                    return Answer(200, JSON, raw, is_doubles=True)
            kind, body = encode(value, accept)
        except NotEncodable as error:
            return self._failure(not_encodable(spec, error))
        except Exception as error:  # noqa: BLE001 - a property or a serializer of the user's raised
            return self._failure(error)
        return Answer(200, kind, body)

    def _failure(self, error: BaseException) -> Answer:
        if isinstance(error, OURS):
            raise error
        if not self.is_broken and cuda.is_context_dead():
            self.is_broken = True
            text = (
                f"this process can't use the GPU any more ({type(error).__name__}); a new one takes over, models kept"
            )
            self._send({"kind": "notice", "key": "gpu", "text": text}, b"")
        return self._failed(error)

    def _answer(self, call: Opened) -> None:
        more: dict[str, Any] = {"has_raised": True} if call.has_raised else {}
        if call.sizes:
            more["sizes"] = list(call.sizes.items())
        if call.bodies is not None:
            ids = [item["id"] for item in call.items]
            self._send(*alike_frame(call.id, call.compute_s, ids, call.bodies, **more))
            return
        answers = [(item["id"], call.answers[position]) for position, item in enumerate(call.items)]
        self._send(*result_frame(call.id, call.compute_s, answers, **more))
