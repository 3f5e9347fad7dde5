"""Time from a save to the file being on another machine, and to the first output: hotloop beside rsync and tar over ssh.

Two network namespaces on this machine, 40 ms apart there and back. Run it as root: python -m benchmarks.sync --json
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from platform import libc_ver, machine
from typing import Any, Self

from benchmarks import environments, stats, sync_peers
from benchmarks.loop_client import Loop, LoopFailed, interrupt_on_terminate
from benchmarks.projects import Project
from benchmarks.sync_peers import Arrivals
from benchmarks.wan import Unavailable, Wan
from hotloop import events
from hotloop.remote_runner.bootstrap import packages
from hotloop.remote_runner.bootstrap.failures import Failure
from hotloop.remote_runner.bootstrap.source import requirements

PARTS = ("edits", "loss", "bulk", "loopback", "first", "big", "warm")
RESULT = environments.BENCHMARKS / "results" / "sync.json"
HALF_MS = 20.0
BULK_BYTES = 200_000_000
BIG_BYTES = 500_000_000
FIRST_FILES = 5000
APP = """import hotloop

app = hotloop.App("measured")
WORD = "one"


@app.endpoint
def hello(name: str) -> str:
    return f"{WORD} {name}"


@app.probe
def greet(client):
    return client.hello(name="me")
