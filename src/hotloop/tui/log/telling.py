"""What an event comes to in the log: no line, one, or some. Pure, but for what later lines depend on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotloop import events
from hotloop.devloop import wording, words
from hotloop.tui.log.buffer import Level, Record, clean
from hotloop.tui.log.levels import Levels

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hotloop.clock import ClockPair

Line = tuple[Level, str, str]  # level, source, text
MAX_CHANGES = 6
MAX_FAILED_TESTS = 20
_REPEATED_NOTICES = frozenset({"asked", "pin", "packages"})  # answers to what the user did, not findings
_OUTCOMES = {"ok": "✓", "failed": "✗", "superseded": "·"}


class Teller:
    """Turns each event of one session, in order, into lines."""

    def __init__(self) -> None:
        """Prepare for the first event."""
        self._levels = Levels()
        self.iteration = 0  # the newest one that began
        self._generation: int | None = None
        self._phase = ""
        self._said: set[tuple[str, str]] = set()

    def records_of(self, event: events.Event, now: ClockPair) -> list[Record]:
        """Say what an event is about.

        Args:
            event: Its times are those of this machine's monotonic clock.
            now: Both clocks, read together, to say at what time of day it was.
        """
        at_s = now.wall_s - (now.monotonic_s - event.at_s)
        if isinstance(event, events.Log):
            text = clean(event.text)
            level = self._levels.of(event.generation, event.stream, text)
            return [Record(at_s, level, event.source or "app", event.generation, self.iteration, text)]
        if isinstance(event, events.IterationStarted):
            self.iteration = event.number
        generation = event.generation if isinstance(event, events.RequestFinished) else 0
        return [
            Record(at_s, level, source, generation, self.iteration, clean(text))
            for level, source, text in self._lines(event)
        ]

    def _lines(self, event: events.Event) -> Iterable[Line]:  # noqa: C901, PLR0912, PLR0915  one line a case
        match event:
            case events.SessionStarted():
                yield "I", "loop", f"{event.app}  {wording.session(event)}"
            case events.RuntimeStarted():
                yield "I", "runner", f"serving {event.address}"
                if event.grpc_address:
                    yield "I", "runner", f"serving gRPC {event.grpc_address}"
            case events.IterationStarted():
                yield "I", "sync", f"#{event.number} {'' if event.asked else 'saved '}{wording.began(event)}"
            case events.ReloadStarted():
                yield "D", "runner", f"reload of revision {event.revision} from {event.start}"
            case events.ModelLoading():
                yield "I", "runner", f"loading {event.model}  {event.why}"
            case events.Ready():
                self._generation = event.generation
                yield "I", "runner", f"generation {event.generation} serves"
                yield from map(_model, event.models)
            case events.WorkersServing():
                yield "I", "runner", f"{event.count} of {event.wanted} workers serve generation {event.generation}"
            case events.StandbyReady():
                yield "D", "runner", "the next worker waits"
            case events.ReloadFailed():
                yield from _problem("loop", event.problem)
                yield "W", "loop", wording.still_serving(event)
            case events.ReloadSuperseded():
                yield "D", "runner", f"revision {event.revision} superseded by {event.by}"
            case events.ProbeReported():
                yield from _probe(event.report)
            case events.EnvironmentProgress():
                yield from self._progress(event)
            case events.EnvironmentReady():
                self._phase = ""
                yield from _environment(event)
            case events.EnvironmentFailed():
                self._phase = ""
                yield from _problem("runner", event.problem)
                yield "W", "runner", wording.environment_serving(event, self._generation)
            case events.IterationFinished():
                yield _separator(event.iteration)
            case events.RequestFinished() | events.RequestsFinished():
                yield _requests(event)
            case events.ProcessDied():
                yield "E", "runner", wording.died(event)
                yield from _hint("runner", event.hint)
            case events.Notice():
                yield from self._notice(event)
            case events.Held(reason=""):
                yield "I", "loop", wording.HELD_NO_LONGER
            case events.Held():
                yield "W", "loop", f"waiting: {event.reason}"
                yield from _hint("loop", event.hint.replace("y and Enter here", "Y here"))  # a key, not a line
            case events.Offline():
                yield "W", "loop", wording.offline(event)
                if event.reason:
                    yield "W", "loop", event.reason
            case events.Online():
                yield "I", "loop", f"online again after {words.duration(event.offline_s)}"
            case events.SessionResumed():
                yield "I", "loop", f"resumed: {wording.resumed(event)}"
                if missed := wording.missed(event.missed):
                    yield "I", "loop", f"meanwhile {missed}"
            case events.SessionTimedOut():
                yield "W", "loop", wording.timed_out(event)
            case events.EventsDropped():
                yield "W", "loop", wording.dropped(event)
            case events.Pinned():
                yield "I", "probe", f"{'pinned' if event.is_pinned else 'unpinned'} {event.name}"
            case events.RuntimeStopped(problem=events.Problem() as problem):
                yield from _problem("runner", problem)
            case events.SessionEnded() if event.reason:
                yield "I", "loop", event.reason
            case events.SyncPaused():
                yield "W", "sync", wording.paused(event)
            case events.SyncResumed():
                yield "I", "sync", "saves are sent again"
            case events.EditUndone():
                yield "W", "sync", f"#{event.number} undoes #{event.undone} on the runner: {words.paths(event.paths)}"
            case events.BenchFinished():
                yield _bench(event)
            case events.BenchFailed():
                yield "E", "loop", f"bench of {event.endpoint} failed: {event.problem.message}"
                yield from _hint("loop", event.problem.hint)
            case events.TestsStarted():
                yield "D", "tests", f"#{event.number} {event.command}"
            case events.TestsFinished():
                yield from _tests(event)
            case _:
                pass

    def _progress(self, event: events.EnvironmentProgress) -> Iterator[Line]:
        """A line a phase, as in the plain lines; the panel shows how far it is."""
        phase = f"{event.phase} {event.revision}"
        if phase == self._phase or event.phase in {"python", "install"}:
            return
        self._phase = phase
        doing = f": {words.paths(event.doing)}" if event.doing else f"  {event.source}"
        yield "I", "runner", f"environment: {wording.environment_progress(event)}{doing}"

    def _notice(self, event: events.Notice) -> Iterator[Line]:
        if (event.key, event.text) in self._said and event.key not in _REPEATED_NOTICES:
            return
        self._said.add((event.key, event.text))
        yield ("I" if event.key in _REPEATED_NOTICES else "W"), "loop", event.text
        yield from _hint("loop", event.hint)


def _separator(iteration: events.Iteration) -> Line:
    name = f"#{iteration.number}" if iteration.number else "started"
    if iteration.why_code == "resumed":
        return "-", "loop", f"resumed {_OUTCOMES[iteration.outcome]} {words.duration(iteration.feedback_s)}"
    said = f"{name} {_OUTCOMES[iteration.outcome]} {words.duration(iteration.feedback_s)}  {iteration.cause}"
    return "-", "loop", f"{said}  {words.paths(iteration.paths)}".rstrip()


def _problem(source: str, problem: events.Problem) -> Iterator[Line]:
    first, *rest = problem.message.splitlines() or [""]
    place = f"  {problem.where.file}:{problem.where.line} in {problem.where.function}" if problem.where else ""
    yield "E", source, (f"{problem.type}: {first}" if first else problem.type) + place
    for line in rest:
        yield "E", source, f"  {line}"
    yield from _hint(source, problem.hint)


def _hint(source: str, hint: str) -> Iterator[Line]:
    if hint:
        yield "I", source, f"  hint: {hint}"


def _model(model: events.ModelOutcome) -> Line:
    took = "" if model.action == "kept" else f"  {words.duration(model.took_s)}"
    level: Level = "E" if model.action == "failed" else "I"
    return level, "runner", f"{model.action} {model.name}{wording.model_size(model)}{took}  {model.why}"


def _probe(report: events.ProbeReport) -> Iterator[Line]:
    before = f" (was {words.duration(report.previous_took_s)})" if report.previous_took_s is not None else ""
    took = f"{words.duration(report.took_s)}{before}"
    if not report.is_ok:
        yield "E", "probe", f"{report.name} failed  {took}"
        if report.problem is not None:
            yield from _problem("probe", report.problem)
        return
    state = "" if report.previous_took_s is None else "  changed" if report.is_changed else "  same"
    yield "I", "probe", f"{report.name}{state}  {took}"


def _requests(event: events.RequestFinished | events.RequestsFinished) -> Line:
    worst = wording.worst_status(event)
    level: Level = "E" if worst >= 500 else "W" if worst >= 400 else "I"
    return level, "http", wording.request(event) if event.kind == "request_finished" else wording.requests(event)


def _environment(event: events.EnvironmentReady) -> Iterator[Line]:
    yield "I", "runner", f"environment: {wording.environment_ready(event)}  {wording.made(event)}"
    for change in event.changes[:MAX_CHANGES]:
        yield "I", "runner", f"  {change}"
    if (rest := len(event.changes) - MAX_CHANGES) > 0:
        yield "I", "runner", f"  and {rest} more"
    if event.overruled:
        yield "W", "runner", f"{event.overruled} is not read: {event.source} comes first"


def _bench(event: events.BenchFinished) -> Line:
    errors = "".join(f", {count:,} {what}" for what, count in event.errors.items())
    figures = f"{words.rate(event.requests_per_s)}  p99 {words.duration(event.p99_s)}"
    return ("E" if errors else "I"), "loop", f"bench {event.endpoint}  {figures}{errors}"


def _tests(event: events.TestsFinished) -> Iterator[Line]:
    counts = [
        f"{number} {what}" for number, what in ((event.num_failed, "failed"), (event.num_passed, "passed")) if number
    ]
    said = f"#{event.number} {', '.join(counts) or event.outcome} in {words.duration(event.took_s)}"
    yield ("E" if event.outcome in {"failed", "broken"} else "I"), "tests", said
    for test in event.failed[:MAX_FAILED_TESTS]:
        place = f"  {test.file}:{test.line}" if test.file and test.line else ""
        error = f"  {test.error_type}: {test.message}".rstrip(": ") if test.error_type or test.message else ""
        yield "E", "tests", f"  {test.name}{place}{error}"
    if (rest := len(event.failed) - MAX_FAILED_TESTS) > 0:
        yield "E", "tests", f"  and {rest} more"
