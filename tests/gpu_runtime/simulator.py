"""Queues in simulated time: arrivals, one worker whose calls take what a true cost says, and what became of each request."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from hotloop.gpu_runtime.batching import Queues
from hotloop.gpu_runtime.endpoints import EndpointSpec
from hotloop.gpu_runtime.scheduler.lane import Batch
from hotloop.gpu_runtime.scheduler.waiting import ORDINARY, Wants


@dataclass(frozen=True)
class Arrival:
    at_s: float
    endpoint: str = "e"
    wants: Wants = ORDINARY
    size: int = 1


@dataclass
class Fate:
    """What became of one request.

    `passed` counts the calls that left, while it waited, with one that had come later to the same endpoint.
    """

    arrival: Arrival
    left_at_s: float = math.inf
    done_at_s: float = math.inf
    was_refused: bool = False
    was_given_up: bool = False
    passed: int = 0

    @property
    def waited_s(self) -> float:
        return self.left_at_s - self.arrival.at_s

    @property
    def took_s(self) -> float:
        return self.done_at_s - self.arrival.at_s


@dataclass
class Sent:
    at_s: float
    took_s: float
    requests: list[int]
    units: float


@dataclass
class Run:
    fates: dict[int, Fate] = field(default_factory=dict)
    calls: list[Sent] = field(default_factory=list)
    end_s: float = 0.0

    @property
    def busy_s(self) -> float:
        return sum(call.took_s for call in self.calls)

    def quantile_s(self, share: float) -> float:
        took = sorted(fate.took_s for fate in self.fates.values() if not fate.was_refused)
        return took[min(len(took) - 1, int(share * len(took)))]


def simulate(
    spec: EndpointSpec | Iterable[EndpointSpec],
    arrivals: Iterable[Arrival],
    cost_s: Callable[[float, int], float],
    *,
    weights: dict[str, float] | None = None,
    max_queued: int = 100_000,
    until_s: float = math.inf,
    again: Callable[[float], Arrival] | None = None,
) -> Run:
    """Run until everything is answered, or until a time.

    `cost_s` gives a call's true duration from its units (requests times the largest size) and its requests. `again`
    gives the next request of a client that was answered, as in a closed loop.
    """
    specs = [spec] if isinstance(spec, EndpointSpec) else list(spec)
    queues = Queues(specs, max_queued, weights or {})
    run = Run()
    todo: list[tuple[float, int, object]] = [(arrival.at_s, n, arrival) for n, arrival in enumerate(arrivals)]
    heapq.heapify(todo)
    tie, next_id = len(todo), 0
    while todo and todo[0][0] <= until_s:
        now_s, _, what = heapq.heappop(todo)
        run.end_s = now_s
        if isinstance(what, Arrival):
            run.fates[next_id] = Fate(what)
            is_in = queues.offer(what.endpoint, next_id, now_s, what.wants, what.size)
            run.fates[next_id].was_refused = not is_in
            next_id += 1
        elif isinstance(what, tuple):
            batch, took_s = what
            for request_id in batch.requests:
                run.fates[request_id].done_at_s = now_s
                if again is not None:
                    tie += 1
                    heapq.heappush(todo, (now_s + 1e-4, tie, again(now_s + 1e-4)))
            queues.done(batch, took_s)
        if todo and todo[0][0] == now_s:
            continue
        while (batch := queues.take(now_s)) is not None:
            took_s = _leave(run, batch, now_s, cost_s)
            tie += 1
            heapq.heappush(todo, (now_s + took_s, tie, (batch, took_s)))
        for request_id in queues.give_up(now_s):
            run.fates[request_id].was_given_up = True
        wake_at_s = queues.wake_at_s()
        if wake_at_s < math.inf:
            tie += 1
            heapq.heappush(todo, (max(wake_at_s, math.nextafter(now_s, math.inf)), tie, None))
    return run


def _leave(run: Run, batch: Batch, now_s: float, cost_s: Callable[[float, int], float]) -> float:
    fates = [run.fates[request_id] for request_id in batch.requests]
    for fate in fates:
        fate.left_at_s = now_s
    units = len(fates) * max(fate.arrival.size for fate in fates)
    took_s = cost_s(units, len(fates))
    newest = max(batch.requests)
    for request_id, fate in run.fates.items():
        is_waiting = fate.left_at_s == math.inf and not fate.was_refused and not fate.was_given_up
        if is_waiting and request_id < newest and fate.arrival.endpoint == batch.endpoint.name:
            fate.passed += 1
    run.calls.append(Sent(now_s, took_s, batch.requests, units))
    return took_s


def poisson(rate: float, count: int, seed: int, **about) -> list[Arrival]:
    """Arrivals that know nothing of each other. A value in `about` may be a function of the random source."""
    source = random.Random(seed)
    at_s, arrivals = 0.0, []
    for _ in range(count):
        at_s += source.expovariate(rate)
        given = {name: value(source) if callable(value) else value for name, value in about.items()}
        arrivals.append(Arrival(at_s, **given))
    return arrivals
