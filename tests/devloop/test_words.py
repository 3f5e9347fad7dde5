"""How numbers are written."""

from __future__ import annotations

import pytest

from hotloop.devloop import words


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.0, "0.0 ms"), (0.00994, "9.9 ms"), (0.00996, "10 ms"), (0.9994, "999 ms"), (0.9996, "1.00 s"),
        (9.994, "9.99 s"), (9.996, "10.0 s"), (59.94, "59.9 s"), (59.96, "1m00"), (124.0, "2m04"), (3840.0, "1h04"),
    ],
)  # fmt: skip
def test_durations(seconds, expected):
    assert words.duration(seconds) == expected


@pytest.mark.parametrize(
    ("size_bytes", "expected"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (4096, "4.1 kB"),
        (270_000_000, "270 MB"),
        (14_200_000_000, "14 GB"),
    ],
)
def test_sizes(size_bytes, expected):
    assert words.size(size_bytes) == expected


@pytest.mark.parametrize(
    ("names", "expected"), [(["a"], "a"), (["a", "b", "c"], "a, b, c"), (["a", "b", "c", "d"], "a, b, c and 1 more")]
)
def test_paths(names, expected):
    assert words.paths(names) == expected


@pytest.mark.parametrize(
    ("per_s", "expected"),
    [(0.4, "0.40/s"), (9.94, "9.94/s"), (9.96, "10.0/s"), (99.4, "99.4/s"), (99.6, "100/s"), (12345.6, "12,346/s")],
)
def test_rates(per_s, expected):
    assert words.rate(per_s) == expected


def test_what_ends_a_session_that_was_left_names_its_runner():
    assert "hotloop stop ends it" in words.left_running("local")
    assert "hotloop attach --on me@gpu1 shows it, hotloop stop --on me@gpu1 ends it" in words.left_running("me@gpu1")
