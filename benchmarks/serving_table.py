"""The serving benchmark's result as a table for people."""

from __future__ import annotations

from typing import Any, TextIO

from benchmarks import table
from benchmarks.serving_report import TARGETS

_TITLES = {
    "minilm": "MiniLM embeddings of 256 texts",
    "echo": "the trivial endpoint",
    "sse": "server-sent events, streams of 200 items",
}


def write(result: dict[str, Any], out: TextIO) -> None:
    """Print the targets, then every side of every workload."""
    table.write_targets(result["targets"], TARGETS, out)
    if direct := result.get("direct"):
        sizes = ", ".join(f"{rate} in batches of {size}" for size, rate in direct["rate_by_batch_size"].items())
        out.write(f"\nwithout a server, texts a second: {sizes}; {direct['single_p50_ms']} ms for one text\n")
        if ceilings := direct.get("closed_loop_rate"):
            rates = ", ".join(f"{rate} at {clients}" for clients, rate in ceilings.items())
            out.write(f"clients in a closed loop, if serving cost nothing: {rates}\n")
    for workload, title in _TITLES.items():
        if result.get(workload):
            _write_workload(title, result[workload], out)
    for title in ("idle", "overload"):
        if facts := result.get(title):
            out.write(f"\n{title}{', cores' if title == 'idle' else ''}\n")
            out.writelines(f"{name:22} {value}\n" for name, value in facts.items())
    out.writelines(f"not measured: {name}: {reason}\n" for name, reason in result["failures"].items())
    out.write(f"load average {result['load_average_start']} at the start, {result['load_average_end']} at the end\n")


def _write_workload(title: str, sides: dict[str, Any], out: TextIO) -> None:
    head = f"{'clients':>8} {'per second':>12} {'p50 ms':>10} {'p99 ms':>10} {'CPU ms':>9} {'rounds':>6}"
    out.write(f"\n{title}\n{'':22} {head}\n")
    for name, by_clients in sides.items():
        for clients, row in by_clients.items():
            figures = f"{_text(row['rate'], 1):>12} {_text(row['p50_ms'], 2):>10} {_text(row['p99_ms'], 2):>10}"
            out.write(f"{name:22} {clients:>8} {figures} {_text(row['cpu_ms_per_request'], 3):>9} {row['n']:>6}\n")


def _text(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"
