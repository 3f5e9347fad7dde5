"""What is counted while serving, and ``/metrics``, which shows it as Prometheus reads it.

Counters are kept; gauges are not: they are read from what they describe when someone asks, so they can't leak. A
registry of our own, for the public one takes a lock and several microseconds where a list's entry and an addition do.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from hotloop.gpu_runtime.calls import Call, Pending
from hotloop.gpu_runtime.observing import EndpointLoad, Reason

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
ITEMS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)
MAX_ENDPOINTS = 500  # reloads may rename endpoints for days; what comes after these counts as OTHER
OTHER = "(other)"


@dataclass(frozen=True, slots=True)
class Reading:
    """How things stand now.

    Attributes:
        endpoints: How each endpoint that serves is doing.
        held: Requests that wait for a generation.
        generation: The one that serves, 0 for none.
        revision: What it runs.
        workers: How many of its workers serve.
    """

    endpoints: tuple[EndpointLoad, ...] = ()
    held: int = 0
    generation: int = 0
    revision: int = 0
    workers: int = 0


class Histogram:
    """Counts of values by size."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def lines(self, name: str, labels: str) -> Iterator[str]:
        """Write it: how many values are at most each bound, their sum and their number."""
        total = 0
        for bound, count in zip((*map(_shown, self._bounds), "+Inf"), self._counts, strict=True):
            total += count
            yield f'{name}_bucket{{{labels},le="{bound}"}} {total}'
        yield f"{name}_sum{{{labels}}} {_shown(self._sum)}"
        yield f"{name}_count{{{labels}}} {total}"


class _Endpoint:
    """What is counted of one endpoint."""

    __slots__ = ("batch_items", "batch_s", "padded", "queue_s", "request_s", "statuses", "units")

    def __init__(self) -> None:
        self.statuses: dict[int, int] = {}
        self.request_s = Histogram(SECONDS)
        self.queue_s = Histogram(SECONDS)
        self.batch_s = Histogram(SECONDS)
        self.batch_items = Histogram(ITEMS)
        self.units = 0.0
        self.padded = 0.0


class Metrics:
    """Counts what it observes (an `Observer`), and shows it.

    Args:
        read: Says how things stand; asked at each scrape.
    """

    def __init__(self, read: Callable[[], Reading]) -> None:
        self._read = read
        self._endpoints: dict[str, _Endpoint] = {}
        self._rejected: dict[tuple[str, str], int] = {}

    def call_began(self, call: Call, now_s: float) -> None:
        """See `Observer`."""
        batch = call.batch
        known = self._known(batch.endpoint.name)
        known.batch_items.add(len(batch.requests))
        for pending in call.items.values():
            known.queue_s.add(now_s - pending.arrived_at_s)
        known.units += batch.units
        known.padded += batch.padding

    def call_ended(self, call: Call, compute_s: float | None) -> None:
        """See `Observer`."""
        if compute_s is not None:
            self._known(call.batch.endpoint.name).batch_s.add(compute_s)

    def answered(self, pending: Pending, status: int, took_s: float) -> None:
        """See `Observer`."""
        known = self._known(pending.endpoint_name)
        known.request_s.add(took_s)
        known.statuses[status] = known.statuses.get(status, 0) + 1

    def rejected(self, pending: Pending, reason: Reason) -> None:
        """See `Observer`."""
        name = pending.endpoint_name
        self._known(name)  # bounds the names
        key = (name if name in self._endpoints else OTHER, reason)
        self._rejected[key] = self._rejected.get(key, 0) + 1

    def render(self) -> bytes:
        """Write everything in Prometheus' text format."""
        return ("\n".join([*self._counted(), *self._now(self._read())]) + "\n").encode()

    def _known(self, endpoint: str) -> _Endpoint:
        return self._endpoints.get(endpoint) or self._add(endpoint)

    def _add(self, endpoint: str) -> _Endpoint:
        if len(self._endpoints) >= MAX_ENDPOINTS and endpoint != OTHER:
            return self._endpoints.get(OTHER) or self._add(OTHER)
        known = self._endpoints[endpoint] = _Endpoint()
        return known

    def _counted(self) -> Iterator[str]:
        endpoints = [(_label("endpoint", name), known) for name, known in self._endpoints.items()]
        yield from _family("requests_total", "counter", "Requests that were answered.", (
            f'{{{label},status="{status}"}} {count}' for label, e in endpoints for status, count in e.statuses.items()
        ))  # fmt: skip
        histograms: tuple[tuple[str, str, Callable[[_Endpoint], Histogram]], ...] = (
            ("request_seconds", "From a request's arrival to the end of its answer.", lambda e: e.request_s),
            ("queue_seconds", "How long requests waited for a worker.", lambda e: e.queue_s),
            ("batch_items", "Requests in a call of a worker.", lambda e: e.batch_items),
            ("batch_seconds", "How long the endpoint's function ran, a call.", lambda e: e.batch_s),
        )
        for name, text, of in histograms:
            yield from _head(name, "histogram", text)
            for label, known in endpoints:
                yield from of(known).lines(f"hotloop_{name}", label)
        units = [(f"{{{label}}} {_shown(e.units)}", f"{{{label}}} {_shown(e.padded)}") for label, e in endpoints]
        text = "What batches came to: their requests times the largest of their sizes, as the endpoint's key counts."
        yield from _family("batch_units_total", "counter", text, (line for line, _ in units))
        text = "How much of that is nobody's: it fills each batch's requests up to the largest of them."
        yield from _family("batch_padding_units_total", "counter", text, (line for _, line in units))
        rejected = (
            f"{{{_label('endpoint', endpoint)},{_label('reason', reason)}}} {count}"
            for (endpoint, reason), count in self._rejected.items()
        )
        yield from _family("rejected_total", "counter", "Requests that no worker got, by reason.", rejected)

    @staticmethod
    def _now(reading: Reading) -> Iterator[str]:
        loads = [(_label("endpoint", load.name), load) for load in reading.endpoints]
        queued = (f"{{{label}}} {load.num_waiting}" for label, load in loads)
        yield from _family("queue_items", "gauge", "Requests that wait for a worker now.", queued)
        waits = (f"{{{label}}} {_shown(load.wait_s)}" for label, load in loads)
        yield from _family("queue_wait_seconds", "gauge", "How long a request that came now would wait.", waits)
        calls = (f"{{{label}}} {load.num_calls}" for label, load in loads)
        yield from _family("calls", "gauge", "Calls that a worker has now.", calls)
        yield from _family("held_items", "gauge", "Requests that wait for a generation now.", [f" {reading.held}"])
        yield from _family("generation", "gauge", "The generation that serves, 0 for none.", [f" {reading.generation}"])
        yield from _family("revision", "gauge", "The revision that serves, 0 for none.", [f" {reading.revision}"])
        yield from _family("workers", "gauge", "Workers that serve now.", [f" {reading.workers}"])


def _family(name: str, kind: str, text: str, samples: Iterable[str]) -> Iterator[str]:
    yield from _head(name, kind, text)
    for sample in samples:
        yield f"hotloop_{name}{sample}"


def _head(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP hotloop_{name} {text}"
    yield f"# TYPE hotloop_{name} {kind}"


def _label(name: str, value: str) -> str:
    escaped = value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
    return f'{name}="{escaped}"'


def _shown(value: float) -> str:
    return f"{value:.12g}"
