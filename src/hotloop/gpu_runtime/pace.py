"""Whether a client is too slow: a decision on times and counts, without a clock or a socket."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Pace:
    """How fast a client gives, or takes, what the server waits for.

    Attributes:
        timeout_s: The longest pause, and how long it may stay below the rate.
        min_bytes_by_s: The rate on average.
        began_at_s: Since when it is measured.
        moved_at_s: When anything moved last.
        num_bytes: What moved so far.
    """

    timeout_s: float
    min_bytes_by_s: int
    began_at_s: float = 0.0
    moved_at_s: float = 0.0
    num_bytes: int = 0

    def begin(self, now_s: float) -> None:
        """Start anew."""
        self.began_at_s = self.moved_at_s = now_s
        self.num_bytes = 0

    def excuse(self, now_s: float) -> None:
        """Take note that the time until now was not the client's to use."""
        self.began_at_s = self.moved_at_s = now_s

    def reach(self, now_s: float, num_bytes: int) -> None:
        """Take note of how much has moved in all."""
        if num_bytes > self.num_bytes:
            self.moved_at_s = now_s
            self.num_bytes = num_bytes

    def is_too_slow(self, now_s: float) -> bool:
        """Whether to wait no longer."""
        allowed_s = self.timeout_s + self.num_bytes / self.min_bytes_by_s
        return now_s - self.moved_at_s > self.timeout_s or now_s - self.began_at_s > allowed_s
