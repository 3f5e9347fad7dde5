"""The reload's decisions: which worker runs which revision, who serves, who is killed.

`step` takes a state and an event and gives a state and actions. It knows no process, no socket and no clock: times come
with the events, and whoever carries out the actions reports back with events. Three rules hold everywhere:

1. All active workers are of one generation, which only a worker of the newest revision begins.
2. What fails before "ready" changes nothing for the active workers.
3. Others join a generation's first worker while its revision is the newest one, never at the cost of a reload.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hotloop.gpu_runtime import controller_actions as do
from hotloop.gpu_runtime import controller_events as on
from hotloop.gpu_runtime.controller_state import State, Worker

if TYPE_CHECKING:
    from hotloop.events import Problem
    from hotloop.gpu_runtime.controller_state import Role

CRASHES_ALLOWED = 3
CRASH_WINDOW_S = 10.0
MOVED_GRACE_S = 2.0

Step = tuple[State, tuple[do.Action, ...]]


def step(state: State, event: on.Event) -> Step:  # noqa: C901, PLR0912  one line a case
    """Decide what follows from an event. Events about workers that are gone change nothing."""
    if state.is_stopping:
        return state, ()
    match event:
        case on.Started():
            return _start_zygote(state)
        case on.Revised():
            return _revised(state, event)
        case on.EnvironmentChanged():
            return _environment_changed(state, event)
        case on.Asked():
            return _asked(state, event)
        case on.ZygoteUp():
            return _zygote_up(state, event)
        case on.ZygoteDown():
            return _zygote_down(state, event)
        case on.Relearned():
            return _start_zygote(state) if not state.next_zygote else (state, ())
        case on.ZygoteStale():
            return _zygote_stale(state, event)
        case on.Warmed():
            return _warmed(state, event)
        case on.BecameReady():
            return _ready(state, event)
        case on.Failed():
            return _failed(state, event.worker, event.problem)
        case on.Moved():
            return _moved(state, event)
        case on.MovedTooLong():
            return _moved_too_long(state, event)
        case on.Died():
            return _died(state, event)
        case on.NeverForked():
            return _never_forked(state, event)
        case on.Probed():
            return _probed(state, event)
        case on.Grow():
            return _grow(replace(state, may_grow=True)) if event.generation == state.generation else (state, ())
        case on.Drained():
            return _drained(state, event)
        case on.Stop():
            return replace(state, is_stopping=True), (do.Exit(),)


def _chain(first: Step, then: Step) -> Step:
    return then[0], first[1] + then[1]


def _start_zygote(state: State) -> Step:
    number = state.zygotes_made + 1
    return replace(state, zygotes_made=number, next_zygote=number), (do.StartZygote(number),)


def _revised(state: State, event: on.Revised) -> Step:
    state = replace(state, revision=event.revision, is_settled=False, crashes_s=(), cold_deaths=0)
    state, actions = _abandon(state)
    if event.is_zygote_stale:
        return _chain((state, actions), _replace_zygote(state))
    return _chain((state, actions), _reload(state))


def _environment_changed(state: State, event: on.EnvironmentChanged) -> Step:
    """Start a zygote in it, beside the one there is: what serves, and saves meanwhile, go on in the old environment."""
    stop = (do.StopZygote(state.next_zygote),) if state.next_zygote else ()
    return _chain((state, stop), _start_zygote(replace(state, switching=event.revision, zygote_crashes_s=())))


def _switch(state: State) -> Step:
    """Nothing that was forked in the old environment may begin a generation any more; the newest revision runs anew."""
    revision = max(state.revision, state.switching or 0)
    state = replace(state, revision=revision, switching=None, is_settled=revision == 0, waited=True, crashes_s=())
    abandoned = _abandon(state)
    return _chain(abandoned, _kill_all(abandoned[0], "standby"))


def _asked(state: State, event: on.Asked) -> Step:
    abandoned = _abandon(replace(state, is_settled=state.revision == 0))
    if event.is_cold:
        fresh = replace(abandoned[0], crashes_s=(), zygote_crashes_s=())
        return _chain((fresh, abandoned[1]), _replace_zygote(fresh))
    return _chain(abandoned, _reload(abandoned[0]))


def _abandon(state: State) -> Step:
    """Let go of whoever becomes ready: what it would serve is being replaced."""
    loading = state.having("loading")
    if loading is None:
        return _kill_all(state, "joining")
    told = (do.TellSuperseded(loading.revision, state.revision),) if loading.revision != state.revision else ()
    return state.removing(loading.number), (do.Kill(loading.number), *told)


def _kill_all(state: State, role: Role) -> Step:
    numbers = [worker.number for worker in state.workers.values() if worker.role == role]
    for number in numbers:
        state = state.removing(number)
    return state, tuple(do.Kill(number) for number in numbers)


def _replace_zygote(state: State) -> Step:
    """Nothing that exists may run the next revision: a new zygote first, then the reload."""
    state, actions = _kill_all(state, "standby")
    if state.zygote:
        actions += (do.StopZygote(state.zygote),)
    if state.next_zygote:
        actions += (do.StopZygote(state.next_zygote),)
    return _chain((state, actions), _start_zygote(replace(state, zygote=0, waited=True)))


def _reload(state: State) -> Step:
    """Run the newest revision, if it was not tried yet and something can run it."""
    if state.is_settled or state.having("loading"):
        return state, ()
    standbys = [worker for worker in state.workers.values() if worker.role == "standby"]
    standby = max(standbys, key=lambda worker: (worker.is_warm, worker.number), default=None)
    if standby is not None:
        start: do.Start = "zygote" if state.waited else "standby" if standby.is_warm else "fork"
        return _go(state, standby, start)
    if not state.zygote:
        return replace(state, waited=True), ()
    state, actions = _fork(state)
    return _chain((state, actions), _go(state, state.workers[state.workers_made], "zygote" if state.waited else "fork"))


def _go(state: State, worker: Worker, start: do.Start) -> Step:
    state = replace(state, waited=False).updating(replace(worker, role="loading", revision=state.revision))
    return state, (do.Go(worker.number, state.revision, start),)


def _fork(state: State) -> Step:
    number = state.workers_made + 1
    worker = Worker(number, state.zygote, "standby")
    return replace(state, workers_made=number).updating(worker), (do.Fork(number, state.zygote),)


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
    actions: tuple[do.Action, ...] = ()
    for _ in range(state.replicas - state.given_up - num_there):
        state, forked = _fork(state)
        worker = replace(state.workers[state.workers_made], role="joining")
        state = state.updating(replace(worker, revision=active.revision, generation=active.generation))
        actions += (*forked, do.Replicate(worker.number, active.generation))
    return state, actions


def _fill(state: State) -> Step:
    """Make every worker that is missing: the generation's own, then the next standby."""
    grown = _grow(state)
    return _chain(grown, _fork_standby(grown[0]))