"""


def fetch_packages() -> None:
    """Have what a runner gets from this machine kept here: there is no package registry at either end of the line."""
    platform = packages.uv_platform(f"{machine()}-gnu", libc_ver()[1])
    python = ".".join(map(str, sys.version_info[:2]))
    try:
        asyncio.run(packages.fetch(requirements(), platform=platform, python=python))
    except Failure as failure:
        sys.exit(f"benchmarks.sync: {failure}")


@dataclass
class Bench:
    """One run: what was asked for, where it works, what it found."""

    options: argparse.Namespace
    folder: Path
    result: dict[str, Any] = field(default_factory=dict[str, Any])

    def run(self) -> None:
        """Measure what was asked for; a part that fails is told, and the rest goes on."""
        for part in PARTS:
            if part in self.options.only:
                print(f"{part} ...", file=sys.stderr, flush=True)
                try:
                    getattr(self, part)()
                except (LoopFailed, TimeoutError, Unavailable, subprocess.CalledProcessError) as error:
                    self.result.setdefault("failures", {})[part] = str(error)[:500]
                    print(f"{part}: {error}", file=sys.stderr)

    # --- parts

    def edits(self) -> None:
        """One edited file, at each size of tree; rsync of the same tree in turns."""
        with self.wan() as wan:
            for num_files in self.options.trees:
                tree = self.project(num_files)
                with self.loop(wan, tree) as loop, Edited(self, loop) as edited:
                    edited.measure(self.options.rounds)
                target = self.fresh("rsync")
                with sync_peers.shared_connection(wan) as shared:
                    rounds = max(3, self.options.rounds // 5)
                    by_shared = sync_peers.rsync_edits(wan, tree.root, target, rounds, *shared)
                by_fresh = sync_peers.rsync_edits(wan, tree.root, target, max(3, rounds // 2))
                self.note(f"wan_edit_{num_files}", edited.applied_ms)
                self.note(f"rsync_shared_{num_files}", stats.in_ms(by_shared))
                self.note(f"rsync_fresh_{num_files}", stats.in_ms(by_fresh))
                self.note(f"wan_feedback_overhead_{num_files}", edited.overhead_ms)

    def loss(self) -> None:
        """As `edits`, with half a percent of the packets lost."""
        with self.wan(loss_percent=0.5) as wan, self.loop(wan, self.project(100)) as loop, Edited(self, loop) as edited:
            edited.measure(self.options.rounds * 4)
        self.note("wan_loss_edit", edited.applied_ms)

    def bulk(self) -> None:
        """As `edits`, while a large file is on its way."""
        with self.wan(rate_mbit=100) as wan, self.loop(wan, self.project(100)) as loop, Edited(self, loop) as edited:
            big = loop.project.root / "weights.bin"
            with big.open("wb") as file:
                for _ in range(BULK_BYTES // 1_000_000):
                    file.write(os.urandom(1_000_000))
            time.sleep(1)
            edited.measure(min(10, self.options.rounds))
            is_there = (self.tree_there() / "weights.bin").exists()
            self.result["bulk_was_over_before_the_edits"] = is_there
        self.note("wan_bulk_edit", edited.applied_ms)

    def loopback(self) -> None:
        """As `edits`, by SSH to this machine without a delay."""
        with self.wan(one_way_ms=0) as wan, self.loop(wan, self.project(100)) as loop, Edited(self, loop) as edited:
            edited.measure(self.options.rounds)
        self.note("loopback_edit", edited.applied_ms)

    def first(self) -> None:
        """The first copy of a tree of small files, connecting included: `first_sync_vs_best` is `dev serve`'s own."""
        with self.wan() as wan:
            tree = self.project(FIRST_FILES)
            sides: dict[str, Callable[[Path], float | None]] = {
                "script": lambda _: self.sync_once(wan, tree),
                "serve": lambda _: self.serve_once(wan, tree),
                "rsync": lambda there: sync_peers.rsync(wan, tree.root, there),
                "tar": lambda there: sync_peers.tar(wan, tree.root, there),
            }
            self.serve_once(wan, tree)  # puts hotloop and the app's environment on the runner
            took = self.in_turns(sides, self.options.copies)
        for side, samples in took.items():
            self.note(f"first_{side}", stats.in_ms(samples))
        best = min(statistics.median(took[side]) for side in ("rsync", "tar"))
        self.result["first_sync_vs_best"] = round(statistics.median(took["serve"]) / best, 2)
        self.result["first_script_vs_best"] = round(statistics.median(took["script"]) / best, 2)

    def big(self) -> None:
        """One large file that no compression helps."""
        with self.wan() as wan:
            tree = self.project(0)
            with (tree.root / "weights.bin").open("wb") as file:
                for _ in range(BIG_BYTES // 1_000_000):
                    file.write(os.urandom(1_000_000))
            sides: dict[str, Callable[[Path], float | None]] = {
                "hotloop": lambda _: self.sync_once(wan, tree),
                "rsync": lambda there: sync_peers.rsync(wan, tree.root, there, whole=True),
            }
            took = self.in_turns(sides, max(1, self.options.copies // 2))
        for side, samples in took.items():
            self.note(f"big_{side}", stats.in_ms(samples))
        self.result["big_file_vs_rsync"] = round(
            statistics.median(took["hotloop"]) / statistics.median(took["rsync"]), 2
        )

    def warm(self) -> None:
        """`dev serve` on a runner that had it before, from the command to ready."""
        took: list[float] = []
        with self.wan() as wan:
            project = self.project(100)
            for number in range(self.options.copies + 1):
                with self.loop(wan, project) as loop:
                    if number:
                        took.append(loop.first_ready_s)
        self.note("warm_start", stats.in_ms(took))
        self.result["warm_start_s"] = round(statistics.median(took), 3)

    # --- what they have in common

    @contextlib.contextmanager
    def wan(self, **line: float) -> Iterator[Wan]:
        """A line, and hotloop's settings for the runner at its other end."""
        with Wan(self.folder / "wan", name="hlbench", **line) as wan:
            config = self.folder / "config" / "hotloop"
            config.mkdir(parents=True, exist_ok=True)
            (config / "config.toml").write_text(
                f'[runners.far]\ntarget = "gpubox"\nstate = "{self.folder}/there"\ncache = "{self.folder}/cache"\n'
            )
            yield wan

    def environ(self, wan: Wan) -> dict[str, str]:
        """What the client needs to know."""
        return {"HOTLOOP_SSH_CONFIG": str(wan.ssh_config), "XDG_CONFIG_HOME": str(self.folder / "config")}

    def project(self, num_files: int) -> Project:
        """A project with an app and as many files beside it."""
        root = self.fresh("project")
        sync_peers.make_tree(root, num_files)
        (root / "app.py").write_text(APP)
        return Project(root)

    def fresh(self, name: str) -> Path:
        """An empty folder."""
        path = self.folder / name
        self.put_aside(path)
        path.mkdir(parents=True)
        return path

    def put_aside(self, path: Path) -> None:
        """Have a folder gone, and remove nothing while anything is measured.

        For minutes ext4 uses no inode of a removed file again, and looks at each of them for each file that it makes: a
        copy of 5,000 files took up to a second longer after as many had been removed, or nothing, as the disk had it.
        """
        aside = self.folder / "aside"
        aside.mkdir(exist_ok=True)
        if path.exists():
            path.rename(aside / str(time.monotonic_ns()))

    def loop(self, wan: Wan, project: Project) -> Loop:
        """`dev serve` on the laptop's side of the line, for the far runner."""
        prefix = tuple(wan.on_laptop([]))
        return Loop(project, None, self.folder / "loop", prefix, ("--on", "far"), self.environ(wan))

    def tree_there(self) -> Path:
        """The workspace on the runner."""
        return next((self.folder / "there" / "sessions").glob("*/tree"))

    def sync_once(self, wan: Wan, project: Project) -> float:
        """Connect, copy the project, end; the runner forgets it. Gives when all was there."""
        self.put_aside(self.folder / "there" / "sessions")
        command = [sys.executable, "-m", "benchmarks.sync_once", "far", str(project.root), str(self.folder / "client")]
        environ = {**os.environ, **self.environ(wan), "HOTLOOP_STATE_DIR": str(self.folder / "client")}
        done = subprocess.run(wan.on_laptop(command), env=environ, capture_output=True, text=True, check=False)
        if done.returncode:
            msg = f"hotloop's copy failed: {done.stderr[-300:]}"
            raise Unavailable(msg)
        return float(done.stdout)

    def serve_once(self, wan: Wan, project: Project) -> float:
        """Serve a project that neither side knows. Gives when `dev serve` said that all is there."""
        self.put_aside(self.folder / "there" / "sessions")
        self.put_aside(project.root / ".hotloop")
        with self.loop(wan, project) as loop:
            return loop.wait_for(events.SessionStarted, after=-1).event.at_s

    def in_turns(self, sides: dict[str, Callable[[Path], float | None]], rounds: int) -> dict[str, list[float]]:
        """Seconds of each side's first copies, one after the other."""
        took: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(rounds):
            for name, bring in sides.items():
                took[name].append(sync_peers.timed_first(bring, self.folder / "first"))
                self.put_aside(self.folder / "first")
        return took

    def note(self, name: str, samples_ms: list[float]) -> None:
        """Keep a side's samples, and say their median."""
        self.result[f"{name}_ms"] = {**stats.summary(samples_ms, "ms"), "p99_ms": round(p99(samples_ms), 1)}
        print(
            f"  {name:<32} p50 {statistics.median(samples_ms):8.1f} ms  (n {len(samples_ms)})",
            file=sys.stderr,
            flush=True,
        )


class Edited:
    """Saves of the app over a running loop, each timed to its arrival and to its first output."""

    def __init__(self, bench: Bench, loop: Loop) -> None:
        self.applied_ms: list[float] = []
        self.overhead_ms: list[float] = []
        self._loop = loop
        self._arrivals = Arrivals(bench.tree_there())
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._arrivals.__exit__()

    def measure(self, rounds: int) -> None:
        """Save as often, waiting for each to be ready."""
        for _ in range(rounds):
            self._count += 1
            self._arrivals.forget()
            came: list[float] = []
            waiting = threading.Thread(target=lambda came=came: came.append(self._arrivals.wait_for("app.py")))
            waiting.start()
            saved: list[float] = []

            def save(saved: list[float] = saved) -> float:
                saved.append(self._loop.project.edit("app.py", r"^WORD = .*$", f'WORD = "edit {self._count}"'))
                return saved[0]

            edit = self._loop.measure(save)
            waiting.join()
            self.applied_ms.append((came[0] - saved[0]) * 1000)
            if edit.feedback_s is not None:
                self.overhead_ms.append((edit.feedback_s - edit.compute_s) * 1000)


def p99(samples: list[float]) -> float:
    """The smallest sample that 99 % of the samples do not exceed."""
    return sorted(samples)[-(-99 * len(samples) // 100) - 1]


def finish(bench: Bench) -> dict[str, Any]:
    """The result with the figures that are looked at, at its top level."""
    result = bench.result
    names = {
        "wan_edit_ms_p50": "wan_edit_5000_ms",
        "loopback_edit_ms_p50": "loopback_edit_ms",
        "wan_feedback_overhead_ms_p50": "wan_feedback_overhead_5000_ms",
        **{f"rsync_shared_{n}_ms_p50": f"rsync_shared_{n}_ms" for n in bench.options.trees},
        **{f"rsync_fresh_{n}_ms_p50": f"rsync_fresh_{n}_ms" for n in bench.options.trees},
    }
    top = {name: result[source]["p50_ms"] for name, source in names.items() if source in result}
    at = {
        "machine": stats.machine(),
        "load": stats.load_average(),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return {**top, **result, **at}


def table(result: dict[str, Any]) -> str:
    """For people: each figure with its p50, p95 and p99."""
    lines = [f"{'ms':<34}{'p50':>10}{'p95':>10}{'p99':>10}{'n':>6}"]
    for name, value in result.items():
        if isinstance(value, dict) and "p50_ms" in value:
            figures = "".join(f"{value[key]:>10.1f}" for key in ("p50_ms", "p95_ms", "p99_ms"))
            lines.append(f"{name.removesuffix('_ms'):<34}{figures}{value['n']:>6}")
    figures = [
        name
        for name in ("first_sync_vs_best", "first_script_vs_best", "big_file_vs_rsync", "warm_start_s")
        if name in result
    ]
    lines += [f"{name:<34}{result[name]:>10}" for name in figures]
    return "\n".join(lines)


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument(
        "--keep", action="store_true", help=f"write it to {RESULT.relative_to(environments.REPOSITORY)}"
    )
    parser.add_argument("--rounds", type=int, default=30, help="edits a tree")
    parser.add_argument("--copies", type=int, default=5, help="first copies and warm starts")
    parser.add_argument("--trees", type=int, nargs="+", default=[100, 5000, 50_000], help="how many files")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    options = parser.parse_args()
    interrupt_on_terminate()
    if shutil.which("rsync") is None:
        sys.exit("benchmarks.sync: rsync is not installed: apt-get install rsync")
    fetch_packages()
    with tempfile.TemporaryDirectory(prefix="hotloop-sync-") as folder:
        bench = Bench(options, Path(folder))
        bench.run()
    result = finish(bench)
    if options.keep:
        RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result) if options.json else table(result))
    sys.exit(1 if "failures" in result else 0)


if __name__ == "__main__":
    main()
