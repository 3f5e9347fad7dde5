"""The reload's decisions: which worker runs which revision, who serves, who is killed.

`step` takes a state and an event and gives a state and actions. It knows no process, no socket and no clock: times come
with the events, and whoever carries out the actions reports back with events. Three rules hold everywhere:

1. All active workers are of one generation, which only a worker of the newest revision begins.
2. What fails before "ready" changes nothing for the active workers.
3. Others join a generation's first worker while its revision is the newest one, never at the cost of a reload.

Longer than most files: the events, the actions and what lies between them are read together.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from hotloop.events import Problem

CRASHES_ALLOWED = 3
CRASH_WINDOW_S = 10.0
MOVED_GRACE_S = 2.0

Start = Literal["standby", "fork", "zygote"]
Role = Literal["standby", "loading", "joining", "active", "draining"]


@dataclass(frozen=True, slots=True)
class Worker:
    """One worker process.

    Attributes:
        number: Names it for its whole life; never used again.
        zygote: The number of the zygote that it was forked from.
        role: Of those that become ready, one that is ``loading`` begins a generation, one that is ``joining`` joins it.
        is_warm: A standby that has attached what it can ahead of a save.
        revision: What it was told to run; 0 for a standby.
        generation: The one that it serves in, or is joining; 0 before.
    """

    number: int
    zygote: int
    role: Role
    is_warm: bool = False
    revision: int = 0
    generation: int = 0


@dataclass(frozen=True, slots=True)
class State:
    """What the controller knows.

    Attributes:
        revision: The newest revision in the workspace; 0 before the first.
        is_settled: The newest revision was tried: it serves or it failed. Only a newer one is tried again.
        zygote: The number of the zygote to fork from; 0 while none is up.
        next_zygote: The number of one that is starting; 0 if none.
        waited: The reload under way had to wait for a zygote.
        crashes_s: When workers died lately, to stop a crash loop.
        replicas: How many workers the active generation should have.
        may_grow: Its first worker had the machine to itself for a moment, so that the others may be made.
        given_up: How many of the others are not to be made any more: one failed, or too many died.
        switching: A zygote is on its way in another environment, and what is to run in it: this revision, or a newer
            one; None if none is.
    """

    revision: int = 0
    is_settled: bool = True
    generation: int = 0
    zygote: int = 0
    next_zygote: int = 0
    zygotes_made: int = 0
    workers_made: int = 0
    workers: dict[int, Worker] = field(default_factory=dict[int, Worker])
    waited: bool = False
    crashes_s: tuple[float, ...] = ()
    zygote_crashes_s: tuple[float, ...] = ()
    is_probing: bool = False
    is_stopping: bool = False
    replicas: int = 1
    may_grow: bool = False
    given_up: int = 0
    switching: int | None = None

    @property
    def serving(self) -> tuple[Worker, ...]:
        """The active workers, by age."""
        return tuple(worker for worker in self.workers.values() if worker.role == "active")

    def having(self, role: Role) -> Worker | None:
        """The newest worker in a role, None if there is none."""
        found = [worker for worker in self.workers.values() if worker.role == role]
        return max(found, key=lambda worker: worker.number, default=None)


# --- events -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Started:
    """The runtime is up."""


@dataclass(frozen=True, slots=True)
class Revised:
    """The workspace holds a new revision. ``is_zygote_stale``: installed packages changed since the zygote began."""

    revision: int
    is_zygote_stale: bool = False


@dataclass(frozen=True, slots=True)
class EnvironmentChanged:
    """Another environment takes the place of the one in use. ``revision``: the newest one that is to run in it."""

    revision: int


@dataclass(frozen=True, slots=True)
class Asked:
    """The user asked to run the newest revision again, with some models loaded anew.

    Attributes:
        is_cold: From a new zygote, as a first start would.
    """

    is_cold: bool = False


@dataclass(frozen=True, slots=True)
class ZygoteUp:
    """A zygote imported what it should and can fork."""

    zygote: int


@dataclass(frozen=True, slots=True)
class ZygoteDown:
    """A zygote died, or could not start."""

    zygote: int
    at_s: float
    problem: Problem


@dataclass(frozen=True, slots=True)
class Relearned:
    """A better zygote could be made: a generation imported modules that this one lacks."""


@dataclass(frozen=True, slots=True)
class ZygoteStale:
    """What the loading worker did can't be right on this zygote: the project set an environment variable too late."""

    worker: int


