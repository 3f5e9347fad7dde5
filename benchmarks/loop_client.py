"""A `dev serve --json` under test: its events with the moment of their arrival, and edits measured by them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

from benchmarks import environments, servers
from benchmarks.projects import Project
from hotloop import events

E = TypeVar("E")
TIMEOUT_S = 300.0
QUIET_S = 4.0  # the first generations teach the zygote what to import: it is replaced, and with it the standby
IDLE_S = 0.2  # lets the standby finish its warm-up, so that each edit finds a quiet machine


class LoopFailed(Exception):
    """The loop did not do what was asked of it; the text says what it said last."""


@dataclass(frozen=True)
class Arrival:
    """An event, its position in the stream, and when its line was read, seconds of CLOCK_MONOTONIC."""

    index: int
    at_s: float
    event: Any


@dataclass(frozen=True)
class Edit:
    """One save, and what came of it.

    Attributes:
        ready_s: Save to new code ready, by the runtime's clock.
        feedback_s: Save to the first probe's line read by this process; None for an app without a probe.
        compute_s: What the probe's endpoint took within that.
    """

    ready_s: float
    feedback_s: float | None
    compute_s: float
    start: str
    models: tuple[events.ModelOutcome, ...]
    phases_s: dict[str, float]


def dev_command() -> str:
    """The `dev` beside this interpreter.

    Raises:
        environments.Unavailable: hotloop is not installed here.
    """
    path = Path(sys.executable).with_name("dev")
    if not path.exists():
        msg = f"no dev beside {sys.executable}: run this with the interpreter that hotloop is installed in"
        raise environments.Unavailable(msg)
    return str(path)


@dataclass
class Loop:
    """`dev serve` over a project. Use as a context manager: it is ready for the first edit inside.

    Attributes:
        folder: For its state and its error output.
        edits: All that were measured, in order.
        forks: Those that were saved before a standby was ready.
        python: The app's interpreter; None to have the runner make its environment.
        prefix: Goes before the command, such as ``ip netns exec NAME``.
        options: More of `dev serve`.
        environ: More variables.
    """

    project: Project
    python: Path | None
    folder: Path
    prefix: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    environ: dict[str, str] = field(default_factory=dict[str, str])
    edits: list[Edit] = field(default_factory=list[Edit])
    forks: list[Edit] = field(default_factory=list[Edit])

    def __enter__(self) -> Self:
        self.folder.mkdir(exist_ok=True)
        self._arrivals: list[Arrival] = []
        self._changed = threading.Condition()
        self._is_over = False
        began = time.monotonic()
        with (self.folder / "stderr").open("wb") as errors:
            self._process = subprocess.Popen(
                [
                    *self.prefix,
                    dev_command(),
                    "serve",
                    str(self.project.root),
                    "--json",
                    "--port",
                    "0",
                    *self._python(),
                    *self.options,
                ],
                env={
                    **environments.clean_environment(),
                    "HOTLOOP_STATE_DIR": str(self.folder / "state"),
                    **self.environ,
                },
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        threading.Thread(target=self._read, daemon=True).start()
        try:
            first = self.wait_for(events.Ready, after=-1)
            self.first_ready_s = first.at_s - began
            self.first = first.event
            self._settle(first)
            self.wait_until_quiet()
        except BaseException:
            self.__exit__()
            raise
        started = self._find(events.RuntimeStarted, -1, lambda _: True)
        assert started
        self.runtime_pid: int = started.event.pid
        self.port = int(str(started.event.address).rsplit(":", 1)[1])
        return self

    def _python(self) -> list[str]:
        return ["--python", str(self.python)] if self.python is not None else []

    def __exit__(self, *_: object) -> None:
        servers.stop(self._process, patience_s=30)

    def measure(self, save: Callable[[], float]) -> Edit:
        """Make an edit while a standby is ready, and wait until the loop is ready for the next one.

        Raises:
            LoopFailed: The edit did not become ready.
        """
        mark = self._mark()
        saved = save()
        ready = self.wait_for(events.Ready, after=mark)
        self._settle(ready)
        self.edits.append(self._edit(saved, mark, ready))
        return self.edits[-1]

    def measure_fork(self, save: Callable[[], float], save_again: Callable[[], float]) -> Edit:
        """Make an edit, and another one as soon as it is ready, while the probe runs and no standby is there."""
        mark = self._mark()
        save()
        between = self.wait_for(events.Ready, after=mark)
        saved = save_again()
        ready = self.wait_for(events.Ready, after=between.index)
        self._settle(ready)
        self.forks.append(self._edit(saved, between.index, ready))
        return self.forks[-1]

    def wait_for(self, kind: type[E], after: int, where: Callable[[Any], bool] = lambda _: True) -> Arrival:
        """The first event of a kind that came after another one, as soon as it is there.

        Raises:
            LoopFailed: The loop ended or failed before, or it took too long.
        """
        deadline = time.monotonic() + TIMEOUT_S
        with self._changed:
            while True:
                found = self._find(kind, after, where)
                if found:
                    return found
                self._check_alive(kind, after)
                if not self._changed.wait(deadline - time.monotonic()):
                    msg = f"no {kind.__name__} within {TIMEOUT_S:.0f} s; {self._last_words()}"
                    raise LoopFailed(msg)

    def wait_until_quiet(self) -> None:
        """Wait until no standby was made for a while.

        Raises:
            LoopFailed: They are made without end.
        """
        for _ in range(10):
            mark = self._mark()
            time.sleep(QUIET_S)
            if not self._find(events.StandbyReady, mark, lambda _: True):
                return
        msg = "a new standby is made every few seconds, though nothing changes"
        raise LoopFailed(msg)

    def _settle(self, ready: Arrival) -> None:
        if ready.event.probes:
            self.wait_for(events.ProbesFinished, ready.index, lambda e: e.generation == ready.event.generation)
        self.wait_for(events.IterationFinished, ready.index)
        self.wait_for(events.StandbyReady, ready.index)
        time.sleep(IDLE_S)

    def _edit(self, saved: float, mark: int, ready: Arrival) -> Edit:
        generation = ready.event.generation
        probe = self._find(events.ProbeReported, mark, lambda e: e.generation == generation)
        finished = self._find(events.IterationFinished, mark, lambda e: e.iteration.generation == generation)
        return Edit(
            ready_s=ready.event.at_s - saved,
            feedback_s=probe.at_s - saved if probe else None,
            compute_s=probe.event.report.compute_s if probe else 0.0,
            start=ready.event.start,
            models=ready.event.models,
            phases_s=finished.event.iteration.phases_s if finished else {},
        )

    def _mark(self) -> int:
        with self._changed:
            return len(self._arrivals) - 1

    def _find(self, kind: type[Any], after: int, where: Callable[[Any], bool]) -> Arrival | None:
        return next((a for a in self._arrivals[after + 1 :] if isinstance(a.event, kind) and where(a.event)), None)

    def _check_alive(self, wanted: type[Any], after: int) -> None:
        failed = self._find(events.ReloadFailed, after, lambda _: True)
        if failed and wanted is not events.ReloadFailed:
            problem = failed.event.problem
            msg = f"the reload failed: {problem.type}: {problem.message}"
            raise LoopFailed(msg)
        if self._is_over:
            msg = f"dev serve ended; {self._last_words()}"
            raise LoopFailed(msg)

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            at_s = time.monotonic()
            try:
                event = events.from_json(json.loads(line))
            except ValueError:
                continue
            with self._changed:
                self._arrivals.append(Arrival(len(self._arrivals), at_s, event))
                self._changed.notify_all()
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    def _last_words(self) -> str:
        said = (self.folder / "stderr").read_text(errors="replace").splitlines()[-3:]
        kinds = [a.event.kind for a in self._arrivals[-5:]]
        return f"its last events: {', '.join(kinds) or 'none'}; stderr: {' / '.join(said) or 'empty'}"


def interrupt_on_terminate() -> None:
    """Make SIGTERM end this process through its context managers, so that no server is left behind."""

    def leave(number: int, _: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    if os.getppid() == 1:  # an orphan gets no Ctrl-C
        signal.signal(signal.SIGINT, leave)
