"""The loop's decisions: what a save leads to, and what became of it.

`step` takes a state and an event and gives a state and actions. It knows no file, no network and no clock. Two rules
hold everywhere:

1. No save is lost: it is in `State.dirty`, in `State.taken`, or in a flight, until an iteration tells its outcome.
2. Every flight ends in exactly one iteration: ok, failed, or superseded by a newer one.

Longer than most files: the events, the actions and what lies between them are read together.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from hotloop import events
from hotloop.devloop import bench, diff, expected, tests_on_save, timeline, why
from hotloop.devloop.timeline import Marks

if TYPE_CHECKING:
    from hotloop.clock import SaveTime

MAX_UNACKED = 8  # beyond this saves gather in one changeset: the latest content is what counts

Outcome = Literal["ok", "failed", "superseded"]
Cause = Literal["code", "model", "environment", "cold"]
Asking = Literal["", "reload", "restart", "undo"]


@dataclass(frozen=True, slots=True)
class Save:
    """What the watcher saw.

    Attributes:
        seen_s: When, seconds on the monotonic clock.
        is_full: Everything may have changed.
        is_vcs: A checkout made the changes.
        resumed_s: When the user let it go on, if it was kept back: feedback is waited for from then on.
    """

    paths: frozenset[str]
    seen_s: float
    is_full: bool = False
    is_vcs: bool = False
    resumed_s: float | None = None

    def merged(self, newer: Save | None) -> Save:
        """Add a newer save; its time holds, since the newest write is what the user waits for."""
        if newer is None:
            return self
        paths, is_full = self.paths | newer.paths, self.is_full or newer.is_full
        return replace(newer, paths=paths, is_full=is_full, is_vcs=self.is_vcs and newer.is_vcs)


@dataclass(frozen=True, slots=True)
class Flight:
    """A save on its way to feedback.

    Attributes:
        sequence: The changeset's number; 0 for the first start, and for a reload that was asked for.
        saved: The newest write among its files.
        revision: What the changeset became on the runner; None until it is known.
        reports: The probes that ran so far.
        shown_s: When the first result was on the screen.
        is_cold: Whether it starts from nothing.
        after: Generations up to this one are not its own, whatever revision they ran.
        asked: What the user asked for; empty: a save began it.
    """

    number: int
    sequence: int
    saved: SaveTime
    marks: Marks
    paths: tuple[str, ...] = ()
    size_bytes: int = 0
    revision: int | None = None
    start: Literal["standby", "fork", "zygote", ""] = ""
    ready: events.Ready | None = None
    reports: tuple[events.ProbeReport, ...] = ()
    shown_s: float | None = None
    failed_shown_s: float | None = None
    is_cold: bool = False
    after: int = 0
    asked: Asking = ""


@dataclass(frozen=True, slots=True)
class State:
    """What the loop knows.

    Attributes:
        dirty: Saved and seen, not read yet.
        num_dirty: How many saves that were.
        taken: What the snapshot under way reads.
        flights: Sent, without an outcome yet; oldest first.
        early: Events of a revision that was not acknowledged yet.
        previous: The newest result of each probe that was good.
        hold: Why nothing is sent; empty if it is.
        is_offline: The runner does not answer: saves gather, since of each file only the latest content counts.
        is_paused: The user wants saves kept back: they gather likewise.
        revision: The newest that was acknowledged.
        bench: What is known about benches.
        tests: What is known about tests.
        past: Times to feedback of the last good iterations by cause, of earlier sessions too.
    """

    number: int = 0
    dirty: Save | None = None
    num_dirty: int = 0
    taken: Save | None = None
    flights: tuple[Flight, ...] = ()
    early: tuple[events.Event, ...] = ()
    previous: dict[str, events.ProbeReport] = field(default_factory=dict[str, events.ProbeReport])
    serving: int | None = None
    hold: str = ""
    is_offline: bool = False
    is_paused: bool = False
    revision: int = 0
    bench: bench.State = field(default_factory=bench.State)
    tests: tests_on_save.State = field(default_factory=tests_on_save.State)
    past: expected.Past = field(default_factory=expected.Past)

    @property
    def is_quiet(self) -> bool:
        """Whether no save is on its way."""
        return (self.dirty is None or self.is_paused) and self.taken is None and not self.flights


# --- events -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Opened:
    """The workspace equals the project and the runtime is about to start: the first flight, which no save caused."""

    began: SaveTime
    seen_s: float
    applied_s: float
    revision: int
    clock_error_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Saved:
    """The watcher saw changes."""

    save: Save


@dataclass(frozen=True, slots=True)
class Snapshotted:
    """The changed paths were read, and are a changeset."""

    at_s: float
    sequence: int
    saved: SaveTime
    paths: tuple[str, ...]
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The changed paths were read, and hold what they held."""


