"""What is counted while serving, and ``/metrics``, which shows it as Prometheus reads it.

Counters are kept; gauges are not: they are read from what they describe when someone asks, so they can't leak. A
registry of our own, for the public one takes a lock and several microseconds where a list's entry and an addition do.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate

from hotloop.events import GaugeSample
from hotloop.frozen import frozen
from hotloop.gpu_runtime.calls import Call, Pending
from hotloop.gpu_runtime.observing import EndpointLoad, Reason

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
ITEMS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)
SHORTEST_S = 1e-5  # what is shorter is not told apart
# Between two bounds that are shown: a quantile read from them is within 6 %, from 10 to 30 s within 7.2 %, below half a
# millisecond within 28 %.
STEPS = 16
MAX_ENDPOINTS = 500  # reloads may rename endpoints for days; what comes after these counts as OTHER
OTHER = "(other)"


@frozen
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


def _finer(bounds: tuple[float, ...]) -> tuple[float, ...]:
    """Put `STEPS` - 1 bounds below each one, each as many times longer than the one before."""
    between = ((low, high) for low, high in zip((SHORTEST_S, *bounds), bounds, strict=False))
    return tuple(
        high if step == STEPS else low * (high / low) ** (step / STEPS)
        for low, high in between
        for step in range(1, STEPS + 1)
    )


_FINE_SECONDS = _finer(SECONDS)


class Durations:
    """Counts of durations by length, finer than they are shown: to find a place among 256 takes no longer than among 16."""

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(_FINE_SECONDS) + 1)
        self.sum_s = 0.0

    def add(self, value_s: float) -> None:
        """Count one."""
        self.counts[bisect_left(_FINE_SECONDS, value_s)] += 1
        self.sum_s += value_s

    def add_all(self, values_s: Sequence[float]) -> None:
        """Count many."""
        counts, place_of, bounds = self.counts, bisect_left, _FINE_SECONDS
        for value_s in values_s:
            counts[place_of(bounds, value_s)] += 1
        self.sum_s += sum(values_s)

    def lines(self, name: str, labels: str) -> Iterator[str]:
        """Write them as a histogram."""
        totals = list(accumulate(self.counts))
        return _histogram(name, labels, SECONDS, [*totals[STEPS - 1 :: STEPS], totals[-1]], self.sum_s)


def quantile_s(counts: Iterable[int], share: float) -> float | None:
    """Say what so great a share of durations does not exceed.

    Args:
        counts: As in `Durations.counts`, or the difference of two such.
        share: From 0 to 1.

    Returns:
        None if there are none; the longest bound for what is longer.
    """
    totals = list(accumulate(counts))
    if not totals or not totals[-1]:
        return None
    wanted = share * totals[-1]
    place = bisect_left(totals, max(wanted, 1))
    if place >= len(_FINE_SECONDS):
        return SECONDS[-1]
    high_s = _FINE_SECONDS[place]
    low_s = _FINE_SECONDS[place - 1] if place else 0.0
    below = totals[place - 1] if place else 0
    return low_s + (high_s - low_s) * min(1.0, max(0.0, (wanted - below) / (totals[place] - below)))


def _histogram(
    name: str, labels: str, bounds: tuple[float, ...], at_most: list[int], sum_of_all: float
) -> Iterator[str]:
    """Write how many values are at most each bound, how many there are in all, and their sum."""
    for bound, count in zip((*map(_shown, bounds), "+Inf"), at_most, strict=True):
        yield f'{name}_bucket{{{labels},le="{bound}"}} {count}'
    yield f"{name}_sum{{{labels}}} {_shown(sum_of_all)}"
    yield f"{name}_count{{{labels}}} {at_most[-1]}"


class Counted:
    """What is counted of one endpoint, since the beginning.

    Attributes:
        statuses: Answers by status.
        request_s: From a request's arrival to the end of its answer.
        queue_s: How long requests waited for a worker.
        batch_s: How long the endpoint's function ran, a call.
        batch_sizes: Calls by the number of their requests.
        units: What batches came to.
        padded: How much of that is nobody's.
        streamed: Items of streams that were passed on.
    """

    __slots__ = ("batch_s", "batch_sizes", "padded", "queue_s", "request_s", "statuses", "streamed", "units")

    def __init__(self) -> None:
        self.statuses: dict[int, int] = {}
        self.request_s = Durations()
        self.queue_s = Durations()
        self.batch_s = Durations()
        self.batch_sizes: dict[int, int] = {}
        self.units = 0.0
        self.padded = 0.0
        self.streamed = 0

    def size_lines(self, name: str, labels: str) -> Iterator[str]:
        """Write the sizes of calls as a histogram."""
        sizes = sorted(self.batch_sizes.items())
        at_most = [sum(count for size, count in sizes if size <= bound) for bound in ITEMS]
        whole = sum(self.batch_sizes.values())
        return _histogram(name, labels, ITEMS, [*at_most, whole], sum(size * count for size, count in sizes))


class Metrics:
    """Counts what it observes (an `Observer`), and shows it.

    Args:
        read: Says how things stand; asked at each scrape.

    Attributes:
        gauges: Gives the app's own figures.
        on_use: Called at the next call or answer, which alone tells that there is something to look at; None: nobody asks.
    """

    def __init__(self, read: Callable[[], Reading]) -> None:
        self.on_use: Callable[[], None] | None = None
        self.gauges: Callable[[], Sequence[GaugeSample]] = tuple
        self._read = read
        self._endpoints: dict[str, Counted] = {}
        self._rejected: dict[tuple[str, str], int] = {}

    def call_began(self, call: Call, now_s: float) -> None:
        """See `Observer`."""
        if self.on_use is not None:
            self.on_use()
        batch = call.batch
        known = self._known(batch.endpoint.name)
        size = len(batch.requests)
        known.batch_sizes[size] = known.batch_sizes.get(size, 0) + 1
        known.queue_s.add_all([now_s - pending.arrived_at_s for pending in call.items.values()])
        known.units += batch.units
        known.padded += batch.padding

    def call_ended(self, call: Call, compute_s: float | None) -> None:
        """See `Observer`."""
        if compute_s is not None:
            self._known(call.batch.endpoint.name).batch_s.add(compute_s)

    def answered(self, pendings: Sequence[Pending], status: int, took_s: Sequence[float]) -> None:
        """See `Observer`."""
        if self.on_use is not None:
            self.on_use()
        known = self._known(pendings[0].endpoint_name)
        known.request_s.add_all(took_s)
        known.statuses[status] = known.statuses.get(status, 0) + len(pendings)

    def rejected(self, pending: Pending, reason: Reason) -> None:
        """See `Observer`."""
        name = pending.endpoint_name
        self._known(name)  # bounds the names
        key = (name if name in self._endpoints else OTHER, reason)
        self._rejected[key] = self._rejected.get(key, 0) + 1

    def streamed(self, call: Call, num_items: int) -> None:
        """See `Observer`."""
        self._known(call.batch.endpoint.name).streamed += num_items

    @property
    def counted(self) -> dict[str, Counted]:
        """What was counted so far, by endpoint; it goes on changing."""
        return self._endpoints

    def render(self) -> bytes:
        """Write everything in Prometheus' text format."""
        return ("\n".join([*self._counted(), *self._now(self._read()), *_app(self.gauges())]) + "\n").encode()

    def _known(self, endpoint: str) -> Counted:
        return self._endpoints.get(endpoint) or self._add(endpoint)

    def _add(self, endpoint: str) -> Counted:
        if len(self._endpoints) >= MAX_ENDPOINTS and endpoint != OTHER:
            return self._endpoints.get(OTHER) or self._add(OTHER)
        known = self._endpoints[endpoint] = Counted()
        return known

    def _counted(self) -> Iterator[str]:
        endpoints = [(_label("endpoint", name), known) for name, known in self._endpoints.items()]
        yield from _family("requests_total", "counter", "Requests that were answered.", (
            f'{{{label},status="{status}"}} {count}' for label, e in endpoints for status, count in e.statuses.items()
        ))  # fmt: skip
        histograms: tuple[tuple[str, str, Callable[[Counted], Callable[[str, str], Iterator[str]]]], ...] = (
            ("request_seconds", "From a request's arrival to the end of its answer.", lambda e: e.request_s.lines),
            ("queue_seconds", "How long requests waited for a worker.", lambda e: e.queue_s.lines),
            ("batch_items", "Requests in a call of a worker.", lambda e: e.size_lines),
            ("batch_seconds", "How long the endpoint's function ran, a call.", lambda e: e.batch_s.lines),
        )
        for name, text, lines_of in histograms:
            yield from _head(name, "histogram", text)
            for label, known in endpoints:
                yield from lines_of(known)(f"hotloop_{name}", label)
        units = [(f"{{{label}}} {_shown(e.units)}", f"{{{label}}} {_shown(e.padded)}") for label, e in endpoints]
        text = "What batches came to: their requests times the largest of their sizes, as the endpoint's key counts."
        yield from _family("batch_units_total", "counter", text, (line for line, _ in units))
        text = "How much of that is nobody's: it fills each batch's requests up to the largest of them."
        yield from _family("batch_padding_units_total", "counter", text, (line for _, line in units))
        streamed = (f"{{{label}}} {e.streamed}" for label, e in endpoints if e.streamed)
        yield from _family("stream_items_total", "counter", "Items of streams that were passed on.", streamed)
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


def _app(gauges: Sequence[GaugeSample]) -> Iterator[str]:
    labels = [(_label("name", each.name), each) for each in gauges]
    values = [f"{{{label}}} {_shown(each.value)}" for label, each in labels]
    limits = [f"{{{label}}} {_shown(each.limit)}" for label, each in labels if each.limit is not None]
    yield from _family("app_gauge", "gauge", "Figures of the app's own.", values)
    yield from _family("app_gauge_limit", "gauge", "How much they can be.", limits)


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