@dataclass(frozen=True, slots=True)
class Warmed:
    """A standby attached what it can."""

    worker: int


@dataclass(frozen=True, slots=True)
class BecameReady:
    """A worker imported the project and has its models. ``replicas``: how many such workers the app wants."""

    worker: int
    replicas: int = 1


@dataclass(frozen=True, slots=True)
class Failed:
    """A worker could not become ready."""

    worker: int
    problem: Problem


@dataclass(frozen=True, slots=True)
class Moved:
    """A worker found the files newer than the revision that it was told to run."""

    worker: int


@dataclass(frozen=True, slots=True)
class MovedTooLong:
    """No newer revision came after a `Moved`."""

    revision: int
    problem: Problem


@dataclass(frozen=True, slots=True)
class Died:
    """A worker's process ended by itself."""

    worker: int
    at_s: float
    cause: str
    problem: Problem


@dataclass(frozen=True, slots=True)
class Probed:
    """All probes of a generation ran, or their time was up."""

    generation: int


@dataclass(frozen=True, slots=True)
class Grow:
    """A generation's first worker served for a moment: it is time for the others."""

    generation: int


@dataclass(frozen=True, slots=True)
class Drained:
    """A draining worker has answered its last request, or its time is up."""

    worker: int


@dataclass(frozen=True, slots=True)
class Stop:
    """End everything."""


Event = (
    Started
    | Revised
    | EnvironmentChanged
    | Asked
    | ZygoteUp
    | ZygoteDown
    | Relearned
    | ZygoteStale
    | Warmed
    | BecameReady
    | Failed
    | Moved
    | MovedTooLong
    | Died
    | Probed
    | Grow
    | Drained
    | Stop
)


# --- actions ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StartZygote:
    """Start a zygote beside the one there is."""

    zygote: int


@dataclass(frozen=True, slots=True)
class StopZygote:
    """End a zygote; the workers it forked live on."""

    zygote: int


@dataclass(frozen=True, slots=True)
class Fork:
    """Fork a worker and let it warm up."""

    worker: int
    zygote: int


@dataclass(frozen=True, slots=True)
class Go:
    """Tell a worker to import a revision."""

    worker: int
    revision: int
    start: Start


@dataclass(frozen=True, slots=True)
class Replicate:
    """Tell a worker to import the revision that serves, and to take its models as they are."""

    worker: int
    generation: int


@dataclass(frozen=True, slots=True)
class Join:
    """Give a worker a share of its generation's requests."""

    worker: int
    generation: int


@dataclass(frozen=True, slots=True)
class Activate:
    """Give a worker all requests from now on, and say that its generation is ready."""

    worker: int
    generation: int


@dataclass(frozen=True, slots=True)
class Drain:
    """Let a worker finish what it has, then report `Drained`."""

    worker: int


@dataclass(frozen=True, slots=True)
class Retire:
    """End a worker that has nothing left to do: politely, then by force."""

    worker: int


@dataclass(frozen=True, slots=True)
class Kill:
    """End a worker now."""

    worker: int


@dataclass(frozen=True, slots=True)
class RunProbes:
    """Run the probes against a generation, then report `Probed`."""

    generation: int


@dataclass(frozen=True, slots=True)
class TellFailed:
    """Say that a revision failed; if nothing serves, waiting requests are answered with the problem."""

    revision: int
    problem: Problem


@dataclass(frozen=True, slots=True)
class TellFewer:
    """Say that a generation goes on with fewer workers than it should have."""

    generation: int
    problem: Problem


@dataclass(frozen=True, slots=True)
class TellSuperseded:
    """Say that a revision was overtaken."""

    revision: int
    by: int


@dataclass(frozen=True, slots=True)
class TellDied:
    """Say that a process died that should not have."""

    role: Literal["active", "standby", "zygote"]
    worker: int
    cause: str


@dataclass(frozen=True, slots=True)
class WatchMoved:
    """Report `MovedTooLong` if no newer revision comes in time."""

    revision: int
    within_s: float


@dataclass(frozen=True, slots=True)
class Exit:
    """Kill every process and end the runtime."""


Action = (
    StartZygote
    | StopZygote
    | Fork
    | Go
    | Replicate
    | Join
    | Activate
    | Drain
    | Retire
    | Kill
    | RunProbes
    | TellFailed
    | TellFewer
    | TellSuperseded
    | TellDied
    | WatchMoved
    | Exit
)
Step = tuple[State, tuple[Action, ...]]