@dataclass(frozen=True, slots=True)
class Dangerous:
    """The changes would delete most of the tree: nothing was read, the user is asked."""

    at_s: float
    reason: str
    hint: str


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The user wants the dangerous changes."""


@dataclass(frozen=True, slots=True)
class Paused:
    """The user wants saves kept back."""

    at_s: float


@dataclass(frozen=True, slots=True)
class Resumed:
    """The user wants them sent again."""

    at_s: float


@dataclass(frozen=True, slots=True)
class Asked:
    """The runner was asked to run its revision again, with models loaded anew; ``is_cold``: from nothing."""

    began: SaveTime
    is_cold: bool = False


@dataclass(frozen=True, slots=True)
class Undone:
    """A changeset was made that takes an iteration's edit back on the runner."""

    sequence: int
    began: SaveTime
    paths: tuple[str, ...]
    size_bytes: int
    undone: int


@dataclass(frozen=True, slots=True)
class Acked:
    """A changeset was applied; ``applied_s`` is translated from the runner's clock, within ``clock_error_s``."""

    sequence: int
    revision: int
    applied_s: float
    clock_error_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Refused:
    """A changeset was not applied."""

    at_s: float
    sequence: int
    problem: events.Problem


@dataclass(frozen=True, slots=True)
class Happened:
    """The runner said something; ``at_s`` is when it arrived."""

    at_s: float
    event: events.Event


@dataclass(frozen=True, slots=True)
class Shown:
    """A probe's result was written to the screen."""

    at_s: float
    generation: int
    name: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The session is over."""

    at_s: float


Event = (
    Opened
    | Saved
    | Snapshotted
    | Unchanged
    | Dangerous
    | Confirmed
    | Paused
    | Resumed
    | Asked
    | Undone
    | Acked
    | Refused
    | Happened
    | Shown
    | bench.Benched
    | tests_on_save.Tested
    | tests_on_save.Wanted
    | Ended
)

# --- actions ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Read a save's paths and report `Snapshotted`, `Unchanged` or `Dangerous`."""

    save: Save
    is_confirmed: bool = False


@dataclass(frozen=True, slots=True)
class Send:
    """Send the changeset of this number."""

    sequence: int


@dataclass(frozen=True, slots=True)
class Emit:
    """Tell everyone who reads the stream."""

    event: events.Event


Action = Snapshot | Send | Emit | bench.Action | tests_on_save.Action
Step = tuple[State, tuple[Action, ...]]


def step(state: State, event: Event) -> Step:
    """Decide what follows from an event."""
    state, actions = _step(state, event)
    tested, runs = tests_on_save.decide(
        state.tests,
        has_flights=bool(state.flights),
        has_standby=state.bench.has_standby,
        is_offline=state.is_offline,
    )
    benched, benches = bench.decide(state.bench, is_quiet=state.is_quiet and tested.is_over)
    stops = tuple(action for action in (*benches, *runs) if isinstance(action, bench.Stop | tests_on_save.Stop))
    begins = tuple(action for action in (*runs, *benches) if isinstance(action, bench.Begin | tests_on_save.Begin))
    state = replace(state, bench=benched, tests=tested)
    return state, (*stops, *actions, *begins)  # a save has the machine for itself at once


