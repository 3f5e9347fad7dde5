# pyright: basic
# The generators and what they yield are the user's.
"""Run the generators: each stream is ended exactly once, and the generator is closed whatever happens.

A batched one is told whose clients have gone: that is the value of its ``yield``.
"""

from __future__ import annotations

import contextvars
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from hotloop.gpu_runtime.user_env.opened import Opened, is_cancellation, parts
from hotloop.gpu_runtime.user_env.outbox import Outbox
from hotloop.gpu_runtime.user_env.readers import Failure, Readers

TURN_S = 0.0005  # how long an async generator that never waits may shut out the others

_NOTHING = object()


class Gone(Protocol):
    """Knows whose clients have gone."""

    def is_cancelled(self, call_id: int) -> bool:
        """Whether all clients of a call are gone; looks at the link."""
        ...

    @property
    def left(self) -> set[int]:
        """The requests whose clients are gone while others of their call are not."""
        ...


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
        for positions in call.runs():
            left = [positions]
            while left:
                left += self._run(call, left.pop(), gone)

    async def run_async(self, call: Opened, gone: Gone) -> None:
        """Run a call of an async generator. Cancel the task when all its clients are gone."""
        self._refuse_unread(call)
        for positions in call.runs():
            left = [positions]
            while left:
                left += await self._run_async(call, left.pop(), gone)

    def _refuse_unread(self, call: Opened) -> None:
        """Answer the requests that could not be read."""
        if call.answers:
            self._readers(call, list(call.answers)).refuse(call.answers)

    def _readers(self, call: Opened, positions: list[int]) -> Readers:
        return Readers(call, positions, self._outbox, self._failure)

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

    def _pump(
        self, call: Opened, iterator: Iterator[Any], context: contextvars.Context, readers: Readers, gone: Gone
    ) -> bool:
        """Take what the generator yields until it ends, or nobody reads it: then False. Only its own time counts."""
        step, now = _stepper(call, iterator), time.perf_counter
        while readers.are_open:
            began_s = now()
            try:
                value = context.run(step, readers.taken_away)
            finally:
                call.compute_s += now() - began_s
            if value is _NOTHING:
                break
            if readers.take(value):  # something was sent: time to look who still listens
                if gone.is_cancelled(call.id):
                    return False
                readers.leave(gone.left)
        return True

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


async def _pump_async(call: Opened, iterator: Any, readers: Readers, gone: Gone) -> None:
    """Do as `Streamer._pump`."""
    import asyncio

    step, now = _async_stepper(call, iterator), time.perf_counter
    began_s = resumed_s = now()
    while readers.are_open:
        try:
            value = await step(readers.taken_away)
        except StopAsyncIteration:
            return
        now_s = now()
        call.compute_s = now_s - began_s
        readers.take(value)
        readers.leave(gone.left)
        if now_s - resumed_s >= TURN_S:
            await asyncio.sleep(0)
            resumed_s = now()


def _again(call: Opened, positions: list[int], readers: Readers, error: BaseException) -> list[list[int]]:
    """End the streams with what was raised, or, if nothing was yielded yet, have parts of the batch tried again."""
    call.has_raised = True
    if not readers.have_begun and (again := parts(call.endpoint.spec, positions, error)):
        return again
    readers.fail(error)
    return []


def _stepper(call: Opened, iterator: Iterator[Any]) -> Callable[[Callable[[], frozenset[int]]], Any]:
    """Make what steps through a generator; it tells a batched one whose clients have gone."""
    if call.endpoint.spec.batch is None or not hasattr(iterator, "send"):
        return lambda _: next(iterator, _NOTHING)
    send: Callable[[Any], Any] = iterator.send  # pyright: ignore[reportAttributeAccessIssue]
    has_begun = False

    def step(taken_away: Callable[[], frozenset[int]]) -> Any:
        nonlocal has_begun
        try:
            if has_begun:
                return send(taken_away())
            has_begun = True
            return send(None)
        except StopIteration:
            return _NOTHING

    return step


def _async_stepper(call: Opened, iterator: Any) -> Callable[[Callable[[], frozenset[int]]], Any]:
    if call.endpoint.spec.batch is None or not hasattr(iterator, "asend"):
        return lambda _: iterator.__anext__()
    has_begun = False

    def step(taken_away: Callable[[], frozenset[int]]) -> Any:
        nonlocal has_begun
        began, has_begun = has_begun, True
        return iterator.asend(taken_away() if began else None)

    return step


def _close(iterator: Any) -> None:
    if hasattr(iterator, "close"):
        iterator.close()