def step(state: State, event: Event) -> Step:  # noqa: C901, PLR0912  one line a case
    """Decide what follows from an event. Events about workers that are gone change nothing."""
    if state.is_stopping:
        return state, ()
    match event:
        case Started():
            return _start_zygote(state)
        case Revised():
            return _revised(state, event)
        case EnvironmentChanged():
            return _environment_changed(state, event)
        case Asked():
            return _asked(state, event)
        case ZygoteUp():
            return _zygote_up(state, event)
        case ZygoteDown():
            return _zygote_down(state, event)
        case Relearned():
            return _start_zygote(state) if not state.next_zygote else (state, ())
        case ZygoteStale():
            return _zygote_stale(state, event)
        case Warmed():
            return _warmed(state, event)
        case BecameReady():
            return _ready(state, event)
        case Failed():
            return _failed(state, event.worker, event.problem)
        case Moved():
            return _moved(state, event)
        case MovedTooLong():
            return _moved_too_long(state, event)
        case Died():
            return _died(state, event)
        case Probed():
            return _probed(state, event)
        case Grow():
            return _grow(replace(state, may_grow=True)) if event.generation == state.generation else (state, ())
        case Drained():
            return _drained(state, event)
        case Stop():
            return replace(state, is_stopping=True), (Exit(),)


def _chain(first: Step, then: Step) -> Step:
    return then[0], first[1] + then[1]


def _with(state: State, worker: Worker) -> State:
    return replace(state, workers={**state.workers, worker.number: worker})


def _without(state: State, number: int) -> State:
    return replace(state, workers={n: worker for n, worker in state.workers.items() if n != number})


def _start_zygote(state: State) -> Step:
    number = state.zygotes_made + 1
    return replace(state, zygotes_made=number, next_zygote=number), (StartZygote(number),)


def _revised(state: State, event: Revised) -> Step:
    state = replace(state, revision=event.revision, is_settled=False, crashes_s=())
    state, actions = _abandon(state)
    if event.is_zygote_stale:
        return _chain((state, actions), _replace_zygote(state))
    return _chain((state, actions), _reload(state))


def _environment_changed(state: State, event: EnvironmentChanged) -> Step:
    """Start a zygote in it, beside the one there is: what serves, and saves meanwhile, go on in the old environment."""
    stop = (StopZygote(state.next_zygote),) if state.next_zygote else ()
    return _chain((state, stop), _start_zygote(replace(state, switching=event.revision, zygote_crashes_s=())))


def _switch(state: State) -> Step:
    """Nothing that was forked in the old environment may begin a generation any more; the newest revision runs anew."""
    revision = max(state.revision, state.switching or 0)
    state = replace(state, revision=revision, switching=None, is_settled=revision == 0, waited=True, crashes_s=())
    state, actions = _abandon(state)
    for worker in list(state.workers.values()):
        if worker.role == "standby":
            state = _without(state, worker.number)
            actions += (Kill(worker.number),)
    return state, actions


def _asked(state: State, event: Asked) -> Step:
    abandoned = _abandon(replace(state, is_settled=state.revision == 0))
    if event.is_cold:
        fresh = replace(abandoned[0], crashes_s=(), zygote_crashes_s=())
        return _chain((fresh, abandoned[1]), _replace_zygote(fresh))
    return _chain(abandoned, _reload(abandoned[0]))


def _abandon(state: State) -> Step:
    """Let go of whoever becomes ready: what it would serve is being replaced."""
    loading = state.having("loading")
    if loading is None:
        return _abandon_joining(state)
    told = (TellSuperseded(loading.revision, state.revision),) if loading.revision != state.revision else ()
    return _without(state, loading.number), (Kill(loading.number), *told)


def _abandon_joining(state: State) -> Step:
    joining = [worker.number for worker in state.workers.values() if worker.role == "joining"]
    for number in joining:
        state = _without(state, number)
    return state, tuple(Kill(number) for number in joining)


def _replace_zygote(state: State) -> Step:
    """Nothing that exists may run the next revision: a new zygote first, then the reload."""
    actions: tuple[Action, ...] = ()
    for worker in list(state.workers.values()):
        if worker.role == "standby":
            state = _without(state, worker.number)
            actions += (Kill(worker.number),)
    if state.zygote:
        actions += (StopZygote(state.zygote),)
    if state.next_zygote:
        actions += (StopZygote(state.next_zygote),)
    return _chain((state, actions), _start_zygote(replace(state, zygote=0, waited=True)))