def _step(state: State, event: Event) -> Step:  # noqa: C901, PLR0912  one line a case
    match event:
        case Opened():
            return _opened(state, event)
        case Saved():
            return _saved(state, event.save)
        case Snapshotted():
            return _snapshotted(state, event)
        case Unchanged():
            return _take(replace(state, taken=None, hold=""))
        case Dangerous():
            return _dangerous(state, event)
        case Confirmed():
            return _confirmed(state)
        case Paused():
            return _paused(state, event.at_s)
        case Resumed():
            return _resumed(state, event.at_s)
        case Asked():
            return _asked(state, event)
        case Undone():
            return _undone(state, event)
        case Acked():
            return _acked(state, event)
        case Refused():
            return _refused(state, event)
        case Happened():
            return _passed_on(state, event)
        case Shown():
            return _shown(state, event)
        case bench.Benched():
            benched, said = bench.over(state.bench, event)
            return replace(state, bench=benched), tuple(Emit(each) for each in said)
        case tests_on_save.Tested():
            tested, told = tests_on_save.over(state.tests, event)
            return replace(state, tests=tested), tuple(Emit(each) for each in told)
        case tests_on_save.Wanted():
            return replace(state, tests=tests_on_save.wanted(state.tests, state.number)), ()
        case Ended():
            state = replace(state, bench=replace(state.bench, has_passed=False))
            return _settle_before(state, len(state.flights), event.at_s)


def _passed_on(state: State, event: Happened) -> Step:
    if isinstance(event.event, events.Offline):
        state = replace(state, is_offline=True)
        return state, (Emit(replace(event.event, queued=_num_queued(state))),)
    if isinstance(event.event, events.Online):
        state = replace(state, is_offline=False)
        still = (Emit(events.SyncPaused(event.at_s, state.num_dirty)),) if state.is_paused else ()
        return _chain((state, (Emit(event.event), *still)), _take(state))
    benched, said = bench.heard(state.bench, event.event)
    told = (Emit(event.event), *(Emit(each) for each in said))
    state = replace(state, bench=benched)
    return _chain((state, told), _happened(state, event.event, event.at_s))


def _chain(first: Step, then: Step) -> Step:
    return then[0], first[1] + then[1]


# --- from save to changeset -------------------------------------------------------------------------------------


def _opened(state: State, event: Opened) -> Step:
    marks = Marks(event.began.monotonic_s, event.seen_s, applied_s=event.applied_s, clock_error_s=event.clock_error_s)
    flight = Flight(0, 0, event.began, marks, revision=event.revision)
    return replace(state, flights=(*state.flights, flight), revision=event.revision), ()


def _saved(state: State, save: Save) -> Step:
    dirty = save if state.dirty is None else state.dirty.merged(save)
    state = replace(state, dirty=dirty, num_dirty=state.num_dirty + 1)
    if state.is_offline:
        return state, (Emit(events.Offline(save.seen_s, _num_queued(state))),)
    if state.is_paused:
        return state, (Emit(events.SyncPaused(save.seen_s, state.num_dirty)),)
    return _take(state)


def _paused(state: State, at_s: float) -> Step:
    if state.is_paused:
        return state, ()
    return replace(state, is_paused=True), (Emit(events.SyncPaused(at_s, state.num_dirty)),)


def _resumed(state: State, at_s: float) -> Step:
    """Send what was kept back as one changeset. A deletion that is waited for is asked about again."""
    if not state.is_paused:
        return state, ()
    dirty = replace(state.dirty, seen_s=at_s, resumed_s=at_s) if state.dirty is not None else None
    state = replace(state, is_paused=False, dirty=dirty, hold="")
    said: tuple[Action, ...] = (Emit(events.SyncResumed(at_s)),)
    if state.is_offline:
        said += (Emit(events.Offline(at_s, _num_queued(state))),)
    return _chain((state, said), _take(state))


def _asked(state: State, event: Asked) -> Step:
    """A reload that no save caused is an iteration of its own, unless one is under way, which then begins again."""
    newest = state.flights[-1] if state.flights else None
    if newest is not None and newest.ready is None:
        return _with(state, replace(newest, is_cold=newest.is_cold or event.is_cold)), ()
    at_s = event.began.monotonic_s
    state, ended = _settle_before(state, len(state.flights), at_s)
    number = state.number + 1
    marks = Marks(at_s, at_s, applied_s=at_s)
    asked: Asking = "restart" if event.is_cold else "reload"
    flight = Flight(number, 0, event.began, marks, revision=state.revision, after=state.serving or 0, asked=asked)
    state = replace(state, number=number, flights=(*state.flights, replace(flight, is_cold=event.is_cold)))
    return state, (*ended, Emit(events.IterationStarted(at_s, number, (), at_s, asked)))


