"""The loop's driver: carries out what the machine decides, between watcher, agent and renderers. Decides nothing.

Longer than most files: what comes in, what goes out and what is done in between belong to one session.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import Counter, deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from hotloop import clock, events
from hotloop.devloop import bench, environments, machine, ports, tests_on_save, timeline
from hotloop.devloop.bencher import Bencher
from hotloop.devloop.catching_up import CatchingUp
from hotloop.devloop.folder import Folder
from hotloop.devloop.load.job import DURATION_S
from hotloop.devloop.painting import Painting
from hotloop.devloop.safety import doubt_about_deletion
from hotloop.devloop.tariff import Terms
from hotloop.devloop.undo import Undo
from hotloop.devloop.unintended import unintended
from hotloop.devloop.watch import make_watcher, watch
from hotloop.errors import HotloopError, RunnerError, UsageError
from hotloop.remote_runner.client import RefusedError
from hotloop.remote_runner.stream import SessionTakenError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from hotloop.config import AppLocation
    from hotloop.devloop.forward import Forward
    from hotloop.devloop.ignore import Ignore
    from hotloop.devloop.index import Index, Snapshot
    from hotloop.devloop.load.job import Result
    from hotloop.devloop.tester import Tester
    from hotloop.devloop.watch import Watcher
    from hotloop.remote_runner.client import AgentSession, Applied, SessionInfo, Started
    from hotloop.remote_runner.environment import UserPython

CONFIRM_HINT = "put the files back; or confirm that they are to go: y and Enter here, or dev sync --confirm"
LOOPBACK = "127.0.0.1"
PIN_TIMEOUT_S = 5.0
END_TIMEOUT_S = 45.0  # longer than a runtime may take to drain; a runner that does not answer is left alone
AWAY_TIMEOUT_S = 3.0  # so is one whose link is away for that long: whoever typed Ctrl-C waits
LEFT = "left running without a client: dev serve goes on with it, hotloop attach shows it, hotloop stop ends it"
HOLD_BACK_S = 0.03  # lines about a save wait until its reload has had the machine, if nothing else is said before


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """What to serve and how.

    Attributes:
        project: The project's folder, absolute.
        python: The interpreter that runs the app; None to have the runner make its environment.
        port_is_fixed: Whether a port in use is an error; else the next free one is taken, and said.
        grpc_port: Port to serve gRPC on, 0 for any; None to serve none.
        is_watching: False for `dev run`: saves change nothing.
        is_once: Stop after the first outcome.
        packages: Requirements that the app declares.
        key_weights: How much of the machine an API key is due; 1 for those that are not named.
        bench: An endpoint to send a short load after each reload; empty: none.
        bench_data: Arguments of that load's requests, JSON; empty: as in a pinned request.
        bench_duration_s: How long it is sent.
        test: A command that runs after each reload that went well; empty: none.
        replicas: How many workers serve at a time; 0 for as many as the app says.
        runner: The name of where it runs.
        is_taking: Take the session from another client that holds it.
        is_detaching: Leave it running after the first outcome.
        idle_timeout_s: How long it runs without a client; 0 for as long as the runner says.
        passed_variables: What the app gets of this machine's variables on another; values are secrets.
        python_version: Of an environment that the runner makes; empty to take what the project says.
        terms: What the runner costs, as far as that is known, and what the session may.
    """

    project: Path
    app: AppLocation
    python: UserPython | None
    host: str
    port: int
    port_is_fixed: bool
    session_id: str
    is_watching: bool = True
    is_once: bool = False
    packages: tuple[str, ...] = ()
    key_weights: dict[str, float] = field(default_factory=dict[str, float], repr=False)
    grpc_port: int | None = None
    bench: str = ""
    bench_data: str = ""
    bench_duration_s: float = DURATION_S
    test: str = ""
    replicas: int = 0
    runner: str = "local"
    is_taking: bool = False
    is_detaching: bool = False
    idle_timeout_s: float = 0.0
    python_version: str = ""
    terms: Terms = field(default_factory=Terms)
    passed_variables: dict[str, str] = field(default_factory=dict[str, str], repr=False)

    def runtime_config(self) -> dict[str, Any]:
        """What the runtime is told; the agent adds where the workspace is."""
        return {
            "entry": self.app.file,
            "app_name": self.app.name,
            **environments.told(self),
            "host": self.host,
            "port": self.port,
            "port_is_fixed": self.port_is_fixed,
            "grpc_port": self.grpc_port,
            "shown_root": str(self.project),
            "environment": dict(os.environ) if self.runner == "local" else None,
            "passed_variables": self.passed_variables,
            "packages": list(self.packages),
            "weights": self.key_weights,
            "replicas": self.replicas,
        }


class Engine:
    """One session of `dev serve`, from connecting to leaving nothing behind.

    Attributes:
        address: Where the app is served, a URL; empty until it is.
        painting: Knows when a probe's result was on the screen.
    """

    def __init__(
        self,
        options: ServeOptions,
        agent: AgentSession,
        index: Index,
        ignore: Ignore,
        sinks: list[Callable[[events.Event], None]],
        forward: Forward | None = None,
        tester: Tester | None = None,
    ) -> None:
        """Prepare; `run` serves.

        Args:
            options: What to serve.
            agent: The session that is held.
            index: The project's files.
            ignore: Which of them are synced.
            sinks: Who is told each event.
            forward: Listens here for a runtime on another machine; None if the runtime listens on this one itself.
            tester: Runs the command of `ServeOptions.test`; None if there is none.
        """
        self.address = ""
        self._forward = forward
        self._tester = tester
        self._workspace = ""
        self._options = options
        self._agent = agent
        self._index = index
        self._ignore = ignore
        self._sinks = sinks
        self._began = clock.read_pair()
        tests = tests_on_save.State(options.test if tester is not None else "")
        self._state = machine.State(bench=bench.State(options.bench, options.bench_duration_s), tests=tests)
        self._bencher = Bencher(options.bench_data, self.pinned)
        self._incoming: deque[machine.Event] = deque()
        self._outgoing: deque[events.Event] = deque()
        self._is_stepping = False
        self._sequence = 0
        self._undo = Undo()
        self._snapshots: dict[int, Snapshot] = {}
        self._pushes: set[asyncio.Task[None]] = set()
        self._problems_said: set[str] = set()
        self._is_other_said = False
        self._newest: events.Iteration | None = None
        self._loop = asyncio.get_running_loop()
        self._stopped: asyncio.Future[tuple[str, int]] = self._loop.create_future()
        self.painting = Painting(self._loop, self.feed)
        self._folder = Folder(options.project, options.runner, self.notice)
        self._pin_answer: asyncio.Future[events.Pinned | events.Notice] | None = None
        self._probes: tuple[str, ...] = ()  # of the app, by name
        self._catching_up = CatchingUp()
        self._is_leaving = False
        self._applied: Applied | None = None  # the first sync
        self._environment = environments.Environment(options, agent)

    # --- what others may ask

    def stop(self, reason: str, exit_code: int) -> None:
        """End the session, then have `run` return the exit code. The first reason counts."""
        if not self._stopped.done():
            self._stopped.set_result((reason, exit_code))

    @property
    def is_stopping(self) -> bool:
        """Whether the session is about to end, or has ended."""
        return self._stopped.done()

    def leave(self, exit_code: int) -> None:
        """As `stop`, but the session is left running."""
        self._is_leaving = True
        self.stop(LEFT, exit_code)

    def touched(self) -> None:
        """Note that the user is there: a key was pressed, here or in a dashboard."""
        self._folder.touched(time.time(), "key")

    def outcome(self) -> events.Iteration | None:
        """The newest iteration, if every save that was seen has come to an outcome."""
        return self._newest if self._state.is_quiet else None

    def serves(self) -> dict[str, str]:
        """What is served, with what and where, for another process that is to do the same."""
        return {
            "app": self._options.app.option,
            "python": self._environment.python,
            "runner": self._options.runner,
        }

    def feed(self, event: machine.Event) -> None:
        """Let the machine decide and carry its actions out."""
        self._incoming.append(event)
        if self._is_stepping:
            return
        self._is_stepping = True
        try:
            while self._incoming:
                self._state, actions = machine.step(self._state, self._incoming.popleft())
                for action in actions:
                    self._carry_out(action)
        finally:
            self._is_stepping = False

    def say(self, event: events.Event) -> None:
        """Tell everyone who reads the stream, after what was said before."""
        self._outgoing.append(event)
        self.flush()

    def notice(self, key: str, text: str, hint: str = "") -> None:
        """Say a finding."""
        self.say(events.Notice(time.monotonic(), key, text, hint))

    def do(self, work: Coroutine[Any, Any, Any]) -> None:
        """Carry out what was typed; what goes wrong is a notice."""

        async def done() -> None:
            try:
                await work
            except (HotloopError, TimeoutError) as error:
                self.notice("asked", str(error) or "no answer in time", getattr(error, "hint", ""))

        self._pushes.add(task := self._spawn(done(), "typed"))
        task.add_done_callback(self._pushes.discard)

    def confirm(self) -> bool:
        """Make the deletion that the loop waits with; gives whether it does.

        Raises:
            UsageError: Syncing is paused.
        """
        was_held = bool(self._state.hold)
        if was_held and self._state.is_paused:
            msg = "nothing is sent while syncing is paused"
            raise UsageError(msg, hint="resume first; it asks again")
        self.feed(machine.Confirmed())
        self.flush()
        return was_held

    async def reload(self, model: str = "", *, is_cold: bool = False) -> None:
        """Load a model again, or all; from a new zygote if asked, as a first start would.

        Raises:
            RunnerError: Nothing runs there.
        """
        asked = clock.read_pair()
        await self._agent.command("reload", model=model, is_cold=is_cold)
        self.feed(machine.Asked(clock.SaveTime(asked.monotonic_s, asked.wall_s, is_estimated=False), is_cold))
        self.flush()

    def pause(self) -> int:
        """Keep saves back until `resume`; gives how many wait."""
        self.feed(machine.Paused(time.monotonic()))
        self.flush()
        return self._state.num_dirty

    def resume(self) -> None:
        """Send what was kept back, as one changeset."""
        self.feed(machine.Resumed(time.monotonic()))
        self.flush()

    @property
    def is_paused(self) -> bool:
        """Whether saves are kept back."""
        return self._state.is_paused

    def undo(self) -> tuple[int, tuple[str, ...]]:
        """Take the newest edit back on the runner; the next time the one before it. The files here stay as they are.

        Returns:
            The number of the edit's iteration, and its paths.

        Raises:
            HotloopError: There is none, or it can't be.
        """
        if self._state.is_offline:
            msg = f"{self._options.runner} does not answer, so no edit can be taken back there"
            raise RunnerError(msg, hint="try again when it does")
        number, snapshot = self._undo.take_back(self._index)
        now = clock.read_pair()
        self._sequence += 1
        self._snapshots[self._sequence] = snapshot
        began = clock.SaveTime(now.monotonic_s, now.wall_s, is_estimated=False)
        self.feed(machine.Undone(self._sequence, began, snapshot.paths, snapshot.size_bytes, number))
        self.flush()
        return number, snapshot.paths

    def test(self) -> None:
        """Run the tests now, or once what is on its way served.

        Raises:
            UsageError: There are none.
        """
        if self._tester is None:
            msg = "this dev serve has no tests to run"
            raise UsageError(msg, hint='start it with: dev serve --test "pytest -q tests"')
        self.feed(tests_on_save.Wanted())
        self.flush()

    async def probe(self, name: str = "") -> None:
        """Run all probes now, or one.

        Raises:
            UsageError: None is called so.
            RunnerError: Nothing runs there.
        """
        if name:
            known = (*self._probes, *(request["name"] for request in await self.pinned()))
            if name not in known:
                msg = f"no probe is called {name!r}"
                raise UsageError(msg, hint=f"there are {', '.join(known)}" if known else "write one: @app.probe")
        await self._agent.command("probe", probe=name)

    async def unpin(self, name: str) -> None:
        """Forget a pinned request."""
        await self._agent.command("unpin", name=name)

    async def pinned(self) -> list[dict[str, Any]]:
        """Give the pinned requests."""
        return (await self._agent.command("status"))["pins"]

    async def pin(self, name: str = "") -> str:
        """Make the last request a probe, and run it once so that the next reload has an output to compare with.

        Returns:
            The name that it has as a probe.

        Raises:
            RunnerError: There was no request yet.
        """
        self._pin_answer = self._loop.create_future()
        await self._agent.command("pin", last=True, name=name)
        async with asyncio.timeout(PIN_TIMEOUT_S):
            answer = await self._pin_answer
        if isinstance(answer, events.Notice):
            raise RunnerError(answer.text, hint=answer.hint)
        await self._agent.command("probe")
        return answer.name

    # --- the session

    async def run(self) -> int:
        """Serve until stopped; leaves no process, socket or port behind. Returns the exit code."""
        reason, code, is_ours = "", 1, True
        self._state = replace(self._state, past=self._folder.open(self._began.wall_s))
        watcher = make_watcher(self._options.project, self._ignore) if self._options.is_watching else None
        tasks: list[asyncio.Task[None]] = []
        try:
            await self._begin(tasks)
            if watcher is not None:
                tasks.append(self._spawn(self._watch(watcher), "watch"))
            reason, code = await self._stopped
        except SessionTakenError as error:
            is_ours = False
            self._stopped.cancel()
            raise SessionTakenError(error.message, hint=error.hint) from error
        finally:
            await self._close(tasks, reason, is_ours=is_ours)
        return code

    async def _begin(self, tasks: list[asyncio.Task[None]]) -> None:
        options = self._options
        session = await self._open()
        self._workspace = session.workspace
        self._catching_up.begin(session)
        tasks.append(self._spawn(self._read_events(), "events"))
        seen_s = time.monotonic()
        await asyncio.to_thread(self._index.refresh)
        if not session.revision:  # later syncs send what changed
            self._say_unintended()
        applied = await self._agent.sync(self._index)
        self._folder.keep_index(self._index)
        self.say(
            events.SessionStarted(
                time.monotonic(),
                options.app.option,
                str(options.project),
                options.runner,
                environments.described(options),
                self._index.num_files,
            )
        )
        self._say_problems()
        self._say_secrets()
        began = clock.SaveTime(self._began.monotonic_s, self._began.wall_s, is_estimated=True)
        self.feed(machine.Opened(began, seen_s, applied.applied_at_s, applied.revision, self._agent.clock_error_s))
        self._applied = applied
        if options.is_watching:
            entries = self._index.entries()
            reading = asyncio.to_thread(self._undo.contents.read, options.project, entries)
            tasks.append(self._spawn(reading, "read what edits replace"))
        if self._forward is not None:
            self._forward.open(options.host, options.port, options.grpc_port, is_strict=options.port_is_fixed)
        if options.python is not None:
            await self._start()
        else:  # its environment may take minutes, and neither saves nor Ctrl-C wait for that
            tasks.append(self._spawn(self._start(), "start"))

    async def _start(self) -> None:
        """Start the runtime once the app has an environment; until then each save may be the one that gives it one."""
        if self._applied is not None and await self._environment.is_there():
            started = await self._agent.start(self._runtime_config())
            await self._catch_up(started, self._applied)
            await self._pin_again()

    def _runtime_config(self) -> dict[str, Any]:
        """What the runtime is told; one on another machine is connected to from here, and listens to nobody else."""
        config = self._options.runtime_config()
        if self._forward is None:
            return config
        grpc_port = None if self._options.grpc_port is None else 0
        return {**config, "host": LOOPBACK, "port": 0, "grpc_port": grpc_port}

    async def _open(self) -> SessionInfo:
        options = self._options
        return await self._agent.open(
            options.project, options.session_id, take=options.is_taking, idle_timeout_s=options.idle_timeout_s
        )

    async def _catch_up(self, started: Started, applied: Applied) -> None:
        """Go on with a runtime that was left running, or tell how it ended."""
        missed = await self._catching_up.missed()
        for event in missed:
            if isinstance(event, events.SessionTimedOut):
                self.say(event)
        if started.was_running:
            self._resume(started, applied, missed)
        for event in self._catching_up.end(started.last_event):
            self._take_event(event)
        if started.was_running and started.is_of(applied.revision):
            with contextlib.suppress(RunnerError):  # it crashed just now: its successor is told of
                await self._agent.command("probe")

    def _resume(self, started: Started, applied: Applied, missed: list[events.Event]) -> None:
        now_s, ready = time.monotonic(), started.ready
        if started.started is not None:
            self._take_event(started.started)
        self.say(
            events.SessionResumed(
                now_s,
                applied.revision,
                ready.generation if ready is not None else 0,
                ready.models if ready is not None else (),
                dict(Counter(event.kind for event in missed)),
            )
        )
        if ready is not None and ready.revision == applied.revision:
            models = tuple(replace(model, action="kept", took_s=0.0, why="in memory") for model in ready.models)
            self._take_event(replace(ready, at_s=now_s, imported_at_s=now_s, models=models))
        if started.failed is not None and started.failed.revision == applied.revision:
            self._take_event(started.failed)

    async def _close(self, tasks: list[asyncio.Task[None]], reason: str, *, is_ours: bool) -> None:
        for task in [*tasks, *self._pushes]:
            task.cancel()
        await asyncio.gather(*tasks, *self._pushes, return_exceptions=True)
        self.painting.give_up()
        self.feed(machine.Ended(time.monotonic()))
        self.flush()
        if self._tester is not None:
            await self._tester.close()
        if self._forward is not None:
            await self._forward.close()
        if is_ours and not self._is_leaving:
            self._is_leaving = not await self._end_there()
        self._folder.keep_index(self._index)
        self.say(events.SessionEnded(time.monotonic(), reason, is_left_running=is_ours and self._is_leaving))
        self._folder.close(time.time())

    async def _end_there(self) -> bool:
        """End the session on the runner; False, and said, if that could not be told there."""
        ending = asyncio.create_task(self._agent.end(), name="end")
        give_up_at_s = time.monotonic() + END_TIMEOUT_S
        try:
            while not ending.done() and time.monotonic() < give_up_at_s and self._agent.away_s < AWAY_TIMEOUT_S:
                await asyncio.wait({ending}, timeout=0.1)
        finally:
            if not ending.done():
                ending.cancel()
            (failure,) = await asyncio.gather(ending, return_exceptions=True)
        if failure is not None and not isinstance(failure, HotloopError | asyncio.CancelledError):
            raise failure
        if not isinstance(failure, asyncio.CancelledError):
            return True
        runner = self._options.runner
        hint = f"dev serve goes on with it; hotloop stop --on {runner} ends it, as does its idle time-out"
        self.notice("left", f"{runner} could not be told: the app serves on there without a client", hint)
        return False

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._task_ended)
        return task

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception() is None or self._stopped.done():
            return
        self._stopped.set_exception(task.exception() or RuntimeError())

    # --- actions

    def _carry_out(self, action: machine.Action) -> None:
        match action:
            case machine.Emit():
                self._outgoing.append(action.event)
            case machine.Snapshot():
                self._incoming.append(self._take_snapshot(action))
            case machine.Send():
                flight = next(flight for flight in self._state.flights if flight.sequence == action.sequence)
                self._undo.sent(flight.number, self._snapshots[action.sequence])
                task = self._spawn(self._push(action.sequence), f"push {action.sequence}")
                self._pushes.add(task)
                task.add_done_callback(self._pushes.discard)
            case bench.Begin():
                self._bench(action)
            case bench.Stop():
                self._bencher.stop()
            case tests_on_save.Begin():
                self._test(action)
            case tests_on_save.Stop():
                if self._tester is not None:
                    self._outgoing.append(self._tester.stop(action.iteration, self._options.test))

    def _test(self, begin: tests_on_save.Begin) -> None:
        def done(result: tests_on_save.Result | None) -> None:
            self.feed(tests_on_save.Tested(time.monotonic(), begin.number, result))
            self.flush()

        if self._tester is None:
            return
        self._outgoing.append(events.TestsStarted(time.monotonic(), begin.iteration, begin.command))
        task = self._tester.begin(begin, self._environment.python, self._workspace, self.say, done)
        task.add_done_callback(self._task_ended)

    def _bench(self, action: bench.Begin) -> None:
        def done(result: Result) -> None:
            self.feed(bench.Benched(time.monotonic(), action.number, result))
            self.flush()

        task = self._bencher.begin(self.address, action, done)
        task.add_done_callback(self._task_ended)
        task.add_done_callback(self._pushes.discard)
        self._pushes.add(task)

    def _take_snapshot(self, action: machine.Snapshot) -> machine.Event:
        save = action.save
        paths = {*save.paths, *(self._index.differences() if save.is_full else ())}
        snapshot = self._index.snapshot(paths)
        now = clock.read_pair()
        self._say_problems()
        if snapshot is None:
            return machine.Unchanged()
        doubt = doubt_about_deletion(
            snapshot.num_known,
            snapshot.num_deleted,
            is_root_there=self._options.project.is_dir(),
            is_vcs_operation=save.is_vcs,
        )
        if doubt is not None and not action.is_confirmed:
            self._index.revert(snapshot)
            return machine.Dangerous(now.monotonic_s, doubt.reason, CONFIRM_HINT)
        self._sequence += 1
        self._snapshots[self._sequence] = snapshot
        is_estimated = snapshot.is_estimated or save.resumed_s is not None
        saved = clock.save_time(snapshot.saved_at_s, save.seen_s, now, is_estimated=is_estimated)
        return machine.Snapshotted(now.monotonic_s, self._sequence, saved, snapshot.paths, snapshot.size_bytes)

    async def _push(self, sequence: int) -> None:
        snapshot = self._snapshots.pop(sequence)
        try:
            applied = await self._agent.push(snapshot.changeset)
        except RefusedError as error:
            self._index.revert(snapshot)
            self._undo.refused(snapshot)
            problem = events.Problem("SyncRefused", error.message, hint=error.hint)
            self.feed(machine.Refused(time.monotonic(), sequence, problem))
        else:
            self._undo.applied(snapshot)
            self.feed(machine.Acked(sequence, applied.revision, applied.applied_at_s, self._agent.clock_error_s))
        self.flush()

    # --- what comes in

    async def _watch(self, watcher: Watcher) -> None:
        async for batch in watch(self._options.project, self._ignore, self._index, watcher=watcher):
            save = machine.Save(
                batch.paths, batch.seen_at_s, is_full=batch.is_full_rescan, is_vcs=batch.is_vcs_operation
            )
            if large := self._index.large(batch.paths):
                self._pushes.add(task := self._spawn(self._save_large(save, large), "hash large files"))
                task.add_done_callback(self._pushes.discard)
            else:
                self._save(save)

    async def _save_large(self, save: machine.Save, large: list[str]) -> None:
        """Hash what takes long where nothing waits for it: other saves go on meanwhile, and so do heartbeats."""
        await asyncio.to_thread(self._index.hash_ahead, large)
        self._save(save)

    def _save(self, save: machine.Save) -> None:
        self.feed(machine.Saved(save))
        self._loop.call_later(HOLD_BACK_S, self.flush)  # the changeset's bytes go first, then the lines about it

    async def _read_events(self) -> None:
        async for number, event in self._agent.events():
            if self._catching_up.takes(number, event):
                self._take_event(event)

    def _take_event(self, event: events.Event) -> None:  # noqa: C901  one line a case
        match event:
            case events.RuntimeStarted():
                event = self._forward.started(event) if self._forward is not None else event
                if self.address:  # another runtime, perhaps of another agent, which knows no pins
                    self.do(self._pin_again())
                self.address = event.address
                self._compare_ports(event)
            case events.EnvironmentReady():
                if self._environment.take(event):
                    self._spawn(self._start(), "start")
            case events.ProcessDied(role="runtime") if self._forward is not None:
                self._forward.stopped()
            case events.Offline() | events.Online() if self._forward is not None:
                self._forward.link_changed(is_up=isinstance(event, events.Online))
            case events.RuntimeStopped():
                event = self._name_holder(event)
                self._loop.call_soon(self.stop, "", 1)
            case events.Pinned():
                self._answer_pin(event)
                self._spawn(self._keep_pins(), "keep pins")
            case events.Notice(key="pin") if self._answer_pin(event):
                return  # whoever asked says it
            case events.Ready():
                self._probes = event.probes
            case _:
                pass
        self._pass_on(event)

    def _pass_on(self, event: events.Event) -> None:
        def happened() -> None:
            self.feed(machine.Happened(time.monotonic(), event))
            self.flush()

        if isinstance(event, events.ProbesFinished):  # what ends an iteration waits until its results are on the screen
            self.painting.after(event.generation, happened)
        else:
            happened()

    def _answer_pin(self, answer: events.Pinned | events.Notice) -> bool:
        """Tell whoever waits for it; gives whether somebody did."""
        if self._pin_answer is None or self._pin_answer.done():
            return False
        self._pin_answer.set_result(answer)
        return True

    def _compare_ports(self, event: events.RuntimeStarted) -> None:
        wanted = {event.address: self._options.port, f"//{event.grpc_address}": self._options.grpc_port}
        for address, port in wanted.items():
            if port and (served := urlsplit(address).port) != port:
                who = ports.holder(port) or "another program"
                self.notice("port", f"port {port} is in use by {who}; serving on {served}")

    def _name_holder(self, event: events.RuntimeStopped) -> events.RuntimeStopped:
        problem = event.problem
        wanted = {"PortInUse": self._options.port, "GrpcPortInUse": self._options.grpc_port}
        port = wanted.get(problem.type) if problem is not None else None
        if problem is None or port is None:
            return event
        who = ports.holder(port)
        message = f"port {port} on {self._options.host} is in use by {who}" if who else problem.message
        return events.RuntimeStopped(event.at_s, events.Problem(problem.type, message, hint=problem.hint))

    # --- what goes out

    def flush(self) -> None:
        """Write what waits to be told, and note when a probe's result was on the screen."""
        while self._outgoing:
            event = self._outgoing.popleft()
            self._write(event)
            if isinstance(event, events.ProbeReported):
                self.painting.told(event)
            elif isinstance(event, events.IterationFinished):
                self._finished(event.iteration)
            self._record(event)

    def _write(self, event: events.Event) -> None:
        for sink in list(self._sinks):
            try:
                sink(event)
            except BrokenPipeError:  # such as `dev serve | head`
                self._sinks.remove(sink)
                self.stop("", 1)

    def _record(self, event: events.Event) -> None:
        if isinstance(event, events.RequestFinished) and self._state.bench.is_running:
            return  # nobody sent it
        self._folder.heard(event, time.time(), self._agent.clock_offset_s, self._agent.clock_error_s)

    def _finished(self, iteration: events.Iteration) -> None:
        self._newest = iteration
        if self._options.is_once:
            self.stop("", 0 if iteration.outcome == "ok" else 1)
        if self._options.is_detaching:
            self.leave(0 if iteration.outcome == "ok" else 1)
        ratio = timeline.other_ratio(iteration.phases_s)
        if iteration.number and ratio > timeline.MAX_OTHER_RATIO and not self._is_other_said:
            self._is_other_said = True
            text = f"nothing explains {ratio:.0%} of the time that #{iteration.number} took: a message of the runner's is missing"
            self.notice("timeline", text, "please report it, with what dev explain --json prints")

    # --- findings

    def _say_problems(self) -> None:
        for path, why in self._index.problems.items():
            if path not in self._problems_said:
                self._problems_said.add(path)
                self.notice(f"file:{path}", f"{path} is not synced: {why}", "list it in .hotloopignore to hide this")

    def _say_secrets(self) -> None:
        names = self._ignore.withheld_secrets()
        if names:
            hint = f"to send one, write it to .hotloopignore with a !: !{names[0]}"
            self.notice("secrets", f"not synced, they look like secrets: {', '.join(names)}", hint)

    def _say_unintended(self) -> None:
        for number, finding in enumerate(unintended(self._index.entries()), 1):
            self.notice(f"large:{number}", finding.text, finding.hint)

    # --- pins

    async def _pin_again(self) -> None:
        wanted = self._folder.pinned()
        known = {request["name"] for request in await self.pinned()} if wanted else set[str]()
        for request in wanted:
            if request["name"] not in known:
                await self._agent.command("pin", request=request)

    async def _keep_pins(self) -> None:
        self._folder.keep_pins(await self.pinned())
