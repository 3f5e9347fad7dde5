"""What the endpoints did, all together, and when in the last minute."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotloop.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hotloop.events import EndpointSample, RuntimeSampled
    from hotloop.tui.state import State

SECONDS = 60


@frozen
class Load:
    """All endpoints in the last interval; the histories have a value a second, the newest last, None where none is known.

    Attributes:
        wait_p95_s: The worst endpoint's: percentiles can't be added up.
        busiest: The path of the endpoint that answered most.
        p50_s: That one's.
        p95_s: That one's.
        batch_sizes: How many batches of each size left in the last minute.
    """

    requests_per_s: float
    items_per_s: float | None
    num_waiting: int
    num_running: int
    wait_p95_s: float | None
    busiest: str
    p50_s: float | None
    p95_s: float | None
    batch_sizes: dict[int, int]
    history: tuple[float | None, ...]
    items_history: tuple[float | None, ...]

    @property
    def mean_batch(self) -> float | None:
        """The mean size of a batch; None if there was none."""
        count = sum(self.batch_sizes.values())
        return sum(size * number for size, number in self.batch_sizes.items()) / count if count else None


def load_of(state: State, now_s: float) -> Load | None:
    """Add up the endpoints; None if nothing was sampled yet."""
    if not state.samples:
        return None
    last = state.samples[-1].endpoints
    streams = [each.items_per_s for each in last if each.items_per_s is not None]
    busiest = max(last, key=lambda each: each.requests_per_s, default=None)
    return Load(
        requests_per_s=sum(each.requests_per_s for each in last),
        items_per_s=sum(streams) if streams else None,
        num_waiting=sum(each.num_waiting for each in last),
        num_running=sum(each.num_running for each in last),
        wait_p95_s=_worst(each.wait_p95_s for each in last),
        busiest=busiest.path if busiest is not None else "",
        p50_s=busiest.p50_s if busiest is not None else None,
        p95_s=busiest.p95_s if busiest is not None else None,
        batch_sizes=batch_sizes(each for sample in state.samples for each in sample.endpoints),
        history=_history(state, now_s, [_requests(sample) for sample in state.samples]),
        items_history=_history(state, now_s, [_items(sample) for sample in state.samples]),
    )


def _worst(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def batch_sizes(endpoints: Iterable[EndpointSample]) -> dict[int, int]:
    """Add up how many batches of each size left."""
    counts: dict[int, int] = {}
    for endpoint in endpoints:
        for size, count in endpoint.batch_sizes.items():
            if size.isdecimal() and int(size) > 0:
                counts[int(size)] = counts.get(int(size), 0) + count
    return counts


def _requests(sample: RuntimeSampled) -> float:
    return sum(each.requests_per_s for each in sample.endpoints)


def _items(sample: RuntimeSampled) -> float:
    return sum(each.items_per_s or 0.0 for each in sample.endpoints)


def _history(state: State, now_s: float, values: list[float]) -> tuple[float | None, ...]:
    """Place values at their second. Between samples nothing changed; before the first nothing is known, nor offline."""
    newest_s = state.samples[-1].at_s
    since_s = int(max(now_s - state.sampled_at_s, 0.0)) if state.sampled_at_s is not None else 0
    ages = [round(max(newest_s - sample.at_s, 0.0)) + since_s for sample in state.samples]
    ends = [*ages[1:], since_s - 1 if state.offline is not None else -1]
    seconds: list[float | None] = [None] * SECONDS
    for value, age, end in zip(values, ages, ends, strict=True):
        for at in range(min(age, SECONDS - 1), max(end, -1), -1):
            seconds[SECONDS - 1 - at] = value
    return tuple(seconds)