def _undone(state: State, event: Undone) -> Step:
    number, at_s = state.number + 1, event.began.monotonic_s
    flight = Flight(number, event.sequence, event.began, Marks(at_s, at_s), event.paths, event.size_bytes, asked="undo")
    state = replace(state, number=number, flights=(*state.flights, flight))
    return state, (
        Send(event.sequence),
        Emit(events.IterationStarted(at_s, number, event.paths, at_s, "undo")),
        Emit(events.EditUndone(at_s, number, event.undone, event.paths)),
    )


def _num_queued(state: State) -> int:
    """How many saves wait for the runner."""
    return state.num_dirty + (state.taken is not None) + _num_unacked(state)


def _num_unacked(state: State) -> int:
    return sum(flight.revision is None for flight in state.flights)


def _take(state: State) -> Step:
    """Read what is dirty, unless a snapshot is under way, too much is unacknowledged or nothing can be sent."""
    is_busy = state.taken is not None or _num_unacked(state) >= MAX_UNACKED
    if state.dirty is None or is_busy or state.is_offline or state.is_paused:
        return state, ()
    return replace(state, dirty=None, num_dirty=0, taken=state.dirty), (Snapshot(state.dirty),)


def _snapshotted(state: State, event: Snapshotted) -> Step:
    save, state = state.taken, replace(state, taken=None, hold="")
    if save is None:
        return _take(state)
    number = state.number + 1
    marks = Marks(event.saved.monotonic_s, save.seen_s)
    flight = Flight(number, event.sequence, event.saved, marks, event.paths, event.size_bytes)
    state = replace(state, number=number, flights=(*state.flights, flight))
    sent = (
        Send(event.sequence),
        Emit(events.IterationStarted(event.at_s, number, event.paths, saved_s=event.saved.monotonic_s)),
    )
    return _chain((state, sent), _take(state))


def _dangerous(state: State, event: Dangerous) -> Step:
    """Keep the paths dirty and ask once; the next save looks again, so putting the files back resolves it."""
    if state.taken is None:
        return state, ()
    dirty = state.taken.merged(state.dirty)
    is_new = state.hold != event.reason
    state = replace(state, taken=None, dirty=dirty, num_dirty=state.num_dirty + 1, hold=event.reason)
    said = (Emit(events.Held(event.at_s, event.reason, event.hint)),) if is_new else ()
    return state, said


def _confirmed(state: State) -> Step:
    if state.dirty is None or state.taken is not None or not state.hold or state.is_paused:
        return state, ()
    taken = state.dirty
    return replace(state, dirty=None, num_dirty=0, taken=taken), (Snapshot(taken, is_confirmed=True),)


def _acked(state: State, event: Acked) -> Step:
    flight = next((f for f in state.flights if f.sequence == event.sequence and f.revision is None), None)
    if flight is None:
        return _take(state)
    marks = replace(flight.marks, applied_s=event.applied_s, clock_error_s=event.clock_error_s)
    acked = replace(flight, revision=event.revision, marks=marks)
    result = _replay(_with(replace(state, revision=max(state.revision, event.revision)), acked))
    return _chain(result, _take(result[0]))


def _replay(state: State) -> Step:
    """Look again at what was said early; what still has no changeset stays, if one may yet be its cause."""
    waiting: Step = (replace(state, early=()), ())
    for event in state.early:
        waiting = _chain(waiting, _happened(waiting[0], event, event.at_s))
    return waiting


def _refused(state: State, event: Refused) -> Step:
    flight = next((f for f in state.flights if f.sequence == event.sequence and f.revision is None), None)
    if flight is None:
        return state, ()
    said = (Emit(events.ReloadFailed(event.at_s, 0, event.problem, state.serving)),)
    failed = _finish(state, flight, "failed", event.at_s, event.problem)
    replayed = _chain((failed[0], said + failed[1]), _replay(failed[0]))
    return _chain(replayed, _take(replayed[0]))


# --- from revision to outcome -----------------------------------------------------------------------------------


