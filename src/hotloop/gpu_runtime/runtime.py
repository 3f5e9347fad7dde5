"""The process that serves one app: carries out the controller's actions and reports back what became of them.

What decides is in `controller`; what serves requests is in `dispatch`; this file only connects them to processes. It is
long because every action and every frame has its few lines here.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

from hotloop import events
from hotloop.events import Problem, record_from_json
from hotloop.gpu_runtime import controller as decide
from hotloop.gpu_runtime import zygotes
from hotloop.gpu_runtime.dispatch import Dispatcher
from hotloop.gpu_runtime.failures import Failures
from hotloop.gpu_runtime.fleet import Fleet, WorkerProcess
from hotloop.gpu_runtime.holdings import Holdings
from hotloop.gpu_runtime.hosts import Hosts
from hotloop.gpu_runtime.learner import Learner
from hotloop.gpu_runtime.metrics import Metrics
from hotloop.gpu_runtime.observing import EndpointLoad
from hotloop.gpu_runtime.pins import Pins
from hotloop.gpu_runtime.probing import Probing
from hotloop.gpu_runtime.progress import Progress
from hotloop.gpu_runtime.sampling import Gauges, Sampler
from hotloop.gpu_runtime.settings import RuntimeConfig
from hotloop.gpu_runtime.telling import HOLD_BACK_S, Telling
from hotloop.gpu_runtime.user_env.wire import Message

RELEARN_AFTER_S = 1.0
ZYGOTE_WAIT_S = 0.1
GROW_WITHIN_S = 1.0
QUIET_S = 0.05  # who saves an app without probes asks it by hand or by a script, at once
STANDBY_WAIT_S = 1.0


class Runtime:
    """One app's runtime.

    Args:
        config: What to serve.
        address: Where it listens, as a URL.
        dispatcher: Who has the requests.
        metrics: Counts them.
        send: Sends a frame to the agent: header, payload, descriptors.
        ended: Called once, when everything is stopped.

    Attributes:
        on_documented: Gets what a worker answered to ``document``, and its generation.
        sampler: Tells what it does, once a second.
    """

    def __init__(
        self,
        config: RuntimeConfig,
        address: str,
        dispatcher: Dispatcher,
        metrics: Metrics,
        send: Callable[..., object],
        ended: Callable[[], None],
    ) -> None:
        self.config = config
        self._address = address
        self._dispatcher = dispatcher
        self._send = send
        self._ended = ended
        self._state = decide.State()
        self._loop = asyncio.get_running_loop()
        self._python = self._python_before = config.python
        self._held = 0  # the newest revision, if it is not to be run before an environment is there
        self._manifest: dict[str, str] = {}
        self._forced: set[str] = set()
        self._holdings = Holdings()
        self._operations: dict[str, bytes] = {}  # by endpoint: what its first call ran on the GPU
        self._zygotes: dict[int, zygotes.Zygote] = {}
        self._learner = Learner(config)
        self._bridge = zygotes.make_bridge(config.state_folder)
        self._telling = Telling(config, send)
        self._fleet = Fleet(config, self._telling.log)
        self._failures = Failures()
        self._hosts = Hosts(
            self._fleet, self._holdings, dispatcher.pause, self._host_died, self._telling.notice, self._failures.put
        )
        self._pins = Pins(dispatcher)
        self._probing = Probing(self._pins, config.probe_timeout_s, self._telling.emit, self._probes_done)
        self._progress = Progress(self._telling.emit, self._loop.call_later)
        gauges = Gauges(config.environment.get("CUDA_VISIBLE_DEVICES"))
        self.sampler = Sampler(metrics, self, gauges, self._telling.emit)
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self.on_documented: Callable[[int, Message], object] = lambda _, __: None
        dispatcher.on_idle = self._generation_idle
        dispatcher.on_lost_host = self._hosts.give_up

    # --- from the agent -----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin with a zygote; the first revision starts the first worker."""
        self._feed(decide.Started())

    def receive(self, message: Message) -> None:  # noqa: C901  one line a case
        """Do what the agent says."""
        header = message.header
        match message.kind:
            case "incoming":
                self._foretell(message)
            case "revision":
                self._revised(header)
            case "environment":
                self._change_environment(header["python"])
            case "reload":
                self._reload(header.get("model", ""), is_cold=bool(header.get("is_cold")))
            case "probe":
                self._run_probes(self._state.generation, only=header.get("probe", ""))
            case "pin":
                self._pin(header)
            case "unpin":
                self._pins.remove(header["name"])
                self._telling.emit(events.Pinned(time.monotonic(), header["name"], is_pinned=False))
            case "keep":
                self._holdings.put(message)
            case "locals":
                self._send({"kind": "answer", "number": header["number"], **self._failures.answer(header["failure"])})
            case "stop":
                self.stop()
            case _:
                return

    def stop(self) -> None:
        """End every process, then the runtime."""
        self._feed(decide.Stop())

    def _foretell(self, message: Message) -> None:
        """Let the standby compile what a changeset brings while the agent still writes it."""
        standby = self._state.having("standby")
        if standby is not None:
            self._fleet[standby.number].link.send(message.header, message.payload)

    def _revised(self, header: dict[str, Any]) -> None:
        changed: dict[str, str | None] = header["changed"]
        if header.get("full"):
            gone: dict[str, str | None] = {path: None for path in self._manifest if path not in changed}
            changed = {**gone, **changed}
        changed = {path: digest for path, digest in changed.items() if path.endswith(".py")}
        for path, digest in changed.items():
            if digest is None:
                self._manifest.pop(path, None)
            else:
                self._manifest[path] = digest
        self._fleet.revise(changed)
        if header.get("is_held"):
            self._held = header["number"]
            return
        self._held = 0
        is_stale = self._learner.packages_changed()
        if is_stale:
            self._telling.say("packages", "Packages of the environment changed: starting from a new zygote.")
        self._feed(decide.Revised(header["number"], is_stale))

    def _change_environment(self, python: str) -> None:
        """Go over to another environment; the one there is stays in use until a zygote is up in the new one."""
        self._python_before, self._python = self._python, python
        revision, self._held = max(self._held, self._state.revision), 0
        self._learner.watch(python)
        self._feed(decide.EnvironmentChanged(revision))

    def _reload(self, model: str, *, is_cold: bool) -> None:
        """Load a model again, or all, and if asked in a worker of a new zygote."""
        self._run_held()
        self._forced |= {model} if model else {h.about["model"] for h in self._holdings} | self._hosts.names()
        self._feed(decide.Asked(is_cold))

    def _run_held(self) -> None:
        """Run a revision that waits for an environment in the one there is: the user asked for a reload."""
        held, self._held = self._held, 0
        if held:
            self._feed(decide.Revised(held))

    def _pin(self, header: dict[str, Any]) -> None:
        request = self._pins.add(header)
        if request is None:
            self._telling.say("pin", "There is no request to pin yet.", "send one, then pin it")
            return
        self._send({"kind": "pinned", "request": request})
        self._telling.emit(events.Pinned(time.monotonic(), request["name"], is_pinned=True))

    # --- for the sampler ----------------------------------------------------------------------------------------

    def load(self) -> list[EndpointLoad]:
        """See `Surroundings`."""
        return self._dispatcher.load()

    def pids(self) -> list[int]:
        """See `Surroundings`."""
        return [*(zygote.process.pid for zygote in self._zygotes.values()), *self._fleet.pids]

    def is_reloading(self) -> bool:
        """See `Surroundings`."""
        return self._state.is_probing or self._state.having("loading") is not None

    # --- the controller -----------------------------------------------------------------------------------------

    def _feed(self, event: decide.Event) -> None:
        self._state, actions = decide.step(self._state, event)
        for action in actions:
            self._carry_out(action)

    def _carry_out(self, action: decide.Action) -> None:  # noqa: C901, PLR0912  one line a case
        match action:
            case decide.StartZygote():
                self._start_zygote(action.zygote)
            case decide.StopZygote():
                self._stop_zygote(action.zygote)
            case decide.Fork():
                self._fork(action)
            case decide.Go():
                self._go(action)
            case decide.Replicate():
                self._replicate(action)
            case decide.Join():
                self._join(action)
            case decide.Activate():
                self._activate(action)
            case decide.Drain():
                self._drain(action.worker)
            case decide.Retire():
                self._fleet.retire(action.worker)
                self._hosts.released(action.worker)
            case decide.Kill():
                self._fleet.kill(action.worker)
                self._hosts.released(action.worker)
            case decide.RunProbes():
                self._run_probes(action.generation)
            case decide.TellFailed():
                self._tell_failed(action)
            case decide.TellFewer():
                self._tell_fewer(action)
            case decide.TellSuperseded():
                self._telling.emit(events.ReloadSuperseded(time.monotonic(), action.revision, action.by))
            case decide.TellDied():
                self._tell_died(action)
            case decide.WatchMoved():
                self._watch_moved(action)
            case decide.Exit():
                self._exit()

    def _start_zygote(self, number: int) -> None:
        reports = zygotes.Reports(
            up=lambda: self._feed(decide.ZygoteUp(number)),
            left_out=lambda module, why: self._left_out(number, module, why),
            forked=self._fleet.forked,
            exited=self._worker_exited,
            down=lambda problem: self._zygote_down(number, problem),
            log=lambda stream, text: self._telling.log(0, stream, text),
        )
        try:
            self._zygotes[number] = zygotes.start(
                self._python, self.config.environment, self._bridge, self._learner.learned, reports
            )
        except OSError as error:
            problem = Problem(type(error).__name__, f"{self._python} can't be started: {error}")
            self._loop.call_later(0.2, lambda: self._feed_zygote_down(number, problem))

    def _left_out(self, number: int, module: str, why: str) -> None:
        self._learner.leave_out(module, why)
        self._telling.say_once(f"left out {module}", f"{module} {why}, so it is imported anew in each reload.")
        self._stop_zygote(number)
        if number == self._state.next_zygote:
            self._start_zygote(number)

    def _stop_zygote(self, number: int) -> None:
        zygote = self._zygotes.pop(number, None)
        if zygote is not None:
            zygote.stop()

    def _zygote_down(self, number: int, problem: Problem) -> None:
        if self._zygotes.pop(number, None) is not None:
            self._feed_zygote_down(number, problem)

    def _feed_zygote_down(self, number: int, problem: Problem) -> None:
        was_switching = self._state.switching
        self._feed(decide.ZygoteDown(number, time.monotonic(), problem))
        if was_switching is not None and self._state.switching is None:  # no zygote can be had in the new environment
            self._python = self._python_before
            self._learner.watch(self._python)

    def _fork(self, action: decide.Fork) -> None:
        worker = self._fleet.fork(
            action.worker,
            self._zygotes[action.zygote],
            self._manifest,
            on_message=self._from_worker,
            on_gone=self._worker_gone,
        )
        for holding in self._holdings:
            header, payload, fds = holding.frame("model")
            worker.link.send(header, payload, fds)
        for name, noted in self._operations.items():
            worker.link.send({"kind": "operations", "endpoint": name}, noted)
        self._hosts.connect_all(worker)

    def _go(self, action: decide.Go) -> None:
        worker = self._fleet[action.worker]
        worker.start = action.start
        worker.generation = self._state.generation + 1
        self._send_go(worker, sorted(self._forced), is_replica=False)
        for timer in ("learn", "grow"):  # they would come amid the new generation's probes
            self._cancel(timer)
        started = events.ReloadStarted(time.monotonic(), action.revision, action.start)
        self._telling.hold_back(lambda: started)

    def _replicate(self, action: decide.Replicate) -> None:
        worker = self._fleet[action.worker]
        worker.generation = action.generation
        self._send_go(worker, [], is_replica=True)

    def _send_go(self, worker: WorkerProcess, forced: list[str], *, is_replica: bool) -> None:
        worker.link.send({
            "kind": "go", "changed": worker.unsent, "forced": forced, "address": self._address,
            "is_replica": is_replica,
        })  # fmt: skip
        worker.unsent = {}

    def _join(self, action: decide.Join) -> None:
        worker = self._fleet[action.worker]
        self._dispatcher.join(action.generation, worker.number, worker.link.send)
        self._tell_serving()

    def _tell_serving(self) -> None:
        """Say how many workers serve, if the app wants more than one."""
        state = self._state
        count, wanted = len(state.serving), state.replicas
        if wanted > 1:
            is_growing = count < wanted - state.given_up
            self._telling.emit(
                events.WorkersServing(time.monotonic(), state.generation, count, wanted, is_growing=is_growing)
            )

    def _activate(self, action: decide.Activate) -> None:
        worker = self._fleet[action.worker]
        ready = worker.ready
        worker.generation = action.generation
        self._forced.clear()
        revision = self._state.workers[action.worker].revision
        self._dispatcher.activate(action.generation, revision, ready["endpoints"], worker.link.send, worker.number)
        worker.revision, worker.active_at_s = revision, time.monotonic()
        self._telling.ready(worker)

    def _drain(self, number: int) -> None:
        worker = self._fleet[number]
        if self._dispatcher.is_idle(worker.generation):
            # Not at once: to end a process takes more than to begin the new one's probes.
            self._later(f"drain {number}", HOLD_BACK_S, lambda: self._feed(decide.Drained(number)))
            return
        self._later(f"drain {number}", self.config.drain_timeout_s, lambda: self._drained_by_force(worker))

    def _drained_by_force(self, worker: WorkerProcess) -> None:
        timeout = f"{self.config.drain_timeout_s:g} s"
        lost = self._dispatcher.lost(worker.generation, f"did not finish in {timeout}", worker.number)
        if lost:
            self._telling.say(
                f"drain {worker.number}",
                f"Generation {worker.generation} did not finish {lost} requests in {timeout} after it was replaced; "
                "they failed.",
            )
        self._feed(decide.Drained(worker.number))

    def _generation_idle(self, generation: int) -> None:
        for worker in list(self._state.workers.values()):
            if worker.role == "draining" and worker.generation == generation:
                self._cancel(f"drain {worker.number}")
                self._feed(decide.Drained(worker.number))

    def _tell_failed(self, action: decide.TellFailed) -> None:
        self._forced.clear()
        active = self._state.having("active")
        if active is None:
            self._dispatcher.fail_all(action.problem)
        self._telling.emit(
            events.ReloadFailed(
                time.monotonic(), action.revision, action.problem, active.generation if active else None
            )
        )

    def _tell_fewer(self, action: decide.TellFewer) -> None:
        """Say what became of a worker that does not serve beside the others: once a generation."""
        problem = action.problem
        place = f" at {problem.where.file}:{problem.where.line}" if problem.where else ""
        self._telling.say_once(
            f"fewer {action.generation}",
            f"Generation {action.generation} goes on with fewer workers than {self._state.replicas}: "
            f"{problem.type}: {problem.message}{place}",
            problem.hint or "the next save tries again",
        )
        self._tell_serving()

    def _tell_died(self, action: decide.TellDied) -> None:
        worker = self._fleet.get(action.worker)
        lost = 0
        if worker is not None:
            if action.role == "active":
                lost = self._dispatcher.lost(worker.generation, action.cause, worker.number)
                if self._state.serving:
                    self._probing.lost(worker)
            self._fleet.forget(action.worker)
            self._hosts.released(action.worker)
        self._telling.emit(events.ProcessDied(time.monotonic(), action.role, "", action.cause, lost))
        if worker is not None and action.role == "active" and worker.generation == self._state.generation:
            self._tell_serving()

    def _watch_moved(self, action: decide.WatchMoved) -> None:
        problem = Problem(
            "WorkspaceChanged",
            "a file of the workspace is not what was synced; the app may have written it itself",
            hint="save the file again to put it back",
        )
        self._later("moved", action.within_s, lambda: self._feed(decide.MovedTooLong(action.revision, problem)))

    def _exit(self) -> None:
        self._telling.release()
        self._probing.cancel()
        for timer in self._timers.values():
            timer.cancel()
        self._fleet.kill_all()
        for number in list(self._zygotes):
            self._stop_zygote(number)
        self._dispatcher.stop()
        self._ended()

    # --- from workers -------------------------------------------------------------------------------------------

    def _from_worker(self, worker: WorkerProcess, message: Message) -> None:  # noqa: C901, PLR0912  one line a case
        match message.kind:
            case "result" | "stream" | "staged":
                self._dispatcher.deliver(worker.generation, message)
            case "documented":
                self.on_documented(worker.generation, message)
            case "leaving":
                self._dispatcher.leaves(worker.generation, worker.number, message.header["begun"])
            case "warm":
                self._warmed(worker)
            case "ready":
                self._ready(worker, message.header)
            case "failed":
                self._feed(decide.Failed(worker.number, record_from_json(Problem, message.header["problem"])))
            case "moved":
                self._feed(decide.Moved(worker.number))
            case "loading":
                self._tell_loading(worker, message.header)
            case "keep":
                self._keep(message)
            case "forget":
                self._holdings.drop(message.header["model"])
                self._send({"kind": "forget", "model": message.header["model"]})
            case "host":
                self._host(worker, message.header)
            case "notice":
                self._telling.notice(message.header)
            case "locals":
                self._failures.put(message.header["failure"])
            case "probed":
                self._probing.heard(worker, message.header)
            case "probes_done":
                self._probing.functions_done(worker)
            case "operations":
                self._note_operations(message)
            case "learned":
                self._learn(message.header["modules"])
            case _:
                return

    def _tell_loading(self, worker: WorkerProcess, header: dict[str, Any]) -> None:
        known = self._state.workers.get(worker.number)
        if known is not None and known.role == "loading":  # what each worker has for itself was said of the first
            self._telling.emit(events.ModelLoading(time.monotonic(), known.revision, header["model"], header["why"]))
            self._progress.began(known.revision, header["model"], lambda: self._loading(worker))

    def _loading(self, worker: WorkerProcess) -> list[int]:
        """The processes that load models for a worker that becomes ready; none once it is, or is gone."""
        known = self._state.workers.get(worker.number)
        if known is None or known.role != "loading" or not worker.pid:
            return []
        return [worker.pid, *self._hosts.loading_for(worker.number)]

    def _warmed(self, worker: WorkerProcess) -> None:
        if worker.number in self._state.workers and self._state.workers[worker.number].role == "standby":
            self._feed(decide.Warmed(worker.number))
            self._telling.emit(events.StandbyReady(time.monotonic()))
            self.sampler.reloaded()

    def _ready(self, worker: WorkerProcess, header: dict[str, Any]) -> None:
        worker.ready = header
        state = self._state.workers.get(worker.number)
        if state is not None and state.role == "joining":
            self._ready_to_join(worker)
            return
        conflicts = self._learner.conflicts(worker.learned, header["environment"])
        if not conflicts:
            self._feed(decide.BecameReady(worker.number, self.config.replicas or header["replicas"]))
            return
        names = ", ".join(conflicts)
        self._telling.say_once(
            f"environment {names}",
            f"The app sets {names} to something else than before, which libraries may read when they are imported: "
            "starting from a new zygote.",
            "set it in the shell, or leave it alone, and reloads stay fast",
        )
        self._feed(decide.ZygoteStale(worker.number))

    def _ready_to_join(self, worker: WorkerProcess) -> None:
        first = self._fleet[self._state.serving[0].number]
        if worker.ready["endpoints"] == first.ready["endpoints"]:
            self._feed(decide.BecameReady(worker.number))
            return
        problem = Problem(
            "WorkersDiffer",
            "a second worker of the same files made other endpoints than the first",
            hint="have the app define the same endpoints in each process",
        )
        self._feed(decide.Failed(worker.number, problem))

    def _keep(self, message: Message) -> None:
        self._progress.over(message.header["model"])
        holding = self._holdings.put(message)
        header, payload, fds = holding.frame("keep")
        self._send(header, payload, fds)
        header, payload, fds = holding.frame("model")
        for known in self._state.workers.values():
            if known.role == "standby":
                self._fleet[known.number].link.send(header, payload, fds)

    def _note_operations(self, message: Message) -> None:
        """Keep what an endpoint's first call ran on the GPU, for standbys to run it ahead."""
        self._operations[message.header["endpoint"]] = bytes(message.payload)
        for known in self._state.workers.values():
            if known.role == "standby":
                self._fleet[known.number].link.send(message.header, bytes(message.payload))

    def _host(self, worker: WorkerProcess, header: dict[str, Any]) -> None:
        """Have a model loaded in a process of its own for a worker that is becoming ready."""
        zygote = self._zygotes.get(self._state.zygote)
        if zygote is not None:
            self._hosts.start(header["model"], zygote, self._manifest, [worker])
        elif self._fleet.get(worker.number) is worker:  # the zygote died; another is on its way
            self._loop.call_later(ZYGOTE_WAIT_S, self._host, worker, header)

    def _host_died(self, name: str, cause: str) -> None:
        """Load a model whose host died again, that one alone, and connect the workers to it."""
        self._telling.emit(events.ProcessDied(time.monotonic(), "hosted", name, cause))
        self._replace_host(name)

    def _replace_host(self, name: str) -> None:
        zygote = self._zygotes.get(self._state.zygote)
        if zygote is None:
            self._loop.call_later(ZYGOTE_WAIT_S, self._replace_host, name)
            return
        users = [
            self._fleet[w.number] for w in self._state.workers.values() if w.role in {"active", "joining", "standby"}
        ]
        self._hosts.start(name, zygote, self._manifest, users, self._dispatcher.resume)

    def _worker_exited(self, number: int, status: int) -> None:
        self._fleet.exited(number, status)

    def _worker_gone(self, worker: WorkerProcess) -> None:
        known = self._state.workers.get(worker.number)
        if known is None:
            self._fleet.forget(worker.number)
            return
        doing = {
            "loading": "becoming ready",
            "joining": "becoming ready",
            "active": "serving",
            "standby": "waiting",
        }.get(known.role, "ending")
        problem = Problem(
            "WorkerDied", f"the worker died while {doing} ({worker.cause})", hint="its last lines are in the log"
        )
        self._feed(decide.Died(worker.number, time.monotonic(), worker.cause, problem))

    # --- probes and learning ------------------------------------------------------------------------------------

    def _run_probes(self, generation: int, *, only: str = "") -> None:
        serving = self._state.serving
        if serving and serving[0].generation == generation:
            self._grow_in(GROW_WITHIN_S, generation)
            self._probing.start(self._fleet[serving[0].number], generation, serving[0].revision, only=only)

    def _probes_done(self, generation: int) -> None:
        self._grow_in(QUIET_S, generation)
        self._later("learn", RELEARN_AFTER_S, self._ask_what_was_imported)
        self._await_quiet(generation, time.monotonic() + STANDBY_WAIT_S)

    def _await_quiet(self, generation: int, until_s: float) -> None:
        """Have the next standby made when nothing is being answered: making it takes a core for a third of a second."""

        def look() -> None:
            if self._dispatcher.is_idle(generation) or time.monotonic() >= until_s:
                self._feed(decide.Probed(generation))
            else:
                self._await_quiet(generation, until_s)

        self._later("quiet", QUIET_S, look)

    def _grow_in(self, delay_s: float, generation: int) -> None:
        """Have a generation's other workers made soon: first its own probes, or who tries it by hand, have the machine."""
        if self._state.replicas > 1:
            self._later("grow", delay_s, lambda: self._grow(generation))

    def _grow(self, generation: int) -> None:
        zygote = self._zygotes.get(self._state.zygote)
        if zygote is not None and not zygote.learned.modules:  # the first start ever: each would import all by itself
            self._ask_what_was_imported()
            self._later("grow", GROW_WITHIN_S, lambda: self._feed(decide.Grow(generation)))
        else:
            self._feed(decide.Grow(generation))

    def _ask_what_was_imported(self) -> None:
        if self._state.serving:
            self._fleet[self._state.serving[0].number].link.send({"kind": "learn"})

    def _learn(self, modules: list[str]) -> None:
        zygote = self._zygotes.get(self._state.zygote)
        if zygote is not None and self._learner.imported(zygote.learned, modules):
            self._feed(decide.Relearned())
        self._cancel("grow")
        self._feed(decide.Grow(self._state.generation))

    # --- small things -------------------------------------------------------------------------------------------

    def _later(self, name: str, delay_s: float, call: Callable[[], None]) -> None:
        self._cancel(name)
        self._timers[name] = self._loop.call_later(delay_s, call)

    def _cancel(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()


def become_subreaper() -> None:
    """Adopt workers whose zygote died, so that their ends can be seen. Linux only; elsewhere nothing happens."""
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