def _reload(state: State) -> Step:
    """Run the newest revision, if it was not tried yet and something can run it."""
    if state.is_settled or state.having("loading"):
        return state, ()
    standbys = [worker for worker in state.workers.values() if worker.role == "standby"]
    standby = max(standbys, key=lambda worker: (worker.is_warm, worker.number), default=None)
    if standby is not None:
        start: Start = "zygote" if state.waited else "standby" if standby.is_warm else "fork"
        return _go(state, standby, start)
    if not state.zygote:
        return replace(state, waited=True), ()
    state, actions = _fork(state)
    return _chain((state, actions), _go(state, state.workers[state.workers_made], "zygote" if state.waited else "fork"))


def _go(state: State, worker: Worker, start: Start) -> Step:
    state = _with(replace(state, waited=False), replace(worker, role="loading", revision=state.revision))
    return state, (Go(worker.number, state.revision, start),)


def _fork(state: State) -> Step:
    number = state.workers_made + 1
    worker = Worker(number, state.zygote, "standby")
    return _with(replace(state, workers_made=number), worker), (Fork(number, state.zygote),)


def _fork_standby(state: State) -> Step:
    """Make the next standby, unless one of the newest zygote is there or the machine is busy with the loop."""
    standby = state.having("standby")
    is_fresh = standby is not None and standby.zygote == state.zygote
    if is_fresh or not state.zygote or state.is_probing or state.having("loading"):
        return state, ()
    return _fork(state)


def _grow(state: State) -> Step:
    """Make the workers that the generation lacks, unless the machine is busy with the loop or a better zygote is coming.

    Not while the workspace holds another revision, though it may have failed: a new worker would run that one's files.
    """
    active = state.having("active")
    is_busy = not state.zygote or state.next_zygote or state.having("loading") is not None
    if active is None or active.revision != state.revision or not state.may_grow or is_busy:
        return state, ()
    num_there = sum(worker.generation == active.generation for worker in state.workers.values())
    actions: tuple[Action, ...] = ()
    for _ in range(state.replicas - state.given_up - num_there):
        state, forked = _fork(state)
        worker = replace(state.workers[state.workers_made], role="joining")
        state = _with(state, replace(worker, revision=active.revision, generation=active.generation))
        actions += (*forked, Replicate(worker.number, active.generation))
    return state, actions


def _fill(state: State) -> Step:
    """Make every worker that is missing: the generation's own, then the next standby."""
    grown = _grow(state)
    return _chain(grown, _fork_standby(grown[0]))


def _zygote_up(state: State, event: ZygoteUp) -> Step:
    if event.zygote != state.next_zygote:
        return state, (StopZygote(event.zygote),)
    stop = (StopZygote(state.zygote),) if state.zygote else ()
    state = replace(state, zygote=event.zygote, next_zygote=0, zygote_crashes_s=())
    up = (state, stop)
    if state.switching is not None:
        up = _chain(up, _switch(state))
    first = _chain(up, _reload(up[0]))
    return _chain(first, _fill(first[0]))


def _zygote_down(state: State, event: ZygoteDown) -> Step:
    if event.zygote not in {state.zygote, state.next_zygote}:
        return state, ()
    crashes = _recent(state.zygote_crashes_s, event.at_s)
    was_up = event.zygote == state.zygote
    told = (TellDied("zygote", 0, event.problem.message),) if was_up else ()
    state = replace(
        state,
        zygote_crashes_s=crashes,
        zygote=0 if was_up else state.zygote,
        next_zygote=0 if event.zygote == state.next_zygote else state.next_zygote,
    )
    if len(crashes) >= CRASHES_ALLOWED:
        settled = replace(state, is_settled=True)
        return _chain((settled, (*told, TellFailed(state.revision, event.problem))), _grow(settled))
    if state.switching is not None and state.zygote and not was_up:
        settled = replace(state, switching=None)
        return settled, (*told, TellFailed(max(state.switching, state.revision), event.problem))
    if state.next_zygote or (state.zygote and not was_up):
        return state, told
    return _chain((state, told), _start_zygote(state))


def _zygote_stale(state: State, event: ZygoteStale) -> Step:
    if event.worker not in state.workers:
        return state, ()
    state = _without(state, event.worker)
    return _chain((state, (Kill(event.worker),)), _replace_zygote(replace(state, is_settled=False)))


