"""What the serving benchmark can be asked for."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from benchmarks import environments
from benchmarks.serving_sides import PEERS

PARTS = ("direct", "minilm", "idle", "echo", "sse", "overload")
RESULT = environments.BENCHMARKS / "results" / "serving.json"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving",
        description="What a served endpoint gives under load: hotloop, peers, and the model without a server.",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON, as the last line")
    parser.add_argument("--only", type=_names(PARTS), default=PARTS, help=f"of {','.join(PARTS)} (all)")
    parser.add_argument("--peers", type=_names(PEERS), default=PEERS, help=f"of {','.join(PEERS)} (all)")
    parser.add_argument("--rounds", type=_count, default=5, help="rounds over all sides, for the medians (5)")
    parser.add_argument("--seconds", type=_seconds, default=8.0, help="window of a burst; 3 at most for echo, sse (8)")
    parser.add_argument("--clients", type=_counts, default=(1, 8, 32, 128), help="at a time (1,8,32,128)")
    parser.add_argument("--overload-seconds", type=_seconds, default=60.0, help="how long the overload lasts (60)")
    parser.add_argument("--user-python", default="", help="interpreter that has torch, transformers and the weights")
    parser.add_argument(
        "--output", type=Path, help="file for the JSON (of a whole run benchmarks/results/serving.json, of a part none)"
    )
    options = parser.parse_args(arguments)
    if not options.output and set(options.only) == set(PARTS) and set(options.peers) == set(PEERS):
        options.output = RESULT
    return options


def _names(known: tuple[str, ...]) -> Callable[[str], tuple[str, ...]]:
    def read(text: str) -> tuple[str, ...]:
        names = tuple(name for name in text.split(",") if name)
        for name in names:
            if name not in known:
                msg = f"{name!r}, expected some of {', '.join(known)}"
                raise argparse.ArgumentTypeError(msg)
        return names

    return read


def _counts(text: str) -> tuple[int, ...]:
    return tuple(_count(part) for part in text.split(","))


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        msg = f"{text!r}, expected a whole number, 1 or more"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 3600:
        msg = f"{text!r}, expected seconds, more than 0 and 3600 at most"
        raise argparse.ArgumentTypeError(msg)
    return seconds
