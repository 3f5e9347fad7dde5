"""The loop's driver: carries out what the machine decides, between watcher, agent and renderers. Decides nothing.

Longer than most files: what the watcher and the agent say is fed to one machine, and what it wants is done, in one order.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hotloop import clock, events
from hotloop.devloop import bench, catching_up, ending, environments, machine, ports, tests_on_save, words
from hotloop.devloop.bencher import Bencher
from hotloop.devloop.changesets import Changesets
from hotloop.devloop.findings import Findings
from hotloop.devloop.folder import Folder
from hotloop.devloop.machine_events import Ended, Happened, Opened, Save, Saved
from hotloop.devloop.machine_state import Emit, Send, Snapshot, State
from hotloop.devloop.painting import Painting
from hotloop.devloop.pins import Pins
from hotloop.devloop.tasks import Tasks
from hotloop.devloop.unready import Unready
from hotloop.devloop.watch import make_watcher, watch
from hotloop.errors import HotloopError, RunnerError
from hotloop.frozen import frozen
from hotloop.remote_runner.stream import SessionTakenError
from hotloop.remote_runner.threads import in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from hotloop.devloop.forward import Forward
    from hotloop.devloop.ignore import Ignore
    from hotloop.devloop.index import Index
    from hotloop.devloop.load.job import Result
    from hotloop.devloop.machine_events import Event
    from hotloop.devloop.machine_state import Action
    from hotloop.devloop.options import ServeOptions
    from hotloop.devloop.tester import Tester
    from hotloop.devloop.watch import Watcher
    from hotloop.remote_runner.client import AgentSession
    from hotloop.remote_runner.told import Applied, SessionInfo, Started

HOLD_BACK_S = 0.03  # lines about a save wait until its reload has had the machine, if nothing else is said before


@frozen
class _Copied:
    """The first copy of the project: what the runner said of it, and when it began."""

    applied: Applied
    seen_s: float


class Engine:
    """One session of `dev serve`, from connecting to leaving nothing behind.

    Attributes:
        options: What it is to serve.
        agent: Its session there.
        tester: Runs the command of `ServeOptions.test`; None if there is none.
        state: What the machine knows.
        changesets: What is sent, and can be taken back.
        pins: The pinned requests.
        environment: The app's.
        newest: The newest iteration that has an outcome; None before the first.
        address: Where the app is served, a URL; empty until it is.
        probes: Those of the app, by name.
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
        self.options = options
        self.agent = agent
        self.tester = tester
        self._index = index
        self._ignore = ignore
        self._sinks = sinks
        self._forward = forward
        self._began = clock.read_pair()
        tests = tests_on_save.State(options.test if tester is not None else "")
        self.state = State(bench=bench.State(options.bench, options.bench_duration_s), tests=tests)
        self._incoming: deque[Event] = deque()
        self._outgoing: deque[events.Event] = deque()
        self._is_stepping = False
        self._loop = asyncio.get_running_loop()
        self._stopped: asyncio.Future[tuple[str, int]] = self._loop.create_future()
        self._is_leaving = False
        self._watcher: Watcher | None = None
        self._looking: asyncio.Future[list[str]] | None = None
        self._tasks = Tasks(self._failed)
        self.changesets = Changesets(options.project, index, agent)
        self.painting = Painting(self._loop, self.feed)
        self._folder = Folder(options.project, options.runner, self.notice)
        self.pins = Pins(agent, self._folder)
        self._bencher = Bencher(options.bench_data, self.pins.pinned)
        self._findings = Findings(index, ignore)
        self._unready = Unready(self._loop.call_later, self.notice)
        self.environment = environments.Environment(options, agent)
        self._catching_up = catching_up.CatchingUp()
        self._workspace = ""  # on the runner
        self._applied: Applied | None = None  # the first sync
        self.newest: events.Iteration | None = None
        self.address = ""
        self.probes: tuple[str, ...] = ()

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
        self.stop(words.left_running(self.options.runner), exit_code)

    def touched(self) -> None:
        """Note that the user is there: a key was pressed, here or in a dashboard."""
        self._folder.touched(time.time(), "key")

    def feed(self, event: Event) -> None:
        """Let the machine decide and carry its actions out."""
        self._incoming.append(event)
        if self._is_stepping:
            return
        self._is_stepping = True
        try:
            while self._incoming:
                self.state, actions = machine.step(self.state, self._incoming.popleft())
                for action in actions:
                    self._carry_out(action)
        finally:
            self._is_stepping = False

    def tell(self, event: Event) -> None:
        """As `feed`, then write what there is to say."""
        self.feed(event)
        self.flush()

    def say(self, event: events.Event) -> None:
        """Tell everyone who reads the stream, after what was said before."""
        self._outgoing.append(event)
        self.flush()

    def notice(self, key: str, text: str, hint: str = "") -> None:
        """Say a finding."""
        self.say(events.Notice(time.monotonic(), key, text, hint))

    def _say_all(self, notices: Iterable[events.Notice]) -> None:
        for notice in notices:
            self.say(notice)

    def do(self, work: Coroutine[Any, Any, Any]) -> None:
        """Carry out what was typed; what goes wrong is a notice."""

        async def done() -> None:
            try:
                await work
            except (HotloopError, TimeoutError) as error:
                self.notice("asked", str(error) or "no answer in time", getattr(error, "hint", ""))

        self._tasks.spawn(done(), "typed")

    # --- the session

    def look(self) -> asyncio.Future[list[str]]:
        """Begin to watch and to read the project, for `run`: it takes as long as reaching a runner, and needs none.

        Raises:
            WatchError: The system does not allow to watch it.
        """
        if self.options.is_watching:
            self._watcher = make_watcher(self.options.project, self._ignore)
        self._looking = in_thread(self._index.refresh)
        return self._looking

    async def run(self) -> int:
        """Serve until stopped; leaves no process, socket or port behind. Returns the exit code."""
        reason, code, is_ours = "", 1, True
        self.state = replace(self.state, past=self._folder.open(self._began.wall_s))
        looking = self._looking or self.look()
        try:
            session = await self._open()
            copied = await self._unless_stopped(self._copy(session, looking))
            if copied is not None:
                await self._begin(copied)
            if self._watcher is not None:
                self._tasks.spawn(self._watch(self._watcher), "watch")
            reason, code = await self._stopped
        except SessionTakenError as error:
            is_ours = False
            self._stopped.cancel()
            raise SessionTakenError(error.message, hint=error.hint) from error
        finally:
            await self._close(reason, is_ours=is_ours)
        return code

    async def _open(self) -> SessionInfo:
        options = self.options
        session = await self.agent.open(
            options.project, options.session_id, take=options.is_taking, idle_timeout_s=options.idle_timeout_s
        )
        self._workspace = session.workspace
        self._catching_up.begin(session)
        self._tasks.spawn(self._read_events(), "events")
        return session

    async def _unless_stopped(self, work: Coroutine[Any, Any, _Copied]) -> _Copied | None:
        """Whoever ends the session meanwhile does not wait until a large project is read and copied: None then."""
        task = asyncio.create_task(work, name="copy")
        try:
            await asyncio.wait({task, self._stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        return task.result() if not task.cancelled() else None

    async def _copy(self, session: SessionInfo, looking: asyncio.Future[list[str]]) -> _Copied:
        seen_s = time.monotonic()
        await asyncio.shield(looking)
        if not session.revision:  # later syncs send what changed
            self._say_all(self._findings.unintended())
        return _Copied(await self.agent.sync(self._index), seen_s)

    async def _begin(self, copied: _Copied) -> None:
        options, applied = self.options, copied.applied
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
        self._folder.keep_index(self._index)
        self._say_all(self._findings.unsynced())
        self._say_all(self._findings.secrets())
        if options.is_watching:
            self._say_all(self._findings.shared_disk())
        began = clock.SaveTime(self._began.monotonic_s, self._began.wall_s, is_estimated=True)
        self.feed(Opened(began, copied.seen_s, applied.applied_at_s, applied.revision, self.agent.clock_error_s))
        self._applied = applied
        if options.is_watching:
            reading = asyncio.to_thread(self.changesets.remember, self._index.entries())
            self._tasks.spawn(reading, "read what edits replace")
        if self._forward is not None:
            self._forward.open(options.host, options.port, options.grpc_port, is_strict=options.port_is_fixed)
        if options.python is not None:
            await self._start()
        else:  # its environment may take minutes, and neither saves nor Ctrl-C wait for that
            self._tasks.spawn(self._start(), "start")

    async def _start(self) -> None:
        """Start the runtime once the app has an environment; until then each save may be the one that gives it one."""
        if self._applied is not None and await self.environment.is_there():
            started = await self.agent.start(self.options.runtime_config(is_forwarded=self._forward is not None))
            await self._catch_up(started, self._applied)
            await self.pins.restore()

    async def _catch_up(self, started: Started, applied: Applied) -> None:
        """Go on with a runtime that was left running, or tell how it ended."""
        missed = await self._catching_up.missed()
        for event in (
            *catching_up.told_late(missed),
            *(catching_up.resumed(started, applied, missed) if started.was_running else catching_up.unshown(missed)),
            *self._catching_up.end(started.last_event),
        ):
            self._take_event(event)
        if started.was_running and started.is_of(applied.revision):
            with contextlib.suppress(RunnerError):  # it crashed just now: its successor is told of
                await self.agent.command("probe")

    async def _close(self, reason: str, *, is_ours: bool) -> None:
        is_to_end = is_ours and not self._is_leaving
        if is_to_end and not self.options.is_watching:  # the runtime answers what is under way, and tells of it
            await self._end()
        await self._tasks.close()
        self.painting.give_up()
        self.tell(Ended(time.monotonic()))
        if self.tester is not None:
            await self.tester.close()
        if self._forward is not None:
            await self._forward.close()
        if is_to_end and self.options.is_watching:
            await self._end()
        if self._looking is not None and self._looking.done():  # else a thread is still about it
            self._folder.keep_index(self._index)
        self.say(events.SessionEnded(time.monotonic(), reason, is_left_running=is_ours and self._is_leaving))
        self._folder.close(time.time())

    async def _end(self) -> None:
        self._is_leaving = not await ending.end(self.agent)
        if self._is_leaving:
            self._say_unreached()

    def _say_unreached(self) -> None:
        runner = self.options.runner
        hint = f"dev serve goes on with it; hotloop stop --on {runner} ends it, as does its idle time-out"
        self.notice("left", f"{runner} could not be told: the app serves on there without a client", hint)

    def _failed(self, error: BaseException) -> None:
        if not self._stopped.done():
            self._stopped.set_exception(error)

    # --- actions

    def _carry_out(self, action: Action) -> None:
        match action:
            case Emit():
                self._outgoing.append(action.event)
            case Snapshot():
                read = self.changesets.read(action)
                self._say_all(self._findings.unsynced())
                self._incoming.append(read)
            case Send():
                flight = next(flight for flight in self.state.flights if flight.sequence == action.sequence)
                self.changesets.sent_for(flight.number, action.sequence)
                self._tasks.spawn(self._push(action.sequence), f"push {action.sequence}")
            case bench.Begin():
                self._bench(action)
            case bench.Stop():
                self._bencher.stop()
            case tests_on_save.Begin():
                self._test(action)
            case tests_on_save.Stop():
                if self.tester is not None:
                    self._outgoing.append(self.tester.stop(action.iteration, self.options.test))

    def _test(self, begin: tests_on_save.Begin) -> None:
        def done(result: tests_on_save.Result | None) -> None:
            self.tell(tests_on_save.Tested(time.monotonic(), begin.number, result))

        if self.tester is None:
            return
        self._outgoing.append(events.TestsStarted(time.monotonic(), begin.iteration, begin.command))
        self._tasks.guard(self.tester.begin(begin, self.environment.python, self._workspace, self.say, done))

    def _bench(self, action: bench.Begin) -> None:
        def done(result: Result) -> None:
            self.tell(bench.Benched(time.monotonic(), action.number, result))

        self._tasks.hold(self._bencher.begin(self.address, action, done))

    async def _push(self, sequence: int) -> None:
        self.tell(await self.changesets.push(sequence))

    # --- what comes in

    async def _watch(self, watcher: Watcher) -> None:
        async for batch in watch(self.options.project, self._ignore, self._index, watcher=watcher):
            save = Save(batch.paths, batch.seen_at_s, is_full=batch.is_full_rescan, is_vcs=batch.is_vcs_operation)
            if batch.lock:
                self._say_all([self._findings.left_lock(batch.lock)])
            if large := self._index.large(batch.paths):
                self._tasks.spawn(self._save_large(save, large), "hash large files")
            else:
                self._save(save)

    async def _save_large(self, save: Save, large: list[str]) -> None:
        """Hash what takes long where nothing waits for it: other saves go on meanwhile, and so do heartbeats."""
        await asyncio.to_thread(self._index.hash_ahead, large)
        self._save(save)

    def _save(self, save: Save) -> None:
        self.feed(Saved(save))
        self._loop.call_later(HOLD_BACK_S, self.flush)  # the changeset's bytes go first, then the lines about it

    async def _read_events(self) -> None:
        async for number, event in self.agent.events():
            if self._catching_up.takes(number, event):
                self._take_event(event)

    def _take_event(self, event: events.Event) -> None:  # noqa: C901  one line a case
        match event:
            case events.RuntimeStarted():
                event = self._forward.started(event) if self._forward is not None else event
                if self.address:  # another runtime, perhaps of another agent, which knows no pins
                    self.do(self.pins.restore())
                self.address = event.address
                for text in ports.moved(event, self.options.port, self.options.grpc_port):
                    self.notice("port", text)
            case events.EnvironmentReady():
                if self.environment.take(event):
                    self._tasks.spawn(self._start(), "start")
            case events.ProcessDied(role="runtime") if self._forward is not None:
                self._forward.stopped()
            case events.Offline() | events.Online() if self._forward is not None:
                self._forward.link_changed(is_up=isinstance(event, events.Online))
            case events.RuntimeStopped():
                event = ports.with_holder(event, self.options.host, self.options.port, self.options.grpc_port)
                self._loop.call_soon(self.stop, "", 1)
            case events.Pinned():
                self.pins.answer(event)
                self._tasks.guard(asyncio.create_task(self.pins.keep(), name="keep pins"))
            case events.Notice(key="pin") if self.pins.answer(event):
                return  # whoever asked says it
            case events.Ready():
                self.probes = event.probes
            case _:
                pass
        self._pass_on(event)

    def _pass_on(self, event: events.Event) -> None:
        self._unready.heard(event)

        def happened() -> None:
            self.tell(Happened(time.monotonic(), event))

        if isinstance(event, events.ProbesFinished):  # what ends an iteration waits until its results are on the screen
            self.painting.after(event.generation, happened)
        else:
            happened()

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
        if isinstance(event, events.RequestFinished) and self.state.bench.is_running:
            return  # nobody sent it
        self._folder.heard(event, time.time(), self.agent.clock_offset_s, self.agent.clock_error_s)

    def _finished(self, iteration: events.Iteration) -> None:
        self.newest = iteration
        if self.options.is_once:
            self.stop("", 0 if iteration.outcome == "ok" else 1)
        if self.options.is_detaching:
            self.leave(0 if iteration.outcome == "ok" else 1)
        self._say_all(self._findings.unexplained(iteration))
