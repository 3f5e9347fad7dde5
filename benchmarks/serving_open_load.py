"""Open-loop load: requests leave at a fixed rate, whatever the server does with those before."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter

import uvloop

from benchmarks.serving_client import Answer, Client

MAX_CONNECTIONS = 8192
DRAIN_S = 60.0
SAMPLE_EVERY = 7


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request that was due, and its answer.

    Attributes:
        status: The HTTP status; 0 if it broke, was never answered, or found no connection.
        due_s: When it was due, `time.perf_counter`.
        took_s: From then on, so that a generator that is late hides nothing.
    """

    status: int
    due_s: float
    took_s: float


@dataclass(slots=True)
class OpenBurst:
    """All arrivals of one run.

    Attributes:
        began_s: When the first was due.
        ended_s: When the load was over.
        num_due: How many were due.
        samples: Bodies of some good answers, with the number of their request.
    """

    began_s: float = 0.0
    ended_s: float = 0.0
    num_due: int = 0
    arrivals: list[Arrival] = field(default_factory=list[Arrival])
    samples: list[tuple[int, bytes]] = field(default_factory=list[tuple[int, bytes]])

    def num_good_within(self) -> int:
        """Good answers that were whole while the load lasted."""
        return sum(each.status == 200 and each.due_s + each.took_s <= self.ended_s for each in self.arrivals)


def run(port: int, requests: Sequence[bytes], rate: float, seconds: float, drain_s: float = DRAIN_S) -> OpenBurst:
    """Send `rate` requests a second for so long, then wait up to `drain_s` for what is still under way."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, MAX_CONNECTIONS + 512)), hard))
    return uvloop.run(_OpenLoop(port, requests, drain_s).run(rate, seconds))


class _OpenLoop:
    def __init__(self, port: int, requests: Sequence[bytes], drain_s: float) -> None:
        self._port = port
        self._requests = requests
        self._drain_s = drain_s
        self._burst = OpenBurst()
        self._due_s: dict[int, float] = {}  # by the number of the request under way
        self._free: list[Client] = []
        self._num_connections = 0
        self._idle = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, rate: float, seconds: float) -> OpenBurst:
        burst, total = self._burst, int(rate * seconds)
        burst.began_s = perf_counter()
        while burst.num_due < total:
            num_due_now = int((perf_counter() - burst.began_s) * rate) + 1
            while burst.num_due < min(num_due_now, total):
                self._start(burst.num_due, burst.began_s + burst.num_due / rate)
                burst.num_due += 1
            await asyncio.sleep(max(0.0, burst.began_s + burst.num_due / rate - perf_counter()))
        burst.ended_s = burst.began_s + seconds
        await self._drain()
        return burst

    def _start(self, number: int, due_s: float) -> None:
        self._due_s[number] = due_s
        while self._free:
            client = self._free.pop()  # the one that was used last: the server closes those that wait long
            if client.is_open:
                self._send(client, number)
                return
            self._num_connections -= 1
        if self._num_connections >= MAX_CONNECTIONS:
            self._end(number, 0, perf_counter())
            return
        self._num_connections += 1
        task = asyncio.get_running_loop().create_task(self._connect(number))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, number: int) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, client = await loop.create_connection(lambda: Client(self._answered), "127.0.0.1", self._port)
        except OSError:
            self._num_connections -= 1
            self._end(number, 0, perf_counter())
            return
        self._send(client, number)

    def _send(self, client: Client, number: int) -> None:
        client.send(self._requests[number % len(self._requests)], number)

    def _answered(self, client: Client, answer: Answer) -> None:
        if answer.status == 200 and client.tag % SAMPLE_EVERY == 0:
            self._burst.samples.append((client.tag % len(self._requests), answer.body))
        self._end(client.tag, answer.status, answer.done_s)
        if client.is_open:
            self._free.append(client)
        else:
            self._num_connections -= 1

    def _end(self, number: int, status: int, done_s: float) -> None:
        due_s = self._due_s.pop(number, None)
        if due_s is None:  # it was given up before
            return
        self._burst.arrivals.append(Arrival(status, due_s, done_s - due_s))
        if not self._due_s:
            self._idle.set()

    async def _drain(self) -> None:
        if self._due_s:
            self._idle.clear()
            try:
                async with asyncio.timeout(self._drain_s):
                    await self._idle.wait()
            except TimeoutError:
                for number in tuple(self._due_s):
                    self._end(number, 0, perf_counter())
        for client in self._free:
            client.close()
