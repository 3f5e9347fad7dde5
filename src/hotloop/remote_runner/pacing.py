"""How much bulk may be on its way at once, so that an edit behind it does not wait. Knows no network and reads no clock."""

from __future__ import annotations

import math
from collections import deque

from hotloop.frozen import frozen

MIN_WINDOW_BYTES = 128 << 10
MAX_WINDOW_BYTES = 4 << 20
NUM_RATES = 10  # of the newest acknowledgements; the best of them is what the line can do


@frozen
class _Sent:
    end_bytes: int
    at_s: float
    acked_bytes: int
    acked_at_s: float


class Pacer:
    """Measures a line by what is acknowledged. The window is one bandwidth-delay product while an edit counts, else two."""

    def __init__(self) -> None:
        self._sent: deque[_Sent] = deque()
        self._rates: deque[float] = deque(maxlen=NUM_RATES)  # bytes a second
        self._quickest_s = math.inf
        self._sent_bytes = 0
        self._acked_bytes = 0
        self._acked_at_s = 0.0

    @property
    def in_flight_bytes(self) -> int:
        """Sent and not acknowledged."""
        return self._sent_bytes - self._acked_bytes

    def window_bytes(self, *, is_yielding: bool) -> int:
        """How much may be in flight.

        Args:
            is_yielding: Whether an edit is on its way, or was a moment ago: no queue may form then.
        """
        product = max(self._rates) * self._quickest_s if self._rates else 0.0
        return int(min(max(product * (1 if is_yielding else 2), MIN_WINDOW_BYTES), MAX_WINDOW_BYTES))

    def may_send(self, num_bytes: int, *, is_yielding: bool) -> bool:
        """Whether a message of this size may go; one always may when nothing is in flight.

        While no edit counts it need not fit: with one message in flight, the line seems to carry just one in a round trip,
        and twice that is a little less than two messages. The window would never grow.
        """
        in_flight, window = self.in_flight_bytes, self.window_bytes(is_yielding=is_yielding)
        return not in_flight or (in_flight + num_bytes <= window if is_yielding else in_flight < window)

    def sent(self, num_bytes: int, now_s: float) -> None:
        """Note a message that goes out."""
        if not self.in_flight_bytes:
            self._acked_at_s = now_s  # the time without anything to send does not count
        self._sent_bytes += num_bytes
        self._sent.append(_Sent(self._sent_bytes, now_s, self._acked_bytes, self._acked_at_s))

    def acknowledged(self, total_bytes: int, now_s: float) -> None:
        """Note how much of all that was sent has arrived."""
        newest = None
        while self._sent and self._sent[0].end_bytes <= total_bytes:
            newest = self._sent.popleft()
            self._quickest_s = min(self._quickest_s, now_s - newest.at_s)
        if newest is not None and now_s > newest.acked_at_s:
            self._rates.append((total_bytes - newest.acked_bytes) / (now_s - newest.acked_at_s))
        self._acked_bytes, self._acked_at_s = max(self._acked_bytes, total_bytes), now_s