def _happened(state: State, event: events.Event, at_s: float) -> Step:
    match event:
        case events.ReloadStarted() | events.ReloadSuperseded() | events.ReloadFailed() | events.Ready():
            return _reload_event(state, event, at_s)
        case events.ProbeFinished():
            return _probe_finished(state, event, at_s)
        case events.ProbesFinished():
            flight = _of_generation(state, event)
            return _probes_finished(state, flight, at_s) if flight is not None else _early(state, event)
        case events.EnvironmentProgress() | events.EnvironmentReady() | events.EnvironmentFailed():
            return _environment(state, event, at_s)
        case events.RuntimeStopped():
            return _stopped(replace(state, serving=None), event, at_s)
        case _:
            return state, ()


_ReloadEvent = events.ReloadStarted | events.ReloadSuperseded | events.ReloadFailed | events.Ready


def _reload_event(state: State, event: _ReloadEvent, at_s: float) -> Step:
    state = replace(state, serving=event.generation) if isinstance(event, events.Ready) else state
    flight = _of_revision(state, event.revision)
    if flight is None:
        return _early(state, event)
    match event:
        case events.ReloadStarted():
            marks = replace(flight.marks, started_s=event.at_s, imported_s=None, ready_s=None)
            return _with(state, replace(flight, marks=marks, start=event.start, ready=None)), ()
        case events.ReloadSuperseded():
            return _finish(state, flight, "superseded", at_s)
        case events.ReloadFailed():
            older = _settle_before(state, state.flights.index(flight), at_s)
            return _chain(older, _finish(older[0], flight, "failed", at_s, event.problem))
        case events.Ready():
            older = _settle_before(state, state.flights.index(flight), at_s)
            marks = replace(flight.marks, imported_s=event.imported_at_s, ready_s=event.at_s)
            return _chain(older, (_with(older[0], replace(flight, marks=marks, start=event.start, ready=event)), ()))


_EnvironmentEvent = events.EnvironmentProgress | events.EnvironmentReady | events.EnvironmentFailed


def _environment(state: State, event: _EnvironmentEvent, at_s: float) -> Step:
    flight = _of_revision(state, event.revision)
    if flight is None:
        return _early(state, event)
    if isinstance(event, events.EnvironmentReady) and event.was_cached and not flight.number:
        return state, ()  # a first start that found it made waited for nothing
    waited = replace(flight, marks=replace(flight.marks, environment_s=event.at_s))
    if not isinstance(event, events.EnvironmentFailed):
        return _with(state, waited), ()
    older = _settle_before(_with(state, waited), state.flights.index(flight), at_s)
    return _chain(older, _finish(older[0], waited, "failed", at_s, event.problem))


def _early(state: State, event: events.Event) -> Step:
    """Keep what is said about a revision that a changeset on its way may turn out to be."""
    is_expected = any(flight.revision is None for flight in state.flights)
    return replace(state, early=(*state.early, event)) if is_expected else state, ()


def _probe_finished(state: State, event: events.ProbeFinished, at_s: float) -> Step:
    flight = _of_generation(state, event)
    if flight is None and any(f.revision is None for f in state.flights):
        return _early(state, event)
    report = _report(event, state.previous.get(event.name))
    number = flight.number if flight is not None else state.number
    said = (Emit(events.ProbeReported(at_s, number, event.generation, report)),)
    if report.is_ok:
        state = replace(state, previous={**state.previous, event.name: report})
    if flight is not None:
        state = _with(state, replace(flight, reports=(*flight.reports, report)))
    return state, said


def _report(event: events.ProbeFinished, previous: events.ProbeReport | None) -> events.ProbeReport:
    is_comparable = previous is not None and event.is_ok
    changes = diff.compare(previous.output, event.output) if previous is not None and is_comparable else ()
    return events.ProbeReport(
        name=event.name,
        is_ok=event.is_ok,
        is_changed=bool(changes),
        output=event.output,
        diff=changes,
        took_s=event.took_s,
        compute_s=event.compute_s,
        previous_took_s=previous.took_s if previous is not None else None,
        problem=event.problem,
    )


def _shown(state: State, event: Shown) -> Step:
    flight = next((f for f in state.flights if f.ready and f.ready.generation == event.generation), None)
    report = next((r for r in flight.reports if r.name == event.name), None) if flight is not None else None
    if flight is None or report is None:
        return state, ()
    if flight.shown_s is None:
        flight = replace(flight, shown_s=event.at_s)
    if not report.is_ok and flight.failed_shown_s is None:
        flight = replace(flight, failed_shown_s=event.at_s)
    return _with(state, flight), ()