def _zygote_up(state: State, event: on.ZygoteUp) -> Step:
    if event.zygote != state.next_zygote:
        return state, (do.StopZygote(event.zygote),)
    stop = (do.StopZygote(state.zygote),) if state.zygote else ()
    state = replace(state, zygote=event.zygote, next_zygote=0, zygote_crashes_s=())
    up = (state, stop)
    if state.switching is not None:
        up = _chain(up, _switch(state))
    first = _chain(up, _reload(up[0]))
    return _chain(first, _fill(first[0]))


def _zygote_down(state: State, event: on.ZygoteDown) -> Step:
    if event.zygote not in {state.zygote, state.next_zygote}:
        return state, ()
    crashes = _recent(state.zygote_crashes_s, event.at_s)
    was_up = event.zygote == state.zygote
    told = (do.TellDied("zygote", 0, event.problem.message),) if was_up else ()
    state = replace(
        state,
        zygote_crashes_s=crashes,
        zygote=0 if was_up else state.zygote,
        next_zygote=0 if event.zygote == state.next_zygote else state.next_zygote,
    )
    if len(crashes) >= CRASHES_ALLOWED:
        settled = replace(state, is_settled=True)
        return _chain((settled, (*told, do.TellFailed(state.revision, event.problem))), _grow(settled))
    if state.switching is not None and state.zygote and not was_up:
        settled = replace(state, switching=None)
        return settled, (*told, do.TellFailed(max(state.switching, state.revision), event.problem))
    if state.next_zygote or (state.zygote and not was_up):
        return state, told
    return _chain((state, told), _start_zygote(state))


def _zygote_stale(state: State, event: on.ZygoteStale) -> Step:
    if event.worker not in state.workers:
        return state, ()
    state = state.removing(event.worker)
    return _chain((state, (do.Kill(event.worker),)), _replace_zygote(replace(state, is_settled=False)))


def _warmed(state: State, event: on.Warmed) -> Step:
    worker = state.workers.get(event.worker)
    if worker is None or worker.role != "standby":
        return state, ()
    state = replace(state.updating(replace(worker, is_warm=True)), cold_deaths=0)
    older = [w for w in state.workers.values() if w.role == "standby" and w.number < worker.number]
    for other in older:
        state = state.removing(other.number)
    return state, tuple(do.Kill(other.number) for other in older)


