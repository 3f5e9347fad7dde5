"""Carries a bench out: writes the request, has a process of its own send it, kills that one when a save comes."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hotloop.devloop.load import target
from hotloop.devloop.load.job import Job, Result
from hotloop.errors import HotloopError
from hotloop.events import Problem
from hotloop.gpu_runtime.user_env.client import address as addresses
from hotloop.gpu_runtime.user_env.client import request
from hotloop.gpu_runtime.user_env.client.endpoints import Endpoint, chosen

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Awaitable, Callable, Sequence

    from hotloop.devloop.bench import Begin
    from hotloop.events import EndpointShape

COMMAND = (sys.executable, "-P", "-m", "hotloop.devloop.load.process")
SLACK_S = 28.0  # beside the load that counts: a call is waited for 5 s before and after it
DATA_HINT = """say what it is called with: --bench-data '{"text": "a cat"}'; or send it a request and pin it: p Enter"""
_MARK = f"{request.PROBE_HEADER}: bench"  # a request of hotloop's own: it is in no log, and is not what p pins


class Bencher:
    """Carries out one bench at a time.

    Args:
        data: Arguments of the request as JSON; empty: those of a pinned request, else none.
        pinned: Gives the pinned requests.
    """

    def __init__(self, data: str, pinned: Callable[[], Awaitable[Sequence[dict[str, Any]]]]) -> None:
        self._data = data
        self._pinned = pinned
        self._process: Process | None = None
        self._task: asyncio.Task[None] | None = None

    def begin(self, url: str, begin: Begin, done: Callable[[Result], None]) -> asyncio.Task[None]:
        """Bench, then tell what it came to; cancelling the task leaves no process.

        Args:
            url: Of the served app.
            begin: What to bench.
            done: Told the result, unless `stop` comes first.
        """

        async def bench() -> None:
            done(await self._carry_out(url, begin))

        self._task = asyncio.create_task(bench(), name=f"bench {begin.number}")
        return self._task

    def stop(self) -> None:
        """End the bench under way, at once."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        if self._task is not None:
            self._task.cancel()

    async def _carry_out(self, url: str, begin: Begin) -> Result:
        try:
            pins = () if self._data else await self._pinned()
            written = write_request(url, begin.endpoint, self._data, pins)
            async with asyncio.timeout(begin.duration_s + SLACK_S):
                job = Job(url, begin.endpoint.path, written, begin.before, begin.noise, begin.duration_s)
                result = await self._run(job)
        except HotloopError as error:
            return Result(problem=Problem(type(error).__name__, error.message, hint=error.hint))
        except (OSError, ValueError) as error:  # `TimeoutError` is an OSError
            return Result(problem=Problem("BenchFailed", f"it ended without a result: {str(error) or 'not in time'}"))
        return result if self._data or _pin_of(begin.endpoint, pins) is not None else _with_hint(result)

    async def _run(self, job: Job) -> Result:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*COMMAND, stdin=pipe, stdout=pipe, stderr=pipe)
        self._process = process
        try:
            if process.stdin is None or process.stdout is None or process.stderr is None:
                msg = "it has no pipes"
                raise OSError(msg)
            process.stdin.write(job.to_line())
            line = await process.stdout.readline()
            if not line:
                said = (await process.stderr.read()).decode(errors="replace").strip().splitlines()
                raise OSError(said[-1] if said else "it said nothing")
            return Result.from_line(line)
        finally:
            if self._process is process:  # the next one may have begun while this one was ended
                self._process = None
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def write_request(url: str, endpoint: EndpointShape, data: str, pins: Sequence[dict[str, Any]]) -> bytes:
    """Write the request that is sent again and again: with the data given, else as one of its requests was pinned.

    Raises:
        UsageError: The data are no arguments of the endpoint.
    """
    address = replace(addresses.parse(url), proxy=None)
    pin = None if data else _pin_of(endpoint, pins)
    if pin is not None:
        lines = (*(request.header(name, value) for name, value in pin["headers"].items()), _MARK)
        content = request.Content("", "", base64.b64decode(pin["body"]))
        return request.write(address, pin["method"], pin["path"], content, lines)
    found = Endpoint(endpoint.name, endpoint.path, chosen(endpoint.methods))
    content = target.fitting(found, target.json_content(data or "{}", "--bench-data"))
    return request.write(address, found.method, found.path, content, (f"accept: {request.ACCEPT}", _MARK))


def _pin_of(endpoint: EndpointShape, pins: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    return next((pin for pin in pins if pin["path"].partition("?")[0] == endpoint.path), None)


def _with_hint(result: Result) -> Result:
    """Where nothing was said about the arguments, that is what an endpoint refuses."""
    problem = result.problem
    if problem is None or problem.type != "BenchRefused":
        return result
    return replace(result, problem=replace(problem, hint=DATA_HINT))
