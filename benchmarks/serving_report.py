"""From samples to figures: medians a side, hotloop's ratios to the others, and what they must reach."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from benchmarks import stats
from benchmarks.serving_sides import PEERS

# Figure, limit, whether more is better.
TARGETS: dict[str, tuple[float, bool]] = {
    "minilm_32_vs_best_peer": (1.4, True),
    "minilm_128_vs_best_peer": (1.4, True),
    "minilm_32_vs_direct": (0.9, True),
    "minilm_128_vs_direct": (0.9, True),
    "minilm_32_p99_vs_best_peer": (1.0, False),
    "minilm_128_p99_vs_best_peer": (1.0, False),
    "minilm_32_cpu_vs_litserve": (0.7, False),
    "minilm_1_overhead_ms": (1.5, False),
    "echo_32_vs_mosec": (3, True),
    "echo_32_vs_litserve": (20, True),
    "echo_32_vs_fastapi": (5, True),
    "echo_1_p50_vs_mosec": (0.7, False),
    "sse_vs_best_peer": (1, True),
    "idle_cpu_cores": (0.005, False),
    "overload_goodput_ratio": (0.95, True),
}
Samples = dict[str, dict[int, list[dict[str, Any]]]]  # by side, then number of clients: one burst a round
HOTLOOP = ("hotloop",)
_MEDIANS = {"rate": 2, "p50_ms": 3, "p99_ms": 3, "cpu_ms_per_request": 4}


def medians(samples: Samples) -> dict[str, Any]:
    """For each side and number of clients the medians over the rounds, and every round's rate."""
    return {
        side: {str(num_clients): _row(bursts) for num_clients, bursts in by_clients.items()}
        for side, by_clients in samples.items()
    }


def _row(bursts: list[dict[str, Any]]) -> dict[str, Any]:
    row = {
        name: stats.rounded(stats.p50([burst[name] for burst in bursts if burst[name] is not None]), digits)
        for name, digits in _MEDIANS.items()
    }
    num_answers = sum(burst["num_answers"] for burst in bursts)
    return {**row, "n": len(bursts), "num_answers": num_answers, "samples_rate": [burst["rate"] for burst in bursts]}


def figures(result: dict[str, Any]) -> dict[str, float | None]:
    """hotloop against the others. A figure is None if one of its sides was not measured."""
    return {
        **_minilm_figures(result.get("minilm", {}), result.get("direct", {})),
        **_echo_figures(result.get("echo", {})),
        "sse_vs_best_peer": _rate_ratio(result.get("sse", {}), PEERS, "16"),
        "idle_cpu_cores": result.get("idle", {}).get("hotloop"),
        "overload_goodput_ratio": result.get("overload", {}).get("goodput_ratio"),
    }


def _minilm_figures(minilm: dict[str, Any], direct: dict[str, Any]) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for clients in ("32", "128"):
        own, peer = _fastest(minilm, HOTLOOP, clients), _fastest(minilm, PEERS, clients)
        found[f"minilm_{clients}_vs_best_peer"] = _rate_ratio(minilm, PEERS, clients)
        found[f"minilm_{clients}_vs_direct"] = _ratio(own.get("rate"), direct.get("rate"))
        found[f"minilm_{clients}_vs_closed_loop"] = _ratio(
            own.get("rate"), direct.get("closed_loop_rate", {}).get(clients)
        )
        found[f"minilm_{clients}_p99_vs_best_peer"] = _ratio(own.get("p99_ms"), peer.get("p99_ms"))
    cpu = [_least(minilm, families, "32", "cpu_ms_per_request") for families in (HOTLOOP, ("litserve",))]
    found["minilm_32_cpu_vs_litserve"] = _ratio(*cpu)
    single_ms, direct_ms = _least(minilm, HOTLOOP, "1", "p50_ms"), direct.get("single_p50_ms")
    is_known = single_ms is not None and direct_ms is not None
    found["minilm_1_overhead_ms"] = round(single_ms - direct_ms, 3) if is_known else None
    return found


def _echo_figures(echo: dict[str, Any]) -> dict[str, float | None]:
    p50s = [_least(echo, families, "1", "p50_ms") for families in (HOTLOOP, ("mosec",))]
    ratios = {f"echo_32_vs_{peer}": _rate_ratio(echo, (peer,), "32") for peer in ("mosec", "litserve", "fastapi")}
    return {**ratios, "echo_1_p50_vs_mosec": _ratio(*p50s)}


def _rate_ratio(table: dict[str, Any], peers: Iterable[str], clients: str) -> float | None:
    """hotloop's best rate to that of some peers, each by its best variant."""
    return _ratio(*(_fastest(table, families, clients).get("rate") for families in (HOTLOOP, peers)))


def _rows(table: dict[str, Any], families: Iterable[str], clients: str) -> list[dict[str, Any]]:
    wanted = set(families)
    return [by[clients] for side, by in table.items() if side.partition("-")[0] in wanted and clients in by]


def _fastest(table: dict[str, Any], families: Iterable[str], clients: str) -> dict[str, Any]:
    return max(_rows(table, families, clients), key=lambda row: row["rate"] or 0.0, default={})


def _least(table: dict[str, Any], families: Iterable[str], clients: str, figure: str) -> Any:
    return min((row[figure] for row in _rows(table, families, clients) if row[figure] is not None), default=None)


def _ratio(one: float | None, other: float | None) -> float | None:
    return None if one is None or not other else round(one / other, 3)
