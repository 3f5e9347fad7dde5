"""What the dashboard costs and how fast it answers: the real process on a real terminal, fed by the real broadcast.

Run it from the repository: python -m benchmarks.tui --json
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TextIO

from benchmarks import environments, stats, table
from benchmarks.tui_terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator

RESULT = environments.BENCHMARKS / "results" / "tui.json"
# Figure: limit, whether more is better.
TARGETS: dict[str, tuple[float, bool]] = {
    "key_to_paint_ms_p95": (100, False),
    "first_frame_s": (1, False),
    "idle_cpu": (0.0005, False),  # 0 %: a clock on the screen goes on once a minute
    "cpu_at_1000_lines": (0.25, False),
    "log_memory_mb": (60, False),
    "filter_ms": (50, False),
    "lines_lost": (0, False),
}
# On a busy machine wall time tells of the others: where it is meant, the time that the dashboard's main thread (and this
# process, which reads the terminal) was ready to run and had no core is taken off. The kernel counts it (schedstat).
CLOCKS = {
    "key_to_paint_ms_p95": "wall less waits for a core, 1,000 lines/s arriving",
    "first_frame_s": "wall less waits for a core, from exec, median",
    "idle_cpu": "CPU over wall",
    "cpu_at_1000_lines": "CPU over wall",
    "log_memory_mb": "growth of RSS for 100,000 lines",
    "filter_ms": "CPU, median of the keys of a search",
    "lines_lost": "of 100,000",
}
MORE = {
    "key_to_paint_ms_p50": "as above",
    "key_to_paint_wall_ms_p95": "wall",
    "key_to_paint_quiet_ms_p95": "wall less waits for a core, nothing arriving",
    "echo_ms_p95": "the same of a program that only writes what was typed: the machine's own part",
    "echo_wall_ms_p95": "wall",
    "first_frame_wall_s": "wall",
    "first_frame_cpu_s": "CPU until the first frame",
    "filter_ms_max": "CPU, the slowest key",
    "idle_cpu_main": "CPU over wall, without the threads that read and write the terminal",
    "idle_cpu_full": "CPU over wall, with 100,000 lines",
}
MB = 1e6
LINES = 100_000
AT_ONCE = 2_000
SHOWN_WITHIN_S = 20.0
# A key, and what the title says once it is painted. It says none of it before.
KEYS = (("k", "paused"), ("\x1b[F", "following"), ("l", "no debug"), ("l", "warnings, errors"), ("l", "· errors"))
ECHO = "import os\nimport tty\ntty.setraw(0)\nprint('ready', flush=True)\nwhile True: os.write(1, os.read(0, 9))\n"


class Feed:
    """The session's process."""

    def __init__(self, socket: Path) -> None:
        command = [sys.executable, "-m", "benchmarks.tui_feed", str(socket)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(10)

    def tell(self, command: str) -> int:
        """Have it obey. Returns how many lines it wrote so far."""
        assert self._process.stdin
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        return int(self._answer())

    def _answer(self) -> str:
        assert self._process.stdout
        if not (line := self._process.stdout.readline()):
            msg = "the session's process ended"
            raise RuntimeError(msg)
        return line


@contextlib.contextmanager
def dashboard(folder: Path) -> Iterator[tuple[Feed, Terminal]]:
    """A session, and the dashboard on it once it has painted everything."""
    socket = folder / "socket"
    command = [sys.executable, "-m", "hotloop.tui", str(socket)]
    command += ["--project", str(folder), "--crashes", str(folder / "crashes.log")]
    env = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", "HOTLOOP_STATE_DIR": str(folder / "state")}
    # What is installed is compiled; else each start does it, a quarter of its CPU.
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    for size in ("COLUMNS", "LINES"):  # the terminal says it
        env.pop(size, None)
    with Feed(socket) as feed, Terminal(command, env) as terminal:
        terminal.wait_for("following")
        yield feed, terminal


def first_frame(folder: Path, times: int) -> dict[str, Any]:
    """From exec to the first picture with the log's title in it."""
    walls_s: list[float] = []
    waits_s: list[float] = []
    cpus_s: list[float] = []
    for _ in range(times + 1):
        with dashboard(folder) as (_, terminal):
            walls_s.append(time.monotonic() - terminal.began_s)
            waits_s.append(terminal.waited_s() - terminal.own_waited_s)
            cpus_s.append(terminal.cpu_s())
    took_s = [wall_s - wait_s for wall_s, wait_s in zip(walls_s, waits_s, strict=True)]
    # The first one may have had to read the disk.
    return {
        "first_frame_s": stats.p50(took_s[1:]),
        "first_frame_wall_s": stats.p50(walls_s[1:]),
        "first_frame_cpu_s": stats.p50(cpus_s[1:]),
    }


def idle(terminal: Terminal, duration_s: float) -> tuple[float, float]:
    """CPU seconds a second while nothing happens: of the process, and of its main thread."""
    terminal.drain(3)
    began_s, cpu_s, main_s = time.monotonic(), terminal.cpu_s(), terminal.main_cpu_s()
    terminal.drain(duration_s)
    took_s = time.monotonic() - began_s
    return (terminal.cpu_s() - cpu_s) / took_s, (terminal.main_cpu_s() - main_s) / took_s


def busy(feed: Feed, terminal: Terminal, duration_s: float) -> float:
    """CPU seconds a second while 1,000 lines a second arrive."""
    feed.tell("rate 1000")
    terminal.drain(2)
    began_s, cpu_s = time.monotonic(), terminal.cpu_s()
    terminal.drain(duration_s)
    ratio = (terminal.cpu_s() - cpu_s) / (time.monotonic() - began_s)
    feed.tell("rate 0")
    return ratio


@dataclass(frozen=True)
class Answers:
    """How long keys took to the bytes of what they change, milliseconds: by the clock, and less the waits for a core."""

    wall_ms: list[float] = field(default_factory=list)
    own_ms: list[float] = field(default_factory=list)

    def type(self, terminal: Terminal, key: str, said: str) -> None:
        """Type a key and wait until what it does is written."""
        terminal.drain(0)
        waited_s = terminal.waited_s()
        pressed_s = terminal.press(key)
        took_s = terminal.wait_for(said) - pressed_s
        self.wall_ms.append(took_s * 1000)
        self.own_ms.append((took_s - (terminal.waited_s() - waited_s)) * 1000)


def keys(terminal: Terminal, times: int) -> Answers:
    """Type as people do: not in step with anything."""
    chance, answers = random.Random(7), Answers()
    for _ in range(times):
        for key, said in KEYS:
            answers.type(terminal, key, said)
            terminal.drain(chance.uniform(0.05, 0.25))
        terminal.press("l")  # all levels again
        terminal.drain(chance.uniform(0.15, 0.25))
    return answers


def echo(times: int) -> Answers:
    """The same of a program that does nothing but write what was typed: what the machine itself takes."""
    answers = Answers()
    with Terminal([sys.executable, "-c", ECHO], dict(os.environ)) as terminal:
        terminal.wait_for("ready")
        for _ in range(times):
            answers.type(terminal, "x", "x")
            terminal.drain(0.02)
    return answers


def fill(feed: Feed, terminal: Terminal) -> dict[str, float]:
    """Write 100,000 lines as fast as they are shown; what that takes in memory, and how many are missing."""
    before_bytes, before = terminal.rss_bytes(), num_lines(terminal)
    written = 0
    while written < LINES:
        terminal.press("")
        written = feed.tell(f"lines {AT_ONCE}")
        terminal.wait_for("following")
        terminal.drain(0.15)
    terminal.drain(1)
    until_s = time.monotonic() + SHOWN_WITHIN_S
    while (lost := before + written - num_lines(terminal)) and time.monotonic() < until_s:
        terminal.drain(0.5)  # a busy machine shows them later, which is no loss
    return {"log_memory_mb": (terminal.rss_bytes() - before_bytes) / MB, "lines_lost": lost}


def num_lines(terminal: Terminal) -> int:
    """What the title says."""
    terminal.press("k")
    terminal.wait_for("paused")
    terminal.press("\x1b[F")
    terminal.wait_for("following")
    return int(re.findall(r"([\d,]+) lines", terminal.text)[-1].replace(",", ""))


def filter_ms(terminal: Terminal) -> list[float]:
    """CPU time of each key of a search for a text in 100,000 lines: finding it, and painting what was found."""
    terminal.press("/")
    terminal.drain(0.5)
    taken_ms: list[float] = []
    for key in ("0", "0", "4", "2", "\x7f", "1", "\x7f", "\x7f", "9", "9"):
        cpu_s = terminal.cpu_s()
        terminal.press(key)
        terminal.wait_for(r"of [\d,]+ lines")
        terminal.drain(0.5)
        taken_ms.append((terminal.cpu_s() - cpu_s) * 1000)
    terminal.press("\x1b")
    terminal.drain(0.5)
    return taken_ms


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure everything."""
    result: dict[str, Any] = {"machine": stats.machine(), "load_average_start": stats.load_average()}
    result |= first_frame(folder, options.starts)
    with dashboard(folder) as (feed, terminal):
        result["idle_cpu"], result["idle_cpu_main"] = idle(terminal, options.idle_s)
        quiet = keys(terminal, options.keys // 2)
        result |= fill(feed, terminal)  # from here on the log is full
        searched_ms = filter_ms(terminal)
        result["idle_cpu_full"], _ = idle(terminal, options.idle_s / 3)
        result["cpu_at_1000_lines"] = busy(feed, terminal, options.busy_s)
        feed.tell("rate 1000")
        answers = keys(terminal, options.keys)
        feed.tell("rate 0")
    result["filter_ms"], result["filter_ms_max"] = stats.p50(searched_ms), max(searched_ms)
    result["num_keys"] = len(answers.own_ms)
    result["key_to_paint_ms_p50"], result["key_to_paint_ms_p95"] = stats.p50(answers.own_ms), stats.p95(answers.own_ms)
    result["key_to_paint_wall_ms_p95"] = stats.p95(answers.wall_ms)
    result["key_to_paint_quiet_ms_p95"] = stats.p95(quiet.own_ms)
    echoed = echo(200)
    result["echo_ms_p95"], result["echo_wall_ms_p95"] = stats.p95(echoed.own_ms), stats.p95(echoed.wall_ms)
    result["load_average_end"] = stats.load_average()
    result = {name: round(value, 4) if isinstance(value, float) else value for name, value in result.items()}
    return {**result, "targets": table.targets(result, TARGETS)}


def write(result: dict[str, Any], out: TextIO) -> None:
    """Print the figures, their limits and what each was measured with."""
    for name, target in result["targets"].items():
        mark = "ok" if target["ok"] else "MISSED"
        out.write(f"{name:26} {target['value']:>9.4g}  <= {target['limit']:<6g} {mark:7} {CLOCKS[name]}\n")
    for name, about in MORE.items():
        out.write(f"{name:26} {result[name]:>9.4g}  {'':18}{about}\n")
    out.write(f"load average {result['load_average_start']} at the start, {result['load_average_end']} at the end\n")


def main() -> int:
    """Run it; 1 if a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tui", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the result as JSON, as the last line")
    parser.add_argument("--starts", type=int, default=5, help="starts of the dashboard (5)")
    parser.add_argument("--keys", type=int, default=24, help="rounds of five keys (24)")
    parser.add_argument("--idle-s", type=float, default=30, help="how long nothing happens (30)")
    parser.add_argument("--busy-s", type=float, default=20, help="how long 1,000 lines a second arrive (20)")
    parser.add_argument("--output", type=Path, default=RESULT, help="file for the JSON (benchmarks/results/tui.json)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hotloop-tui-") as folder:
        result = measure(options, Path(folder))
    options.output.write_text(json.dumps(result, indent=1) + "\n")
    write(result, sys.stdout)
    if options.json:
        print(json.dumps(result))
    return 0 if all(target["ok"] for target in result["targets"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
