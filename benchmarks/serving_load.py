"""Closed-loop load: each of so many clients sends its next request when it has its answer."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import uvloop

from benchmarks.serving_burst import Burst
from benchmarks.serving_client import Answer, Client

WARM_UP_S = 0.3
TIMEOUT_S = 90.0


class LoadFailed(Exception):
    """The server did not answer; the text says what was seen."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked of a server.

    Attributes:
        requests: Sent in turn, whole.
        num_clients: How many wait for an answer at any time.
        window_s: How long answers are counted, once every client has had one.
        sample_every: Of so many answers one is kept for a look at its body.
        timeout_s: The longest wait for the first answers, and for the last ones.
    """

    port: int
    requests: Sequence[bytes]
    num_clients: int
    window_s: float
    sample_every: int = 17
    timeout_s: float = TIMEOUT_S


def run(load: Load) -> Burst:
    """Load a server, and give what it answered.

    Raises:
        LoadFailed: It stopped answering.
        OSError: Nothing listens.
    """
    gc.collect()
    gc.disable()  # a pause of the generator's would be the server's latency
    try:
        return uvloop.run(_Loop(load).run())
    finally:
        gc.enable()


class _Loop:
    def __init__(self, load: Load) -> None:
        self._load = load
        self._burst = Burst()
        self._num_sent = 0
        self._num_answers = 0
        self._num_busy = 0
        self._is_stopping = False
        self._warm = asyncio.Event()
        self._idle = asyncio.Event()
        self._clients: set[Client] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> Burst:
        load, burst = self._load, self._burst
        for _ in range(load.num_clients):
            self._num_busy += 1
            await self._connect()
        await self._wait(self._warm, "every client has an answer")
        await asyncio.sleep(WARM_UP_S)
        burst.opens_s = perf_counter()
        await asyncio.sleep(load.window_s)
        burst.closes_s = perf_counter()
        self._is_stopping = True
        await self._wait(self._idle, "what was under way is answered")
        for client in self._clients:
            client.close()
        return burst

    async def _wait(self, event: asyncio.Event, what: str) -> None:
        try:
            async with asyncio.timeout(self._load.timeout_s):
                await event.wait()
        except TimeoutError:
            seen = f"{len(self._burst.done_s)} good answers, others {dict(self._burst.bad)}"
            msg = f"not within {self._load.timeout_s:.0f} s: {what}; {seen} {self._burst.first_bad[:200]!r}"
            raise LoadFailed(msg) from None

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        _, client = await loop.create_connection(lambda: Client(self._answered), "127.0.0.1", self._load.port)
        self._clients.add(client)
        self._send(client)

    def _send(self, client: Client) -> None:
        number = self._num_sent % len(self._load.requests)
        self._num_sent += 1
        client.send(self._load.requests[number], number)

    def _answered(self, client: Client, answer: Answer) -> None:
        self._record(client, answer)
        if self._is_stopping:
            self._retire()
        elif client.is_open:
            self._send(client)
        else:
            self._replace(client)

    def _record(self, client: Client, answer: Answer) -> None:
        burst = self._burst
        self._num_answers += 1
        if self._num_answers == self._load.num_clients:
            self._warm.set()
        if answer.status != 200:
            burst.bad[answer.status] += 1
            burst.first_bad = burst.first_bad or answer.body
            return
        burst.done_s.append(answer.done_s)
        burst.took_s.append(answer.done_s - answer.sent_s)
        if self._num_answers % self._load.sample_every == 0:
            burst.samples.append((client.tag, answer.body))

    def _replace(self, client: Client) -> None:
        """Open another connection for one that the server closed."""
        self._clients.discard(client)
        task = asyncio.get_running_loop().create_task(self._connect())
        self._tasks.add(task)
        task.add_done_callback(self._reconnected)

    def _reconnected(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._burst.bad[0] += 1  # the server is gone for this client; what the others get is still counted
            self._retire()

    def _retire(self) -> None:
        self._num_busy -= 1
        if not self._num_busy:
            self._warm.set()
            self._idle.set()
