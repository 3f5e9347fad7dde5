"""The process that serves one app: carries out the controller's actions and reports back what became of them.

What decides is in `controller`; what serves requests is in `dispatch`; this file only connects them to processes. It is
long because every action and every frame has its few lines here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from hotloop import events
from hotloop.events import Problem, record_from_json
from hotloop.gpu_runtime import controller, learning, oom
from hotloop.gpu_runtime import controller_actions as do
from hotloop.gpu_runtime import controller_events as on
from hotloop.gpu_runtime.afterwards import Afterwards
from hotloop.gpu_runtime.app_gauges import AppGauges
from hotloop.gpu_runtime.controller_state import State
from hotloop.gpu_runtime.dispatch import Dispatcher
from hotloop.gpu_runtime.draining import Draining
from hotloop.gpu_runtime.failures import Failures
from hotloop.gpu_runtime.fleet import EXIT_GRACE_S, Fleet, WorkerProcess
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
from hotloop.gpu_runtime.telling import Telling
from hotloop.gpu_runtime.timers import Timers
from hotloop.gpu_runtime.user_env.wire import Message
from hotloop.gpu_runtime.zygotes import Zygotes

ZYGOTE_WAIT_S = 0.1


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
        self._state = State()
        self._loop = asyncio.get_running_loop()
        self._held = 0  # the newest revision, if it is not to be run before an environment is there
        self._forced: set[str] = set()
        self._operations: dict[str, bytes] = {}  # by endpoint: what its first call ran on the GPU
        self._timers = Timers()
        self._telling = Telling(config, send)
        self._fleet = Fleet(config, self._telling.log)
        self._learner = Learner(config)
        self._zygotes = Zygotes(config, self._learner, self._fleet, self._telling, self._now, self._feed)
        self._holdings = Holdings()
        self._failures = Failures()
        self._hosts = Hosts(
            self._fleet,
            self._holdings,
            dispatcher.pause,
            dispatcher.resume,
            self._host_died,
            self._telling.notice,
            self._failures.put,
            self._gauged,
        )
        self._gauges = AppGauges()
        metrics.gauges = self.gauges
        self._afterwards = Afterwards(self._now, self._feed, self._fleet, self._zygotes, dispatcher, self._timers)
        self._draining = Draining(
            self._now, self._feed, dispatcher, self._telling, self._timers, config.drain_timeout_s
        )
        self._pins = Pins(dispatcher)
        self._probing = Probing(self._pins, config.probe_timeout_s, self._telling.emit, self._afterwards.probes_done)
        self._progress = Progress(self._telling.emit, self._loop.call_later)
        gauges = Gauges(config.environment.get("CUDA_VISIBLE_DEVICES"))
        self.sampler = Sampler(metrics, self, gauges, self._telling.emit)
        self.on_documented: Callable[[int, Message], object] = lambda _, __: None
        dispatcher.on_idle = self._draining.generation_idle
        dispatcher.on_lost_host = self._hosts.give_up

    # --- from the agent -----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin with a zygote; the first revision starts the first worker."""
        self._feed(on.Started())

    def receive(self, message: Message) -> None:
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
            case _:
                return

    def stop(self) -> None:
        """End every process, then the runtime."""
        self._feed(on.Stop())

    def _foretell(self, message: Message) -> None:
        """Let the standby compile what a changeset brings while the agent still writes it."""
        standby = self._state.having("standby")
        if standby is not None:
            self._fleet[standby.number].link.send(message.header, message.payload)

    def _revised(self, header: dict[str, Any]) -> None:
        if self._fleet.revise(header["changed"], is_full=bool(header.get("full"))):
            self._learner.own_names = learning.own_names(self._fleet.manifest, self.config.entry)
        if header.get("is_held"):
            self._held = header["number"]
            return
        self._held = 0
        is_stale = self._learner.packages_changed()
        if is_stale:
            self._telling.say("packages", "Packages of the environment changed: starting from a new zygote.")
        self._feed(on.Revised(header["number"], self._zygotes.is_shadowed() or is_stale))

    def _change_environment(self, python: str) -> None:
        """Go over to another environment; the one there is stays in use until a zygote is up in the new one."""
        revision, self._held = max(self._held, self._state.revision), 0
        self._zygotes.change_environment(python)
        self._feed(on.EnvironmentChanged(revision))

    def _reload(self, model: str, *, is_cold: bool) -> None:
        """Load a model again, or all, and if asked in a worker of a new zygote."""
        self._run_held()
        self._forced |= {model} if model else {h.about["model"] for h in self._holdings} | self._hosts.names()
        self._feed(on.Asked(is_cold))

    def _run_held(self) -> None:
        """Run a revision that waits for an environment in the one there is: the user asked for a reload."""
        held, self._held = self._held, 0
        if held:
            self._feed(on.Revised(held))

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
        return [*self._zygotes.pids, *self._fleet.pids]

    def gauges(self) -> tuple[events.GaugeSample, ...]:
        """See `Surroundings`."""
        return self._gauges.of([*(worker.number for worker in self._state.serving), *self._hosts.numbers()])

    def is_reloading(self) -> bool:
        """See `Surroundings`."""
        return self._state.is_probing or self._state.having("loading") is not None

    # --- the controller -----------------------------------------------------------------------------------------

    def _now(self) -> State:
        return self._state

    def _feed(self, event: on.Event) -> None:
        self._state, actions = controller.step(self._state, event)
        for action in actions:
            self._carry_out(action)

    def _carry_out(self, action: do.Action) -> None:  # noqa: C901, PLR0912  one line a case
        match action:
            case do.StartZygote():
                self._zygotes.start(action.zygote)
            case do.StopZygote():
                self._zygotes.stop(action.zygote)
            case do.Fork():
                self._fork(action)
            case do.Go():
                self._go(action)
            case do.Replicate():
                self._replicate(action)
            case do.Join():
                self._join(action)
            case do.Activate():
                self._activate(action)
            case do.Drain():
                self._draining.begin(self._fleet[action.worker])
            case do.Retire():
                self._fleet.retire(action.worker)
                self._hosts.released(action.worker)
            case do.Kill():
                self._fleet.kill(action.worker)
                self._hosts.released(action.worker)
            case do.RunProbes():
                self._run_probes(action.generation)
            case do.TellFailed():
                self._tell_failed(action)
            case do.TellFewer():
                self._telling.fewer(action.generation, self._state.replicas, action.problem)
                self._telling.serving(self._state)
            case do.TellSuperseded():
                self._telling.emit(events.ReloadSuperseded(time.monotonic(), action.revision, action.by))
            case do.TellDied():
                self._tell_died(action)
            case do.WatchMoved():
                self._watch_moved(action)
            case do.Exit():
                self._exit()

    def _fork(self, action: do.Fork) -> None:
        worker = self._fleet.fork(
            action.worker,
            self._zygotes[action.zygote],
            on_message=self._from_worker,
            on_gone=self._worker_gone,
        )
        for holding in self._holdings:
            header, payload, fds = holding.frame("model")
            worker.link.send(header, payload, fds)
        for name, noted in self._operations.items():
            worker.link.send({"kind": "operations", "endpoint": name}, noted)
        self._hosts.connect_all(worker)

    def _go(self, action: do.Go) -> None:
        worker = self._fleet[action.worker]
        worker.start = action.start
        worker.generation = self._state.generation + 1
        self._send_go(worker, sorted(self._forced), is_replica=False)
        self._afterwards.reload_began()
        started = events.ReloadStarted(time.monotonic(), action.revision, action.start)
        self._telling.hold_back(lambda: started)

    def _replicate(self, action: do.Replicate) -> None:
        worker = self._fleet[action.worker]
        worker.generation = action.generation
        self._send_go(worker, [], is_replica=True)

    def _send_go(self, worker: WorkerProcess, forced: list[str], *, is_replica: bool) -> None:
        worker.link.send({
            "kind": "go", "changed": worker.unsent, "forced": forced, "address": self._address,
            "is_replica": is_replica,
        })  # fmt: skip
        worker.unsent = {}

    def _join(self, action: do.Join) -> None:
        worker = self._fleet[action.worker]
        self._dispatcher.join(action.generation, worker.number, worker.link.send)
        self._telling.serving(self._state)

    def _activate(self, action: do.Activate) -> None:
        worker = self._fleet[action.worker]
        ready = worker.ready
        worker.generation = action.generation
        self._fleet.prefer(worker, oom.SERVES)
        self._forced.clear()
        revision = self._state.workers[action.worker].revision
        self._dispatcher.activate(action.generation, revision, ready["endpoints"], worker.link.send, worker.number)
        self._hosts.activated(worker.number, {m["name"] for m in ready["models"] if m["home"] == "hosted"})
        worker.revision, worker.active_at_s = revision, time.monotonic()
        self._telling.ready(worker)

    def _tell_failed(self, action: do.TellFailed) -> None:
        self._forced.clear()
        active = self._state.having("active")
        if active is None:
            self._dispatcher.fail_all(action.problem)
        self._telling.failed(action.revision, action.problem, active.generation if active else None)

    def _tell_died(self, action: do.TellDied) -> None:
        worker = self._fleet.get(action.worker)
        lost = 0
        if worker is not None:
            if action.role == "active":
                lost = self._dispatcher.lost(worker.generation, action.cause, worker.number)
                if self._state.serving:
                    self._probing.lost(worker)
            self._fleet.forget(action.worker)
            self._hosts.released(action.worker)
        self._telling.died(action.role, action.cause, lost, is_replaced=action.is_replaced)
        if worker is not None and action.role == "active" and worker.generation == self._state.generation:
            self._telling.serving(self._state)

    def _watch_moved(self, action: do.WatchMoved) -> None:
        problem = Problem(
            "WorkspaceChanged",
            "a file of the workspace is not what was synced; the app may have written it itself",
            hint="save the file again to put it back",
        )
        self._timers.later("moved", action.within_s, lambda: self._feed(on.MovedTooLong(action.revision, problem)))

    def _exit(self) -> None:
        self._telling.release()
        self._probing.cancel()
        self._timers.cancel_all()
        self._fleet.kill_all()
        self._zygotes.stop_all()
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
                self._leaves(worker, message.header["begun"])
            case "warm":
                self._warmed(worker)
            case "ready":
                self._ready(worker, message.header)
            case "failed":
                self._feed(on.Failed(worker.number, record_from_json(Problem, message.header["problem"])))
            case "moved":
                self._feed(on.Moved(worker.number))
            case "loading":
                self._tell_loading(worker, message.header)
            case "keep":
                worker.loads = ""
                self._keep(message)
            case "forget":
                self._holdings.drop(message.header["model"])
                self._hosts.retire(message.header["model"])
                self._send({"kind": "forget", "model": message.header["model"]})
            case "host":
                self._host(worker, message.header)
            case "notice":
                self._telling.notice(message.header)
            case "gauge":
                self._gauged(worker.number, message.header)
            case "locals":
                self._failures.put(message.header["failure"])
            case "probed":
                self._probing.heard(worker, message.header)
            case "probes_done":
                self._probing.functions_done(worker)
            case "operations":
                self._note_operations(message)
            case "pages":
                worker.zygote.pages = message.header["written"]
            case "imported":
                self._learner.conflicts(worker.zygote.learned, message.header["environment"])
                self._zygotes.learned(message.header["modules"])
            case "learned":
                self._afterwards.learned(message.header["modules"])
            case "sources":
                self._fleet.imported(message.header["paths"])
            case _:
                return

    def _leaves(self, worker: WorkerProcess, begun: list[int]) -> None:
        """Send a worker nothing more that ends by itself, and have it end in time: nothing else replaces it before."""
        self._dispatcher.leaves(worker.generation, worker.number, begun)
        self._loop.call_later(EXIT_GRACE_S, self._fleet.crash, worker.number)

    def _tell_loading(self, worker: WorkerProcess, header: dict[str, Any]) -> None:
        known = self._state.workers.get(worker.number)
        if known is not None and known.role == "loading":  # what each worker has for itself was said of the first
            worker.loads = header["model"]
            self._fleet.prefer(worker, oom.LOADS)
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
            self._feed(on.Warmed(worker.number))
            self._telling.emit(events.StandbyReady(time.monotonic()))
            self.sampler.reloaded()

    def _ready(self, worker: WorkerProcess, header: dict[str, Any]) -> None:
        worker.ready = header
        state = self._state.workers.get(worker.number)
        if state is not None and state.role == "joining":
            self._ready_to_join(worker)
            return
        conflicts = self._learner.conflicts(worker.zygote.learned, header["environment"])
        if not conflicts:
            self._feed(on.BecameReady(worker.number, self.config.replicas or header["replicas"]))
            return
        names = ", ".join(conflicts)
        self._telling.say_once(
            f"environment {names}",
            f"The app sets {names} to something else than before, which libraries may read when they are imported: "
            "starting from a new zygote.",
            "set it in the shell, or leave it alone, and reloads stay fast",
        )
        self._feed(on.ZygoteStale(worker.number))

    def _ready_to_join(self, worker: WorkerProcess) -> None:
        first = self._fleet[self._state.serving[0].number]
        if worker.ready["endpoints"] == first.ready["endpoints"]:
            self._feed(on.BecameReady(worker.number))
            return
        problem = Problem(
            "WorkersDiffer",
            "a second worker of the same files made other endpoints than the first",
            hint="have the app define the same endpoints in each process",
        )
        self._feed(on.Failed(worker.number, problem))

    def _keep(self, message: Message) -> None:
        self._progress.over(message.header["model"])
        holding = self._holdings.put(message)
        self._hosts.retire(message.header["model"])
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
        zygote = self._zygotes.current
        if zygote is not None:
            self._hosts.start(header["model"], zygote, [worker])
        elif self._fleet.get(worker.number) is worker:  # the zygote died; another is on its way
            self._loop.call_later(ZYGOTE_WAIT_S, self._host, worker, header)

    def _host_died(self, name: str, cause: str) -> None:
        """Load a model whose host died again, that one alone, and connect the workers to it."""
        self._telling.died("hosted", cause, name=name)
        self._replace_host(name)

    def _replace_host(self, name: str) -> None:
        zygote = self._zygotes.current
        if zygote is None:
            self._loop.call_later(ZYGOTE_WAIT_S, self._replace_host, name)
            return
        users = [self._fleet[w.number] for w in self._state.workers.values() if w.role != "draining"]
        self._hosts.start(name, zygote, users, is_replacement=True)

    def _gauged(self, process: int, header: dict[str, Any] | None) -> None:
        if header is None:
            self._gauges.forget(process)
            return
        self._gauges.heard(process, header)
        self.sampler.wake()

    def _worker_gone(self, worker: WorkerProcess) -> None:
        self._gauged(worker.number, None)
        known = self._state.workers.get(worker.number)
        if known is None:
            self._fleet.forget(worker.number)
            return
        if not worker.pid and known.role in {"standby", "loading", "joining"}:
            self._feed(on.NeverForked(worker.number))
            return
        doing = {
            "loading": f"loading {worker.loads}" if worker.loads else "becoming ready",
            "joining": "becoming ready",
            "active": "serving",
            "standby": "waiting",
        }.get(known.role, "ending")
        problem = Problem("WorkerDied", f"the worker died while {doing} ({worker.cause})", hint=oom.hint(worker.cause))
        self._feed(on.Died(worker.number, time.monotonic(), worker.cause, problem))

    def _run_probes(self, generation: int, *, only: str = "") -> None:
        serving = self._state.serving
        if serving and serving[0].generation == generation:
            self._afterwards.probes_began(generation)
            self._probing.start(self._fleet[serving[0].number], generation, serving[0].revision, only=only)
