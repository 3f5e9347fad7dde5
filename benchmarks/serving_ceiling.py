"""What so many clients could get at most if serving cost nothing: hotloop's own scheduler, in simulated time.

The model called directly may sort all texts at once. Of 32 clients that wait for their answers, those that were answered last
are not back yet when the next call leaves, so that it is chosen among some twenty texts: smaller, or padded more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hotloop.gpu_runtime.batching import Queues
from hotloop.gpu_runtime.endpoints import BatchSpec, EndpointSpec

MAX_SIZE = 32
NUM_CALLS, NUM_WARM_UP_CALLS = 1500, 200


@dataclass(frozen=True, slots=True)
class Cost:
    """What a call takes: ``per_call_s``, and ``per_token_s`` for each token, padding included."""

    per_call_s: float
    per_token_s: float

    def call_s(self, count: int, most_tokens: int) -> float:
        """A call of so many texts, the longest of so many tokens."""
        return self.per_call_s + self.per_token_s * count * most_tokens


def fit(rates: Mapping[int, float], lengths: Sequence[int], tokens: Sequence[int]) -> Cost:
    """Find what calls cost from rates of sorted batches: least squares of the relative errors.

    Args:
        rates: Texts a second by the size of the batches, two sizes or more.
        lengths: What the texts were sorted by.
        tokens: How many tokens each has.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    cc = cu = uu = c = u = 0.0
    for size, rate in rates.items():
        parts = [order[start : start + size] for start in range(0, len(order), size)]
        took_s = len(order) / rate
        calls = len(parts) / took_s
        units = sum(len(part) * max(tokens[number] for number in part) for part in parts) / took_s
        cc, cu, uu, c, u = cc + calls * calls, cu + calls * units, uu + units * units, c + calls, u + units
    determinant = cc * uu - cu * cu
    return Cost(max(0.0, (c * uu - u * cu) / determinant), max(0.0, (u * cc - c * cu) / determinant))


def closed_loop_rate(num_clients: int, lengths: Sequence[int], tokens: Sequence[int], cost: Cost) -> float:
    """Texts a second that clients get who each send the next text when answered, while the call after theirs runs."""
    queues = Queues([EndpointSpec("e", "/e", batch=BatchSpec(max_size=MAX_SIZE, key="bytes"))])
    now_s, num_asked, num_counted, counted_s = 0.0, 0, 0, 0.0

    def ask(count: int) -> None:
        nonlocal num_asked
        for _ in range(count):
            queues.offer("e", num_asked, now_s, body_bytes=lengths[num_asked % len(lengths)])
            num_asked += 1

    ask(num_clients)
    num_answered = 0
    for number in range(NUM_CALLS):
        batch = queues.take(now_s)
        ask(num_answered)
        if batch is None:  # all of them were in the last call
            batch = queues.take(now_s)
        assert batch is not None
        num_answered = len(batch.requests)
        took_s = cost.call_s(num_answered, max(tokens[each % len(tokens)] for each in batch.requests))
        now_s += took_s
        queues.done(batch, took_s)
        if number >= NUM_WARM_UP_CALLS:
            num_counted += num_answered
            counted_s += took_s
    return num_counted / counted_s
