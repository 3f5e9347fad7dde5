"""Time from a save to new code ready: hotloop, a cold start and peers, on the chat template, in one run.

Run it from the repository: python -m benchmarks.reload --json
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import cold, environments, loop_client, memory, projects, stats, table
from benchmarks.as_peers import LoopAsPeer
from benchmarks.bare import BareChain
from benchmarks.loop_client import Edit, Loop
from benchmarks.peers import PEERS, PeerRun
from benchmarks.schedule import Failures, Side, interleave

PARTS = ("loop", "fork", "loaders", "memory", "bare", "cold", "as_peers", "peers", "class", "modules50", "help")
RESULT = environments.BENCHMARKS / "results" / "reload.json"
MB = 1e6


@dataclass
class Bench:
    """One run: what was asked for, where it works, what it found."""

    options: argparse.Namespace
    folder: Path
    python: Path
    failures: Failures = field(default_factory=Failures)
    result: dict[str, Any] = field(default_factory=dict[str, Any])
    peers: dict[str, Any] = field(default_factory=dict[str, Any])
    colds: list[cold.ColdStart] = field(default_factory=list[cold.ColdStart])

    def __post_init__(self) -> None:
        self.bridge = environments.make_bridge(self.folder / "bridge")
        self.cold_project = projects.chat(self.folder / "cold")

    def wants(self, part: str) -> bool:
        """Whether a part was asked for."""
        return part in self.options.only

    def run(self) -> None:
        """Measure everything that was asked for; what fails is noted, and the rest goes on."""
        if self.wants("help"):
            self.failures.attempt("help", self._measure_help)
        self._measure_against_others()
        if self.wants("class"):
            self.failures.attempt("class", self._measure_class)
        if self.wants("modules50"):
            self.failures.attempt("modules50", self._measure_modules)

    def _measure_help(self) -> None:
        command = [loop_client.dev_command(), "--help"]
        samples: list[float] = []
        for _ in range(self.options.edits + 1):
            began = time.monotonic()
            subprocess.run(command, check=True, capture_output=True)
            samples.append(time.monotonic() - began)
        samples = samples[1:]  # the first one may have had to read the disk
        self.result["help_s_p50"] = stats.rounded(stats.p50(samples))
        self._detail("help", stats.summary(samples, "s"))

    # --- hotloop, cold starts and peers in turn -----------------------------------------------------------------

    def _measure_against_others(self) -> None:
        process_bytes = 0
        if self.wants("memory"):  # before anything else maps the same libraries: shared pages would count less
            process_bytes = cold.process_without_weights_bytes(self.cold_project, self.python, self.bridge)
        with contextlib.ExitStack() as running:
            sides = [
                *self._bare_sides(running),
                *self._peer_sides(running),
                *self._cold_sides(),
                *self._as_peer_sides(running),
            ]
            loop = self._start_loop(running)
            interleave([*(self._loop_sides(loop) if loop else []), *sides], self.failures)
        if loop:
            self._report_loop(loop)
            self._measure_alone(loop, process_bytes)
        self._report_cold()

    def _start_loop(self, running: contextlib.ExitStack) -> Loop | None:
        if not any(self.wants(part) for part in ("loop", "fork", "loaders", "memory")):
            return None
        loop = Loop(projects.chat(self.folder / "chat"), self.python, self.folder / "loop")
        is_up = self.failures.attempt("loop", lambda: running.enter_context(loop))
        return loop if is_up else None

    def _loop_sides(self, loop: Loop) -> list[Side]:
        project = loop.project
        edits = self.options.edits

        def edit(number: int) -> None:
            loop.measure(lambda: project.edit_prompt(f"You are a helpful assistant, number {number}."))

        def fork(number: int) -> None:
            loop.measure_fork(
                lambda: project.edit_prompt(f"You are an assistant, number {number}."),
                lambda: project.edit_prompt(f"You are a good assistant, number {number}."),
            )

        sides = [Side("loop", edits, edit)] if self.wants("loop") else []
        return [*sides, Side("fork", edits, fork)] if self.wants("fork") else sides

    def _bare_sides(self, running: contextlib.ExitStack) -> list[Side]:
        if not self.wants("bare"):
            return []
        chain = BareChain(projects.chat(self.folder / "bare"), self.folder / "bare_chain", self.python, self.bridge)
        if not self.failures.attempt("bare", lambda: running.enter_context(chain)):
            return []
        running.callback(self._report_bare, chain)
        return [Side("bare", self.options.edits, chain.measure_edit)]

    def _report_bare(self, chain: BareChain) -> None:
        samples = stats.in_ms(chain.ready_s)
        self.result["bare_ready_ms_p50"] = stats.rounded(stats.p50(samples))
        self._detail("bare", stats.summary(samples, "ms"))

    def _cold_sides(self) -> list[Side]:
        def start(number: int) -> None:
            self.cold_project.edit_prompt(f"You are a helpful assistant, number {number}.")
            self.colds.append(cold.measure(self.cold_project, self.python, self.bridge))

        return [Side("cold", self.options.cold, start)] if self.wants("cold") else []

    def _as_peer_sides(self, running: contextlib.ExitStack) -> list[Side]:
        if not self.wants("as_peers"):
            return []
        project = projects.chat_without_probe(self.folder / "as_peers")
        run = LoopAsPeer(Loop(project, self.python, self.folder / "as_peers_loop"))
        if not self.failures.attempt("as_peers", lambda: running.enter_context(run)):
            return []
        running.callback(self._finish_as_peer, run)
        return [Side("as_peers", self.options.edits, run.measure_edit)]

    def _finish_as_peer(self, run: LoopAsPeer) -> None:
        self.failures.attempt("hotloop: stale edits", run.find_stale_edits)
        self.result["as_peers"] = run.report()

    def _peer_sides(self, running: contextlib.ExitStack) -> list[Side]:
        sides: list[Side] = []
        for name in self.options.peers if self.wants("peers") else ():
            if not self.failures.attempt(name, lambda name=name: sides.append(self._start_peer(name, running))):
                self.peers[name] = {"ready_ms_p50": None, "first_response_s_p50": None, "n": 0, "stale_edits": None}
        return sides

    def _start_peer(self, name: str, running: contextlib.ExitStack) -> Side:
        python = environments.peer_python(name, self.python)
        folder = self.folder / name
        folder.mkdir()
        run = running.enter_context(PeerRun(PEERS[name], python, folder, self.bridge))
        run.measure_steady()
        running.callback(self._finish_peer, run)
        return Side(name, self.options.peer_edits, run.measure_edit)

    def _finish_peer(self, run: PeerRun) -> None:
        self.failures.attempt(f"{run.peer.name}: stale edits", run.find_stale_edits)
        self.peers[run.peer.name] = run.report()

    # --- hotloop alone ------------------------------------------------------------------------------------------

    def _measure_alone(self, loop: Loop, process_bytes: int) -> None:
        again = Loop(loop.project, self.python, self.folder / "alone")
        wanted = [part for part in ("memory", "loaders") if self.wants(part)]
        if not wanted:
            return

        def measure() -> None:
            with again:
                if self.wants("memory"):
                    self._measure_memory(again, process_bytes)
                if self.wants("loaders"):
                    self._measure_loaders(again)

        self.failures.attempt(" and ".join(wanted), measure)

    def _measure_memory(self, loop: Loop, process_bytes: int) -> None:
        for text in ("You are small.", "You are tiny."):  # then what serves and what waits are of one zygote
            edit = loop.measure(lambda text=text: loop.project.edit_prompt(text))
            loop.wait_until_quiet()
        sizes = memory.tree_pss_bytes(loop.runtime_pid)
        weights = sum(model.size_bytes for model in edit.models)
        limit = weights * 1.15 + 2 * process_bytes
        self.result["memory"] = {
            "pss_mb": round(sum(sizes.values()) / MB, 1),
            "weights_mb": round(weights / MB, 1),
            "process_mb": round(process_bytes / MB, 1),
            "limit_mb": round(limit / MB, 1),
            "ok": sum(sizes.values()) <= limit,
            "processes_mb": [round(size / MB, 1) for size in sizes.values()],
        }

    def _measure_loaders(self, loop: Loop) -> None:
        unchanged = len(loop.edits)
        for number in range(self.options.loader_edits):
            loop.measure(lambda number=number: projects.edit_loader(loop.project, number))
        outcomes = [model for edit in loop.edits[unchanged:] for model in edit.models]
        self.result["models_kept_when_changed"] = sum(m.name == "llm" and m.action == "kept" for m in outcomes)
        self._count_loaded([m for m in outcomes if m.name != "llm"])
        samples = [edit.ready_s for edit in loop.edits[unchanged:]]
        self._detail("loader_edit", {**stats.summary(samples, "s"), "models": sorted({m.why for m in outcomes})})

    def _measure_class(self) -> None:
        project = projects.chat_with_own_class(self.folder / "class")
        with Loop(project, self.python, self.folder / "class_loop") as loop:
            for number in range(self.options.edits):
                loop.measure(lambda number=number: projects.edit_forward(project, number + 1))
        self._report_edits("class_edit", loop.edits)

    def _measure_modules(self) -> None:
        project = projects.chat_of_50_modules(self.folder / "modules50")
        with Loop(project, self.python, self.folder / "modules50_loop") as loop:
            for number in range(self.options.edits):
                loop.measure(lambda number=number: projects.edit_part(project, number + 1))
        self._report_edits("modules50", loop.edits)

    # --- what is said about it ----------------------------------------------------------------------------------

    def _report_loop(self, loop: Loop) -> None:
        ready = stats.in_ms([edit.ready_s for edit in loop.edits])
        overhead = stats.in_ms([e.feedback_s - e.compute_s for e in loop.edits if e.feedback_s is not None])
        forks = stats.in_ms([edit.ready_s for edit in loop.forks])
        self.result |= {
            "ready_ms_p50": stats.rounded(stats.p50(ready)),
            "ready_ms_p95": stats.rounded(stats.p95(ready)),
            "feedback_overhead_ms_p50": stats.rounded(stats.p50(overhead)),
            "fork_fallback_ms_p50": stats.rounded(stats.p50(forks)),
            "first_ready_s": stats.rounded(loop.first_ready_s),
        }
        self._count_loaded([model for edit in (*loop.edits, *loop.forks) for model in edit.models])
        self._detail("ready", {**stats.summary(ready, "ms"), **_starts(loop.edits), "phases_ms": _phases(loop.edits)})
        self._detail("feedback_overhead", stats.summary(overhead, "ms"))
        self._detail("fork_fallback", {**stats.summary(forks, "ms"), **_starts(loop.forks)})

    def _report_edits(self, name: str, edits: list[Edit]) -> None:
        samples = stats.in_ms([edit.ready_s for edit in edits])
        self.result[f"{name}_ms_p50"] = stats.rounded(stats.p50(samples))
        self._count_loaded([model for edit in edits for model in edit.models])
        self._detail(name, {**stats.summary(samples, "ms"), **_starts(edits), "phases_ms": _phases(edits)})

    def _report_cold(self) -> None:
        if not self.colds:
            return
        response = [sample.response_s for sample in self.colds]
        cold_s, ready_ms = stats.p50(response), self.result.get("ready_ms_p50")
        self.result["cold_s_p50"] = stats.rounded(cold_s)
        self.result["cold_loaded_s_p50"] = stats.rounded(stats.p50([sample.loaded_s for sample in self.colds]))
        self._detail("cold", stats.summary(response, "s"))
        if cold_s and ready_ms:
            self.result["ratio"] = stats.rounded(cold_s * 1000 / float(ready_ms), 1)

    def _count_loaded(self, unchanged: list[Any]) -> None:
        loaded = sum(model.action != "kept" for model in unchanged)
        self.result["models_loaded_when_unchanged"] = self.result.get("models_loaded_when_unchanged", 0) + loaded

    def _detail(self, name: str, value: dict[str, Any]) -> None:
        self.result.setdefault("details", {})[name] = value

    def finished(self) -> dict[str, Any]:
        """The whole result, the targets beside it."""
        details = self.result.pop("details", {})
        whole = {**self.result, "peers": self.peers, "failures": self.failures.reasons, "details": details}
        return {"targets": table.targets(whole), **whole}


def _starts(edits: list[Edit]) -> dict[str, Any]:
    """How many samples began from what."""
    kinds = [edit.start for edit in edits]
    return {"starts": {kind: kinds.count(kind) for kind in sorted(set(kinds))}}


def _phases(edits: list[Edit]) -> dict[str, float | None]:
    """The median of each phase, milliseconds."""
    names = edits[0].phases_s if edits else {}
    return {name: stats.rounded(stats.p50([e.phases_s.get(name, 0.0) * 1000 for e in edits])) for name in names}


def main() -> int:
    """Measure, print the table to stderr and the JSON to stdout; 1 if a part could not be measured."""
    options = _options()
    loop_client.interrupt_on_terminate()
    try:
        python = environments.user_python(options.user_python)
    except environments.Unavailable as error:
        print(f"benchmarks.reload: {error}", file=sys.stderr)
        return 2
    about = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": stats.machine(),
        "versions": environments.versions(python),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS", "not set"),
        "load_average_start": stats.load_average(),
    }
    with tempfile.TemporaryDirectory(prefix="hotloop-bench-", ignore_cleanup_errors=True) as folder:
        bench = Bench(options, Path(folder), python)
        bench.run()
    result = {**about, "load_average_end": stats.load_average(), **bench.finished()}
    table.write(result, sys.stderr)
    if options.output:
        options.output.write_text(json.dumps(result, indent=1) + "\n")
    if options.json:
        print(json.dumps(result))
    return 1 if result["failures"] else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reload", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the result as JSON, as the last line")
    parser.add_argument("--edits", type=int, default=20, help="samples of each kind of edit (20)")
    parser.add_argument("--cold", type=int, default=20, help="cold starts (20)")
    parser.add_argument("--loader-edits", type=int, default=3, help="edits of the model's loader (3)")
    parser.add_argument("--peers", type=_names(PEERS), default=tuple(PEERS), help=f"of {','.join(PEERS)} (all)")
    parser.add_argument("--peer-edits", type=int, default=5, help="edits for each peer, a restart each (5)")
    parser.add_argument("--user-python", default="", help="interpreter that has torch, transformers and the weights")
    parser.add_argument("--only", type=_names(PARTS), default=PARTS, help=f"of {','.join(PARTS)} (all)")
    parser.add_argument(
        "--output", type=Path, help="file for the JSON (of a whole run benchmarks/results/reload.json, of a part none)"
    )
    options = parser.parse_args()
    if not options.output and set(options.only) == set(PARTS) and set(options.peers) == set(PEERS):
        options.output = RESULT
    return options


def _names(known: Any) -> Any:
    def parse(text: str) -> tuple[str, ...]:
        names = tuple(name for name in text.split(",") if name)
        for name in names:
            if name not in known:
                msg = f"{name!r}, expected some of {', '.join(known)}"
                raise argparse.ArgumentTypeError(msg)
        return names

    return parse


if __name__ == "__main__":
    sys.exit(main())
