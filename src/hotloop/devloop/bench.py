"""When `dev serve --bench` sends its short load, and what is told of it. Pure: a part of the loop's machine.

A generation is benched when its probes passed, all its workers serve, its successor waits ready (making each of them
takes a core), and no save is on its way. A save ends the bench that is under way at once; if nothing comes of the save, the bench begins again.
"""

from __future__ import annotations

import math
from dataclasses import field, replace
from typing import TYPE_CHECKING

from hotloop import events
from hotloop.devloop.load.figures import Noise, agreed
from hotloop.devloop.load.job import DURATION_S, NUM_CONNECTIONS
from hotloop.frozen import frozen

if TYPE_CHECKING:
    from hotloop.devloop.load.figures import Figures
    from hotloop.devloop.load.job import Result


@frozen
class Done:
    """What a generation's benches came to, one or more."""

    generation: int
    runs: tuple[Figures, ...]

    @property
    def middle(self) -> Figures:
        """The one that stands for all."""
        return sorted(self.runs, key=lambda figures: figures.requests_per_s)[len(self.runs) // 2]


@frozen
class State:
    """What the loop knows about benches.

    Attributes:
        endpoint: Which one, by name or path; empty if there are to be none.
        duration_s: How long each of them sends load that counts.
        generation: The newest that became ready.
        endpoints: What it serves.
        has_failed: Whether one of its probes failed.
        has_passed: Whether its probes ran, and none failed.
        has_standby: Whether the next generation's worker waits.
        is_growing: Whether more of its workers are to join those that serve.
        is_settled: Whether the generation was benched, or can't be.
        number: Of the newest bench.
        is_running: Whether that one is under way.
        is_stale: Whether what it measures is no longer worth it.
        last: The newest generation's that was benched.
        before: The one's before.
        noise: What benches of the same code differed by.
        unconfirmed: A result with a clear change, which is measured once more before it is told.
    """

    endpoint: str = ""
    duration_s: float = DURATION_S
    generation: int = 0
    endpoints: tuple[events.EndpointShape, ...] = ()
    has_failed: bool = False
    has_passed: bool = False
    has_standby: bool = False
    is_growing: bool = False
    is_settled: bool = False
    number: int = 0
    is_running: bool = False
    is_stale: bool = False
    last: Done | None = None
    before: Done | None = None
    noise: Noise = field(default_factory=Noise)
    unconfirmed: Result | None = None

    @property
    def baseline(self) -> Done | None:
        """What the generation is compared with."""
        return self.last if self.last is None or self.last.generation != self.generation else self.before


@frozen
class Benched:
    """A bench is over."""

    at_s: float
    number: int
    result: Result


@frozen
class Begin:
    """Bench an endpoint, then report `Benched`."""

    number: int
    endpoint: events.EndpointShape
    before: Figures | None
    noise: Noise
    duration_s: float = DURATION_S


@frozen
class Stop:
    """End the bench under way at once."""


Action = Begin | Stop
Heard = tuple[State, tuple[events.Event, ...]]


def heard(state: State, event: events.Event) -> Heard:
    """Take note of what the runner said."""
    match event:
        case events.ReloadStarted():
            return replace(state, has_standby=False), ()
        case events.Ready() if state.endpoint:
            return _ready(state, event)
        case events.ProbeFinished(is_ok=False) if event.generation == state.generation:
            return replace(state, has_failed=True), ()
        case events.ProbesFinished() if event.generation == state.generation:
            return replace(state, has_passed=not state.has_failed, has_failed=False), ()
        case events.WorkersServing() if event.generation == state.generation:
            return replace(state, is_growing=event.is_growing), ()
        case events.StandbyReady() if state.has_standby:
            return _disturbed(state), ()
        case events.StandbyReady():
            return replace(state, has_standby=True), ()
        case events.RuntimeStopped():
            return replace(state, has_passed=False, has_standby=False), ()
        case _:
            return state, ()


def _ready(state: State, event: events.Ready) -> Heard:
    state = replace(
        state, generation=event.generation, endpoints=event.endpoints,
        has_failed=False, has_passed=False, is_growing=event.workers > 1, is_settled=False, is_stale=True,
        unconfirmed=None,
    )  # fmt: skip
    if _shape(state) is not None:
        return state, ()
    names = ", ".join(shape.name for shape in state.endpoints) or "none"
    message = f"there is no endpoint {state.endpoint!r} to bench"
    problem = events.Problem("NoEndpoint", message, hint=f"the app has: {names}")
    said = events.BenchFailed(event.at_s, event.generation, state.endpoint, problem)
    return replace(state, is_settled=True), (said,)


def _disturbed(state: State) -> State:
    """Forget a generation's figures: a standby took another's place, and making it was measured too."""
    is_benched = state.last is not None and state.last.generation == state.generation
    last = state.before if is_benched else state.last
    return replace(state, last=last, is_settled=_shape(state) is None, is_stale=True, unconfirmed=None)


def over(state: State, event: Benched) -> Heard:
    """Tell what a bench came to, unless it was stopped meanwhile."""
    if not state.is_running or event.number != state.number:
        return state, ()
    path, result = _path(state), event.result
    state = replace(state, is_running=False, is_settled=True)
    if result.figures is None:
        problem = result.problem or events.Problem("BenchFailed", "it gave no result")
        return state, (events.BenchFailed(event.at_s, state.generation, path, problem),)
    state = _with_figures(state, result.figures)
    first = state.unconfirmed
    if first is None and _is_clear(result):
        return replace(state, unconfirmed=result, is_settled=False), ()
    told = result if first is None else _agreed(first, result, state.noise)
    said = _finished(state, event.at_s, path, result.figures, told)
    return replace(state, unconfirmed=None), (replace(said, repeat=said.repeat - (first is not None)),)


def _is_clear(result: Result) -> bool:
    return any(change is not None and change.is_clear for change in (result.throughput, result.latency))


def _agreed(first: Result, second: Result, noise: Noise) -> Result:
    limits = noise.ratios() or (math.inf, math.inf)
    return replace(
        second,
        throughput=agreed(first.throughput, second.throughput, limits[0]),
        latency=agreed(first.latency, second.latency, limits[1]),
    )


def _with_figures(state: State, figures: Figures) -> State:
    last = state.last
    if last is None or last.generation != state.generation:
        state = replace(state, before=last, last=Done(state.generation, (figures,)))
    else:
        noise = state.noise.and_pair(last.runs[-1], figures)
        state = replace(state, noise=noise, last=Done(last.generation, (*last.runs, figures)))
    return replace(state, is_settled=state.noise.is_known or not figures.can_be_compared)


def _finished(state: State, at_s: float, path: str, figures: Figures, result: Result) -> events.BenchFinished:
    baseline, noise = state.before, state.noise.ratios()
    return events.BenchFinished(
        at_s=at_s,
        generation=state.generation,
        endpoint=path,
        connections=NUM_CONNECTIONS,
        duration_s=state.duration_s,
        requests=figures.num_requests,
        requests_per_s=figures.requests_per_s,
        p50_s=figures.p50_s,
        p99_s=figures.p99_s,
        errors=figures.errors,
        repeat=len(state.last.runs) - 1 if state.last is not None else 0,
        previous=baseline.generation if baseline is not None else None,
        throughput=result.throughput,
        latency=result.latency,
        throughput_noise_ratio=noise[0] if noise is not None else None,
        latency_noise_ratio=noise[1] if noise is not None else None,
    )


def decide(state: State, *, is_quiet: bool) -> tuple[State, tuple[Action, ...]]:
    """Begin or stop a bench, if what happened calls for it.

    Args:
        state: What is known now.
        is_quiet: Whether no save is on its way.
    """
    shape = _shape(state)
    is_quiet = is_quiet and not state.is_growing
    is_due = state.has_passed and state.has_standby and is_quiet and not state.is_settled
    actions: tuple[Action, ...] = ()
    if state.is_running and (state.is_stale or not is_due):
        state, actions = replace(state, is_running=False), (Stop(),)
    if shape is None or not is_due or state.is_running:
        return replace(state, is_stale=False), actions
    before = state.baseline
    figures = before.middle if before is not None else None
    begin = Begin(state.number + 1, shape, figures, state.noise, state.duration_s)
    return replace(state, number=begin.number, is_running=True, is_stale=False), (*actions, begin)


def _shape(state: State) -> events.EndpointShape | None:
    if not state.endpoint:
        return None
    wanted = state.endpoint.strip("/")
    return next((shape for shape in state.endpoints if wanted in {shape.name, shape.path.strip("/")}), None)


def _path(state: State) -> str:
    shape = _shape(state)
    return shape.path if shape is not None else state.endpoint
