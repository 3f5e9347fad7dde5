"""The result as a table for people."""

from __future__ import annotations

from typing import Any, TextIO

# Figure, unit, limit, whether more is better.
TARGETS: dict[str, tuple[float, bool]] = {
    "ready_ms_p50": (8, False),
    "ratio": (800, True),
    "feedback_overhead_ms_p50": (15, False),
    "class_edit_ms_p50": (50, False),
    "modules50_ms_p50": (100, False),
    "models_loaded_when_unchanged": (0, False),
    "models_kept_when_changed": (0, False),
    "help_s_p50": (0.25, False),
}
_PLAIN = (
    "ready_ms_p95",
    "bare_ready_ms_p50",
    "cold_s_p50",
    "cold_loaded_s_p50",
    "fork_fallback_ms_p50",
    "first_response_s_p50",
    "first_ready_s",
)


def targets(result: dict[str, Any], limits: dict[str, tuple[float, bool]] = TARGETS) -> dict[str, dict[str, Any]]:
    """Each target that was measured: its value, the limit, whether it is reached."""
    return {
        name: {"value": result[name], "limit": limit, "ok": result[name] >= limit if is_more else result[name] <= limit}
        for name, (limit, is_more) in limits.items()
        if result.get(name) is not None
    }


def write(result: dict[str, Any], out: TextIO) -> None:
    """Print the figures, the targets beside them, then the peers."""
    write_targets(result["targets"], TARGETS, out)
    for name in _PLAIN:
        if result.get(name) is not None:
            out.write(f"{name:32} {result[name]:>12,.6g}\n")
    if memory := result.get("memory"):
        mark = "ok" if memory["ok"] else "MISSED"
        out.write(f"{'memory.pss_mb':32} {memory['pss_mb']:>12,.6g}   <= {memory['limit_mb']:<8,g} {mark}\n")
    _write_peers(result, out)
    for name, reason in result["failures"].items():
        out.write(f"not measured: {name}: {reason}\n")
    out.write(f"load average {result['load_average_start']} at the start, {result['load_average_end']} at the end\n")


def write_targets(reached: dict[str, Any], limits: dict[str, tuple[float, bool]], out: TextIO) -> None:
    """Print each target that was measured, its limit and whether it is reached."""
    for name, target in reached.items():
        sign = ">=" if limits[name][1] else "<="
        mark = "ok" if target["ok"] else "MISSED"
        out.write(f"{name:32} {target['value']:>12,.6g}   {sign} {target['limit']:<8,g} {mark}\n")


def _write_peers(result: dict[str, Any], out: TextIO) -> None:
    out.write(f"\n{'the same app with':20} {'ready, ms':>10} {'response, s':>12} {'n':>4}  stale after an edit of\n")
    for name, peer in {"hotloop": result.get("as_peers"), **result["peers"]}.items():
        if not peer:
            continue
        stale = "not tried" if peer["stale_edits"] is None else ", ".join(peer["stale_edits"]) or "nothing"
        ready, response = _text(peer["ready_ms_p50"], 1), _text(peer["first_response_s_p50"], 2)
        out.write(f"{name:20} {ready:>10} {response:>12} {peer['n']:>4}  {stale}\n")


def _text(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"
