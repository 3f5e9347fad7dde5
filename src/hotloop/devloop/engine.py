"""The loop's driver: carries out what the machine decides, between watcher, agent and renderers. Decides nothing.

Longer than most files: what is asked, what the agent says and what is told are fed to one machine, in one order.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hotloop import clock, events
from hotloop.devloop import bench, ending, environments, machine, machine_state, ports, tests_on_save, timeline
from hotloop.devloop.bencher import Bencher
from hotloop.devloop.catching_up import CatchingUp
from hotloop.devloop.changesets import Changesets
from hotloop.devloop.findings import Findings
from hotloop.devloop.folder import Folder
from hotloop.devloop.machine_events import Asked, Confirmed, Ended, Happened, Opened, Paused, Resumed, Save, Saved
from hotloop.devloop.painting import Painting
from hotloop.devloop.watch import make_watcher, watch
from hotloop.errors import HotloopError, RunnerError, UsageError
from hotloop.remote_runner.stream import SessionTakenError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from hotloop.devloop.forward import Forward
    from hotloop.devloop.ignore import Ignore
    from hotloop.devloop.index import Index
    from hotloop.devloop.load.job import Result
    from hotloop.devloop.machine_events import Event
    from hotloop.devloop.options import ServeOptions
    from hotloop.devloop.tester import Tester
    from hotloop.devloop.watch import Watcher
    from hotloop.remote_runner.client import AgentSession, Applied, SessionInfo, Started

PIN_TIMEOUT_S = 5.0
LEFT = "left running without a client: dev serve goes on with it, hotloop attach shows it, hotloop stop ends it"
HOLD_BACK_S = 0.03  # lines about a save wait until its reload has had the machine, if nothing else is said before


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
        self._state = machine_state.State(bench=bench.State(options.bench, options.bench_duration_s), tests=tests)
        self._bencher = Bencher(options.bench_data, self.pinned)
        self._incoming: deque[Event] = deque()
        self._outgoing: deque[events.Event] = deque()
        self._is_stepping = False
        self._changesets = Changesets(options.project, index, agent)
        self._brief: set[asyncio.Task[None]] = set()  # tasks that end by themselves, or with the session
        self._findings = Findings(index, ignore)
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
        """What is served and with what, for another process that is to do the same."""
        return {"app": self._options.app.option, "python": self._environment.python}

    def feed(self, event: Event) -> None:
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

        self._spawn_brief(done(), "typed")

    def confirm(self) -> bool:
        """Make the deletion that the loop waits with; gives whether it does.

        Raises:
            UsageError: Syncing is paused.
        """
        was_held = bool(self._state.hold)
        if was_held and self._state.is_paused:
            msg = "nothing is sent while syncing is paused"
            raise UsageError(msg, hint="resume first; it asks again")
        self.feed(Confirmed())
        self.flush()
        return was_held

    async def reload(self, model: str = "", *, is_cold: bool = False) -> None:
        """Load a model again, or all; from a new zygote if asked, as a first start would.

        Raises:
            RunnerError: Nothing runs there.
        """
        asked = clock.read_pair()
        await self._agent.command("reload", model=model, is_cold=is_cold)
        self.feed(Asked(clock.SaveTime(asked.monotonic_s, asked.wall_s, is_estimated=False), is_cold))
        self.flush()

    def pause(self) -> int:
        """Keep saves back until `resume`; gives how many wait."""
        self.feed(Paused(time.monotonic()))
        self.flush()
        return self._state.num_dirty

    def resume(self) -> None:
        """Send what was kept back, as one changeset."""
        self.feed(Resumed(time.monotonic()))
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
        undone = self._changesets.take_back()
        self.feed(undone)
        self.flush()
        return undone.undone, undone.paths

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
            self._say_all(self._findings.unintended())
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
        self._say_all(self._findings.unsynced())
        self._say_all(self._findings.secrets())
        began = clock.SaveTime(self._began.monotonic_s, self._began.wall_s, is_estimated=True)
        self.feed(Opened(began, seen_s, applied.applied_at_s, applied.revision, self._agent.clock_error_s))
        self._applied = applied
        if options.is_watching:
            reading = asyncio.to_thread(self._changesets.remember, self._index.entries())
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
            started = await self._agent.start(self._options.runtime_config(is_forwarded=self._forward is not None))
            await self._catch_up(started, self._applied)
            await self._pin_again()

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
        for task in [*tasks, *self._brief]:
            task.cancel()
        await asyncio.gather(*tasks, *self._brief, return_exceptions=True)
        self.painting.give_up()
        self.feed(Ended(time.monotonic()))
        self.flush()
        if self._tester is not None:
            await self._tester.close()
        if self._forward is not None:
            await self._forward.close()
        if is_ours and not self._is_leaving:
            self._is_leaving = not await ending.end(self._agent)
            if self._is_leaving:
                self._say_unreached()
        self._folder.keep_index(self._index)
        self.say(events.SessionEnded(time.monotonic(), reason, is_left_running=is_ours and self._is_leaving))
        self._folder.close(time.time())

    def _say_unreached(self) -> None:
        runner = self._options.runner
        hint = f"dev serve goes on with it; hotloop stop --on {runner} ends it, as does its idle time-out"
        self.notice("left", f"{runner} could not be told: the app serves on there without a client", hint)

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._task_ended)
        return task

    def _spawn_brief(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self._end_with_session(self._spawn(work, name))

    def _end_with_session(self, task: asyncio.Task[None]) -> None:
        self._brief.add(task)
        task.add_done_callback(self._brief.discard)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception() is None or self._stopped.done():
            return
        self._stopped.set_exception(task.exception() or RuntimeError())

    # --- actions

    def _carry_out(self, action: machine_state.Action) -> None:
        match action:
            case machine_state.Emit():
                self._outgoing.append(action.event)
            case machine_state.Snapshot():
                read = self._changesets.read(action)
                self._say_all(self._findings.unsynced())
                self._incoming.append(read)
            case machine_state.Send():
                flight = next(flight for flight in self._state.flights if flight.sequence == action.sequence)
                self._changesets.sent_for(flight.number, action.sequence)
                self._spawn_brief(self._push(action.sequence), f"push {action.sequence}")
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
        self._end_with_session(task)

    async def _push(self, sequence: int) -> None:
        self.feed(await self._changesets.push(sequence))
        self.flush()

    # --- what comes in

    async def _watch(self, watcher: Watcher) -> None:
        async for batch in watch(self._options.project, self._ignore, self._index, watcher=watcher):
            save = Save(batch.paths, batch.seen_at_s, is_full=batch.is_full_rescan, is_vcs=batch.is_vcs_operation)
            if large := self._index.large(batch.paths):
                self._spawn_brief(self._save_large(save, large), "hash large files")
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
                for text in ports.moved(event, self._options.port, self._options.grpc_port):
                    self.notice("port", text)
            case events.EnvironmentReady():
                if self._environment.take(event):
                    self._spawn(self._start(), "start")
            case events.ProcessDied(role="runtime") if self._forward is not None:
                self._forward.stopped()
            case events.Offline() | events.Online() if self._forward is not None:
                self._forward.link_changed(is_up=isinstance(event, events.Online))
            case events.RuntimeStopped():
                event = ports.with_holder(event, self._options.host, self._options.port, self._options.grpc_port)
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
            self.feed(Happened(time.monotonic(), event))
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

    # --- pins

    async def _pin_again(self) -> None:
        wanted = self._folder.pinned()
        known = {request["name"] for request in await self.pinned()} if wanted else set[str]()
        for request in wanted:
            if request["name"] not in known:
                await self._agent.command("pin", request=request)

    async def _keep_pins(self) -> None:
        self._folder.keep_pins(await self.pinned())
