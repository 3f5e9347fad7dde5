"""When a file was saved: its stamp, unless that can't be a save's."""

from __future__ import annotations

import pytest

from hotloop import clock
from hotloop.clock import ClockPair, SaveTime

NOW = ClockPair(monotonic_s=500.0, wall_s=10_500.0)
SEEN_S = 499.0  # 10,499 s on the wall


@pytest.mark.parametrize(
    ("stamp_s", "expected"),
    [
        (10_498.9, SaveTime(498.9, 10_498.9, is_estimated=False)),
        (10_489.0, SaveTime(489.0, 10_489.0, is_estimated=False)),  # 10 s before it was seen
        (10_488.9, SaveTime(SEEN_S, 10_499.0, is_estimated=True)),
        (10_500.0, SaveTime(500.0, 10_500.0, is_estimated=False)),
        (10_500.1, SaveTime(SEEN_S, 10_499.0, is_estimated=True)),
    ],
)
def test_a_stamp_in_the_future_or_long_before_it_was_seen_is_no_saves(stamp_s, expected):
    found = clock.save_time(stamp_s, SEEN_S, NOW)

    assert (found.monotonic_s, found.wall_s) == pytest.approx((expected.monotonic_s, expected.wall_s))
    assert found.is_estimated == expected.is_estimated