def _probes_finished(state: State, flight: Flight, at_s: float) -> Step:
    failed = next((report for report in flight.reports if not report.is_ok), None)
    if failed is not None:
        return _finish(state, flight, "failed", flight.failed_shown_s or at_s, failed.problem)
    return _finish(state, flight, "ok", _feedback_s(flight, at_s))


def _feedback_s(flight: Flight, at_s: float) -> float:
    if flight.shown_s is not None:
        return flight.shown_s
    return flight.marks.ready_s if flight.marks.ready_s is not None and not flight.reports else at_s


def _stopped(state: State, event: events.RuntimeStopped, at_s: float) -> Step:
    """The runtime is gone: what was under way gets no answer any more."""
    outcome: Outcome = "failed" if event.problem is not None else "superseded"
    result: Step = (state, ())
    for flight in state.flights:
        result = _chain(result, _finish(result[0], flight, outcome, at_s, event.problem))
    return result


def _settle_before(state: State, count: int, at_s: float) -> Step:
    """End the oldest flights: a newer one has an outcome. One whose feedback was on the screen was not in vain."""
    result: Step = (state, ())
    for flight in state.flights[:count]:
        if flight.shown_s is not None:
            result = _chain(result, _probes_finished(result[0], flight, at_s))
        else:
            result = _chain(result, _finish(result[0], flight, "superseded", at_s))
    return result


def _finish(
    state: State, flight: Flight, outcome: Outcome, end_s: float, problem: events.Problem | None = None
) -> Step:
    state = replace(state, flights=tuple(f for f in state.flights if f.number != flight.number))
    if outcome == "ok":
        is_resumed = flight.marks.started_s is None
        state = replace(state, tests=tests_on_save.iteration_ended(state.tests, flight.number, is_resumed=is_resumed))
    iteration = _iteration(flight, outcome, max(end_s, flight.marks.saved_s), problem)
    reason = why.of_iteration(iteration)
    is_usual = reason.code != "resumed"
    expected_s = expected.feedback_s(state.past, iteration.cause) if is_usual else None
    iteration = replace(
        iteration, expected_s=expected_s, why_code=reason.code, why=reason.text, fix=why.fix(reason.code)
    )
    if outcome == "ok" and is_usual:
        state = replace(state, past=expected.learned(state.past, iteration.cause, iteration.feedback_s))
    return state, (Emit(events.IterationFinished(end_s, iteration)),)


def _iteration(flight: Flight, outcome: Outcome, end_s: float, problem: events.Problem | None) -> events.Iteration:
    marks, ready = flight.marks, flight.ready
    return events.Iteration(
        number=flight.number,
        outcome=outcome,
        saved_at_s=flight.saved.wall_s,
        is_save_estimated=flight.saved.is_estimated,
        revision=flight.revision or 0,
        generation=ready.generation if ready is not None else None,
        paths=flight.paths,
        size_bytes=flight.size_bytes,
        feedback_s=end_s - marks.saved_s,
        ready_s=marks.ready_s - marks.saved_s if marks.ready_s is not None else None,
        phases_s=timeline.cut(marks, end_s),
        start=flight.start,
        models=ready.models if ready is not None else (),
        probes=flight.reports,
        problem=problem,
        cause=_cause(flight),
        asked=flight.asked,
        imports=ready.imports if ready is not None else (),
        import_bytes=ready.import_bytes if ready is not None else 0,
    )


def _cause(flight: Flight) -> Cause:
    if flight.number == 0 or flight.is_cold:
        return "cold"
    if flight.marks.environment_s is not None:
        return "environment"
    is_loaded = flight.ready is not None and any(model.action == "loaded" for model in flight.ready.models)
    return "model" if is_loaded else "code"


def _of_revision(state: State, revision: int) -> Flight | None:
    return next((flight for flight in state.flights if flight.revision == revision), None)


def _of_generation(state: State, event: events.ProbeFinished | events.ProbesFinished) -> Flight | None:
    """The flight whose generation it is, not one that has yet to run the same revision again."""
    flight = _of_revision(state, event.revision)
    return flight if flight is not None and event.generation > flight.after else None


def _with(state: State, flight: Flight) -> State:
    return replace(state, flights=tuple(flight if f.number == flight.number else f for f in state.flights))