def _ready(state: State, event: on.BecameReady) -> Step:
    worker = state.workers.get(event.worker)
    if worker is not None and worker.role == "joining":
        return state.updating(replace(worker, role="active")), (do.Join(worker.number, worker.generation),)
    if worker is None or worker.role != "loading":
        return state, ()
    generation = state.generation + 1
    actions: tuple[do.Action, ...] = (do.Activate(worker.number, generation),)
    for active in state.serving:
        state = state.updating(replace(active, role="draining"))
        actions += (do.Drain(active.number),)
    state = state.updating(replace(worker, role="active", generation=generation))
    state = replace(state, generation=generation, is_settled=True, is_probing=True)
    state = replace(state, replicas=event.replicas, may_grow=False, given_up=0)
    return state, (*actions, do.RunProbes(generation))


def _failed(state: State, number: int, problem: Problem) -> Step:
    worker = state.workers.get(number)
    if worker is not None and worker.role == "joining":
        state = replace(state.removing(number), given_up=state.given_up + 1)
        return state, (do.TellFewer(worker.generation, problem), do.Kill(number))
    if worker is None or worker.role != "loading":
        return state, ()
    state = replace(state.removing(number), is_settled=True)
    failed = state, (do.TellFailed(worker.revision, problem), do.Kill(number))
    return _chain(failed, _fill(state))


def _moved(state: State, event: on.Moved) -> Step:
    worker = state.workers.get(event.worker)
    if worker is not None and worker.role == "joining":  # a save is on its way, which would abandon it
        return replace(state.removing(event.worker), given_up=state.given_up + 1), (do.Kill(event.worker),)
    if worker is None or worker.role != "loading":
        return state, ()
    state = replace(state.removing(event.worker), is_settled=True)
    return state, (do.Kill(event.worker), do.WatchMoved(worker.revision, MOVED_GRACE_S))


def _moved_too_long(state: State, event: on.MovedTooLong) -> Step:
    if event.revision != state.revision:
        return state, ()
    return _chain((state, (do.TellFailed(event.revision, event.problem),)), _fill(state))


def _died(state: State, event: on.Died) -> Step:
    worker = state.workers.get(event.worker)
    if worker is None:
        return state, ()
    if worker.role in {"loading", "joining"}:
        return _failed(state, event.worker, event.problem)
    state = state.removing(event.worker)
    if worker.role == "draining":
        return state, (do.TellDied("active", worker.number, event.cause),)
    state = replace(state, crashes_s=_recent(state.crashes_s, event.at_s))
    if worker.role == "standby":
        return _standby_died(replace(state, cold_deaths=state.cold_deaths + (not worker.is_warm)), event)
    died = state, (do.TellDied("active", worker.number, event.cause),)
    return _chain(died, _one_fewer(state, event.problem) if state.serving else _none_left(state, event.problem))


def _never_forked(state: State, event: on.NeverForked) -> Step:
    """Have another in its place: none of the user's code ran in it, so nothing failed."""
    if event.worker not in state.workers:
        return state, ()
    again = _reload(state.removing(event.worker))
    return _chain(again, _fill(again[0]))


def _standby_died(state: State, event: on.Died) -> Step:
    is_loop = max(len(state.crashes_s), state.cold_deaths) >= CRASHES_ALLOWED
    died = (do.TellDied("standby", event.worker, event.cause, is_replaced=not is_loop),)
    return (replace(state, is_settled=True), died) if is_loop else _chain((state, died), _fill(state))


def _one_fewer(state: State, problem: Problem) -> Step:
    """Replace an active worker that died while others serve."""
    if len(state.crashes_s) >= CRASHES_ALLOWED:
        return replace(state, given_up=state.given_up + 1), (do.TellFewer(state.generation, problem),)
    return _fill(state)


def _none_left(state: State, problem: Problem) -> Step:
    """Begin another generation of the same revision, unless that was tried too often."""
    state, killed = _kill_all(replace(state, is_probing=False), "joining")
    if len(state.crashes_s) >= CRASHES_ALLOWED:
        return replace(state, is_settled=True), (*killed, do.TellFailed(state.revision, problem))
    return _chain((state, killed), _reload(replace(state, is_settled=False)))


def _probed(state: State, event: on.Probed) -> Step:
    if event.generation != state.generation:
        return state, ()
    return _fill(replace(state, is_probing=False))


def _drained(state: State, event: on.Drained) -> Step:
    worker = state.workers.get(event.worker)
    if worker is None or worker.role != "draining":
        return state, ()
    return state.removing(event.worker), (do.Retire(event.worker),)


def _recent(times_s: tuple[float, ...], now_s: float) -> tuple[float, ...]:
    return (*(t for t in times_s if now_s - t < CRASH_WINDOW_S), now_s)
