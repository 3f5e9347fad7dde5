"""Lists of floats that the front writes as JSON, while the worker has the next call: its one thread is what the model needs.

Writing 384 floats takes 200 us (each is written as the shortest decimal that reads back the same), handing them over 15 us.
The front has other things to do as well, so it gets only what takes little beside the call it comes from.
"""

from __future__ import annotations

from array import array
from typing import Any, cast

from hotloop.gpu_runtime.user_env.json_encoder import encoder

WRITE_S = 0.5e-6  # of one float
LEAST_RATIO = 16.0  # a call took so many times what writing its floats takes: the front is busy with it 6 % of the time
MOST = 16_384  # floats of one call: for 8 ms the front does nothing else
_FEWEST = 32  # of one answer: below that handing over costs as much
_KIND = "d"

_encode = encoder(allow_nan=False)


class Allowance:
    """How many floats of one call's answers the front is to write.

    Args:
        compute_s: How long the call took.
    """

    __slots__ = ("num_left",)

    def __init__(self, compute_s: float) -> None:
        num_left = min(MOST, int(compute_s / (LEAST_RATIO * WRITE_S)))
        self.num_left = num_left if num_left >= _FEWEST else 0

    def take(self, value: Any) -> bytes | None:
        """Give a list's floats as they lie in memory; None if it is to be written here, as anything else is."""
        if type(value) is not list:
            return None
        row = cast("list[Any]", value)
        if not _FEWEST <= len(row) <= self.num_left or set(map(type, row)) != {float}:
            return None
        total = sum(row)
        if total - total != 0:  # NaN or infinite, or one of the floats is, which JSON does not have
            return None
        self.num_left -= len(row)
        return array(_KIND, row).tobytes()


NOTHING = Allowance(0.0)


def as_json(raw: bytes | memoryview) -> bytes:
    """Write what `Allowance.take` gave, byte for byte as the worker would have."""
    floats = array(_KIND)
    floats.frombytes(raw)
    return _encode(floats.tolist()).encode("ascii")
