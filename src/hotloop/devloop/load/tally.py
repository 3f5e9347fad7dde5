"""What a load run counts. Pure: it is told each answer with its times.

A request counts if it was due within the window; what came before is warm-up. A duration is counted from the moment at which
the request was due, not from when it could be sent: a server that stalls must not be spared the requests that it held up.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from hotloop.devloop.load.histogram import Histogram
from hotloop.frozen import frozen


@frozen
class Window:
    """The time that counts, in seconds of the monotonic clock."""

    begin_s: float
    end_s: float


@dataclass(slots=True)
class Tally:
    """The counts of one run, or of several that were merged.

    Attributes:
        latency: Of the answers that are a success, and of requests that got no answer: those count as long as they were
            waited for, which is the least that they took.
        late: How long after its time each request was sent; of an open loop.
        queue: What the server says that requests waited.
        compute: What the server says that their calls took.
        batch_sizes: How many answers came in a batch of each size.
        statuses: How many answers had each status.
        broken: How many requests got no answer, by why.
        num_done: Successes within the window, whenever they were due: the throughput.
        duration_s: How long the windows were.
    """

    latency: Histogram = field(default_factory=Histogram)
    late: Histogram = field(default_factory=Histogram)
    queue: Histogram = field(default_factory=Histogram)
    compute: Histogram = field(default_factory=Histogram)
    batch_sizes: Counter[int] = field(default_factory=Counter[int])
    statuses: Counter[int] = field(default_factory=Counter[int])
    broken: Counter[str] = field(default_factory=Counter[str])
    num_done: int = 0
    duration_s: float = 0.0

    @property
    def num_requests(self) -> int:
        """Requests that count."""
        return self.statuses.total() + self.broken.total()

    @property
    def num_errors(self) -> int:
        """Requests that count and were no success."""
        return self.broken.total() + sum(count for status, count in self.statuses.items() if not is_success(status))

    @property
    def requests_per_s(self) -> float:
        """Successes a second."""
        return self.num_done / self.duration_s if self.duration_s else 0.0

    def errors(self) -> dict[str, int]:
        """Name each kind of error with how often it came."""
        answered = {f"status {status}": n for status, n in sorted(self.statuses.items()) if not is_success(status)}
        return {**answered, **dict(sorted(self.broken.items()))}

    def merge(self, other: Tally) -> None:
        """Add another run's counts."""
        for mine, theirs in (
            (self.latency, other.latency),
            (self.late, other.late),
            (self.queue, other.queue),
            (self.compute, other.compute),
        ):
            mine.merge(theirs)
        self.batch_sizes.update(other.batch_sizes)
        self.statuses.update(other.statuses)
        self.broken.update(other.broken)
        self.num_done += other.num_done
        self.duration_s += other.duration_s

    def answered(self, window: Window, due_s: float, done_s: float, status: int) -> bool:
        """Count an answer; returns whether its request counts."""
        if status < 300 and window.begin_s <= done_s < window.end_s:
            self.num_done += 1
        if not window.begin_s <= due_s < window.end_s:
            return False
        self.statuses[status] += 1
        if status < 300:
            self.latency.add(done_s - due_s)
        return True

    def lost(self, window: Window, due_s: float, given_up_s: float, why: str) -> None:
        """Count a request that got no answer."""
        if window.begin_s <= due_s < window.end_s:
            self.broken[why] += 1
            self.latency.add(given_up_s - due_s)


def is_success(status: int) -> bool:
    """Whether a status says that the request was done."""
    return 200 <= status < 300