def _warmed(state: State, event: Warmed) -> Step:
    worker = state.workers.get(event.worker)
    if worker is None or worker.role != "standby":
        return state, ()
    state = _with(state, replace(worker, is_warm=True))
    older = [w for w in state.workers.values() if w.role == "standby" and w.number < worker.number]
    for other in older:
        state = _without(state, other.number)
    return state, tuple(Kill(other.number) for other in older)


def _ready(state: State, event: BecameReady) -> Step:
    worker = state.workers.get(event.worker)
    if worker is not None and worker.role == "joining":
        return _with(state, replace(worker, role="active")), (Join(worker.number, worker.generation),)
    if worker is None or worker.role != "loading":
        return state, ()
    generation = state.generation + 1
    actions: tuple[Action, ...] = (Activate(worker.number, generation),)
    for active in state.serving:
        state = _with(state, replace(active, role="draining"))
        actions += (Drain(active.number),)
    state = _with(state, replace(worker, role="active", generation=generation))
    state = replace(state, generation=generation, is_settled=True, is_probing=True)
    state = replace(state, replicas=event.replicas, may_grow=False, given_up=0)
    return state, (*actions, RunProbes(generation))


def _failed(state: State, number: int, problem: Problem) -> Step:
    worker = state.workers.get(number)
    if worker is not None and worker.role == "joining":
        state = replace(_without(state, number), given_up=state.given_up + 1)
        return state, (TellFewer(worker.generation, problem), Kill(number))
    if worker is None or worker.role != "loading":
        return state, ()
    state = replace(_without(state, number), is_settled=True)
    failed = state, (TellFailed(worker.revision, problem), Kill(number))
    return _chain(failed, _fill(state))


def _moved(state: State, event: Moved) -> Step:
    worker = state.workers.get(event.worker)
    if worker is not None and worker.role == "joining":  # a save is on its way, which would abandon it
        return replace(_without(state, event.worker), given_up=state.given_up + 1), (Kill(event.worker),)
    if worker is None or worker.role != "loading":
        return state, ()
    state = replace(_without(state, event.worker), is_settled=True)
    return state, (Kill(event.worker), WatchMoved(worker.revision, MOVED_GRACE_S))


def _moved_too_long(state: State, event: MovedTooLong) -> Step:
    if event.revision != state.revision:
        return state, ()
    return _chain((state, (TellFailed(event.revision, event.problem),)), _fill(state))


def _died(state: State, event: Died) -> Step:
    worker = state.workers.get(event.worker)
    if worker is None:
        return state, ()
    if worker.role in {"loading", "joining"}:
        return _failed(state, event.worker, event.problem)
    state = _without(state, event.worker)
    if worker.role == "draining":
        return state, (TellDied("active", worker.number, event.cause),)
    state = replace(state, crashes_s=_recent(state.crashes_s, event.at_s))
    if worker.role == "standby":
        died = state, (TellDied("standby", worker.number, event.cause),)
        is_loop = len(state.crashes_s) >= CRASHES_ALLOWED
        return (replace(state, is_settled=True), died[1]) if is_loop else _chain(died, _fill(state))
    died = state, (TellDied("active", worker.number, event.cause),)
    return _chain(died, _one_fewer(state, event.problem) if state.serving else _none_left(state, event.problem))


def _one_fewer(state: State, problem: Problem) -> Step:
    """Replace an active worker that died while others serve."""
    if len(state.crashes_s) >= CRASHES_ALLOWED:
        return replace(state, given_up=state.given_up + 1), (TellFewer(state.generation, problem),)
    return _fill(state)


def _none_left(state: State, problem: Problem) -> Step:
    """Begin another generation of the same revision, unless that was tried too often."""
    state, killed = _abandon_joining(replace(state, is_probing=False))
    if len(state.crashes_s) >= CRASHES_ALLOWED:
        return replace(state, is_settled=True), (*killed, TellFailed(state.revision, problem))
    return _chain((state, killed), _reload(replace(state, is_settled=False)))


def _probed(state: State, event: Probed) -> Step:
    if event.generation != state.generation:
        return state, ()
    return _fill(replace(state, is_probing=False))


def _drained(state: State, event: Drained) -> Step:
    worker = state.workers.get(event.worker)
    if worker is None or worker.role != "draining":
        return state, ()
    return _without(state, event.worker), (Retire(event.worker),)


def _recent(times_s: tuple[float, ...], now_s: float) -> tuple[float, ...]:
    return (*(t for t in times_s if now_s - t < CRASH_WINDOW_S), now_s)
