# pyright: basic
# The generators and what they yield are the user's.
"""Run the generators: each stream is ended exactly once, and the generator is closed whatever happens.

A batched one is told whose clients have gone: that is the value of its ``yield``.
"""

from __future__ import annotations

import contextvars
import time
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from typing import Any, Protocol

from hotloop.gpu_runtime.user_env.opened import Opened, is_cancellation, parts
from hotloop.gpu_runtime.user_env.outbox import Outbox
from hotloop.gpu_runtime.user_env.readers import Failure, Reader, Readers

TURN_S = 0.0005  # how long an async generator that never waits may shut out the others
LOOK_S = 0.02  # how often it is looked whether a generator is read still that yields nothing to send

_NOTHING = object()
_now = time.perf_counter


class Gone(Protocol):
    """Knows whose clients have gone."""

    def is_cancelled(self, call_id: int) -> bool:
        """Whether all clients of a call are gone; looks at the link."""
        ...

    @property
    def left(self) -> AbstractSet[int]:
        """The requests whose clients are gone while others of their call are not."""
        ...


class _Nobody:
    left: AbstractSet[int] = frozenset()

    def is_cancelled(self, call_id: int) -> bool:
        del call_id
        return False


NOBODY: Gone = _Nobody()


class Streamer:
    """Runs the generators of one generation.

    Args:
        models: By name.
        outbox: Sends what they yield.
        failure: Makes an answer of what the user's code raised.
    """

    def __init__(self, models: dict[str, Any], outbox: Outbox, failure: Failure) -> None:
        self._models = models
        self._outbox = outbox
        self._failure = failure

    def run(self, call: Opened, gone: Gone) -> None:
        """Run a call of a sync generator, to its end or until all its clients are gone."""
        self._refuse_unread(call)
        left = call.runs()
        while left:
            left += self._run(call, left.pop(), gone)
            if left and gone.is_cancelled(call.id):
                for positions in left:
                    self._readers(call, positions).cancel()
                return

    async def run_async(self, call: Opened, gone: Gone) -> None:
        """Run a call of an async generator. Cancel the task when all its clients are gone."""
        self._refuse_unread(call)
        left = call.runs()
        while left:
            left += await self._run_async(call, left.pop(), gone)

    def _refuse_unread(self, call: Opened) -> None:
        """Answer the requests that could not be read."""
        if call.answers:
            self._readers(call, list(call.answers)).refuse(call.answers)

    def _readers(self, call: Opened, positions: list[int]) -> Readers:
        return Readers(call, positions, self._outbox, self._failure)

    # --- sync ---------------------------------------------------------------------------------------------------

    def _run(self, call: Opened, positions: list[int], gone: Gone) -> list[list[int]]:
        """Run the generator for some requests; gives the parts for which it has to be run again."""
        readers = self._readers(call, positions)
        context = contextvars.copy_context()  # one for the whole stream, so that what it sets stays set
        iterator: Iterator[Any] | None = None
        is_read = True
        try:
            try:
                iterator = iter(context.run(call.endpoint.spec.function, **call.given(positions, self._models)))
                is_read = self._pump(call, iterator, context, readers, gone)
            finally:
                context.run(_close, iterator)
        except BaseException as error:  # noqa: BLE001 - whatever the user's code raises is an answer
            return _again(call, positions, readers, error)
        readers.finish() if is_read else readers.cancel()
        return []

    @staticmethod
    def _pump(
        call: Opened, iterator: Iterator[Any], context: contextvars.Context, readers: Readers, gone: Gone
    ) -> bool:
        """Take what the generator yields until it ends, or nobody reads it: then False."""
        if readers.only is not None:
            return _pump_one(call, iterator, context, readers, readers.only, gone)
        return _pump_batch(call, iterator, context, readers, gone)

    # --- async --------------------------------------------------------------------------------------------------

    async def _run_async(self, call: Opened, positions: list[int], gone: Gone) -> list[list[int]]:
        readers = self._readers(call, positions)
        iterator: Any = None
        try:
            try:
                iterator = call.endpoint.spec.function(**call.given(positions, self._models)).__aiter__()
                await _pump_async(call, iterator, readers, gone)
            finally:
                if hasattr(iterator, "aclose"):
                    await iterator.aclose()
        except BaseException as error:  # noqa: BLE001 - whatever the user's code raises is an answer
            if is_cancellation(error):
                readers.cancel()
                return []
            return _again(call, positions, readers, error)
        readers.finish()
        return []


def _pump_one(
    call: Opened, iterator: Iterator[Any], context: contextvars.Context, readers: Readers, reader: Reader, gone: Gone
) -> bool:
    run, put = context.run, readers.put
    looked_s = resumed_s = _now()
    while True:
        try:
            value = run(next, iterator, _NOTHING)
        finally:
            now_s = _now()
            call.compute_s += now_s - resumed_s
            resumed_s = now_s
        if value is _NOTHING:
            return True
        if put(reader, value, now_s) or now_s - looked_s > LOOK_S:  # time to look whether it is read
            looked_s = now_s
            if gone.is_cancelled(call.id):
                return False
            resumed_s = _now()  # to send is not the generator's time


def _pump_batch(
    call: Opened, iterator: Iterator[Any], context: contextvars.Context, readers: Readers, gone: Gone
) -> bool:
    is_told = hasattr(iterator, "send")
    given: frozenset[int] | None = None  # what a generator is sent first
    looked_s = _now()
    while readers.are_open:
        resumed_s = _now()
        try:
            value = context.run(iterator.send, given) if is_told else context.run(next, iterator)  # pyright: ignore[reportAttributeAccessIssue]
        except StopIteration:
            return True
        finally:
            now_s = _now()
            call.compute_s += now_s - resumed_s
        if readers.take(value, now_s) or now_s - looked_s > LOOK_S:
            looked_s = now_s
            if gone.is_cancelled(call.id):
                return False
            if gone.left:
                readers.leave(gone.left)
        given = readers.taken_away()
    return True


async def _pump_async(call: Opened, iterator: Any, readers: Readers, gone: Gone) -> None:
    import asyncio

    reader = readers.only
    is_told = reader is None and hasattr(iterator, "asend")
    given: frozenset[int] | None = None
    began_s = resumed_s = _now()
    while readers.are_open:
        try:
            value = await (iterator.asend(given) if is_told else iterator.__anext__())
        except StopAsyncIteration:
            return
        now_s = _now()
        call.compute_s = now_s - began_s
        if reader is not None:
            readers.put(reader, value, now_s)
        else:
            readers.take(value, now_s)
            if gone.left:
                readers.leave(gone.left)
            given = readers.taken_away()
        if now_s - resumed_s >= TURN_S:
            await asyncio.sleep(0)
            resumed_s = _now()


def _again(call: Opened, positions: list[int], readers: Readers, error: BaseException) -> list[list[int]]:
    """End the streams with what was raised, or, if nothing was yielded yet, have parts of the batch tried again."""
    call.has_raised = True
    if not readers.have_begun and (again := parts(call.endpoint.spec, positions, error)):
        return again
    readers.fail(error)
    return []


def _close(iterator: Any) -> None:
    if hasattr(iterator, "close"):
        iterator.close()
