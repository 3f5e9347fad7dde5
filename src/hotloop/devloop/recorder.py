"""What of a session's events goes into the history. Knows the tables, not the disk's failures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotloop import events
from hotloop.devloop.history import MINUTE_S, Bench, ClockReading
from hotloop.devloop.metrics import RESUMED, Build, Cost, LinkLoss, Session, TestRun

if TYPE_CHECKING:
    from hotloop.devloop.history import History

MIN_DRIFT_S = 0.005  # less is noise of round trips


class Recorder:
    """One session's part of the history. Methods raise what `History`'s do; wall times are seconds since 1970."""

    def __init__(self, history: History, session: Session) -> None:
        self._history = history
        self._session = session
        self._said_minutes: dict[str, int] = {}
        self._reached: set[str] = set()
        self._building: dict[int, float] = {}  # since when, by revision
        self._offset_s: float | None = None
        self._away_since_s: float | None = None
        self._start = ""
        self._how = "ended"
        history.begin(session)
        for milestone in ("began", "served"):
            history.reach(milestone, session.began_at_s)

    def touched(self, now_s: float, what: str) -> None:
        """Note that the user did something; once a minute is enough."""
        minute = int(now_s // MINUTE_S)
        if self._said_minutes.get(what) != minute:
            self._said_minutes[what] = minute
            self._history.add_moment(now_s, what)

    def heard(self, event: events.Event, now_s: float, offset_s: float, error_s: float) -> None:
        """Keep what is to be kept of an event.

        Args:
            event: What was said.
            now_s: When.
            offset_s: The runner's monotonic clock minus this machine's.
            error_s: How far that may be off.
        """
        match event:
            case events.RequestFinished():
                self.touched(now_s, "request")
            case events.IterationFinished():
                self._iteration(event.iteration, offset_s, error_s)
            case events.TestsFinished():
                self._history.add_test_run(_test_run(self._session.id, event, now_s))
            case events.BenchFinished():
                self._history.add_bench(_bench(self._session.id, event, now_s))
            case events.EnvironmentProgress() | events.EnvironmentReady() | events.EnvironmentFailed():
                self._environment(event, now_s)
            case events.Offline() | events.Online():
                self._link(event, now_s)
            case events.CostReported():
                self._history.keep_cost(_cost(self._session.id, event, now_s))
            case _:
                self._came_to(event, now_s)

    def end(self, now_s: float) -> None:
        """Note how the session ended."""
        if self._away_since_s is not None:
            self._lost(self._away_since_s, now_s)
        self._history.end(self._session.id, now_s, self._how)

    def _iteration(self, iteration: events.Iteration, offset_s: float, error_s: float) -> None:
        drift_s = offset_s - self._offset_s if self._offset_s is not None else 0.0
        self._offset_s = offset_s
        clock = ClockReading(
            offset_s, error_s if error_s != float("inf") else 0.0, drift_s if abs(drift_s) > MIN_DRIFT_S else 0.0
        )
        self._history.add(self._session.id, iteration, clock, start=self._start if not iteration.number else "")
        if iteration.outcome == "ok":
            self._reach("result", iteration.saved_at_s + iteration.feedback_s)

    def _came_to(self, event: events.Event, now_s: float) -> None:
        match event:
            case events.SessionStarted():
                self._reach("connected", now_s)
            case events.SessionResumed():
                self._start = RESUMED
            case events.Ready():
                self._reach("ready", now_s)
            case events.RuntimeStopped(problem=events.Problem()):
                self._how = "failed"
            case events.SessionEnded(is_left_running=True):
                self._how = "left"
            case _:
                pass

    def _reach(self, milestone: str, at_s: float) -> None:
        if milestone not in self._reached:
            self._reached.add(milestone)
            self._history.reach(milestone, at_s)

    def _environment(
        self, event: events.EnvironmentProgress | events.EnvironmentReady | events.EnvironmentFailed, now_s: float
    ) -> None:
        if isinstance(event, events.EnvironmentProgress):
            self._building.setdefault(event.revision, now_s)
            return
        since_s = self._building.pop(event.revision, now_s)
        is_ok = isinstance(event, events.EnvironmentReady)
        build = Build(
            self._session.id,
            now_s,
            event.took_s if is_ok else now_s - since_s,
            is_ok=is_ok,
            was_cached=is_ok and event.was_cached,
            num_packages=event.num_packages if is_ok else 0,
        )
        self._history.add_build(build)
        if is_ok:
            self._reach("environment", now_s)

    def _link(self, event: events.Offline | events.Online, now_s: float) -> None:
        if isinstance(event, events.Offline):
            self._away_since_s = self._away_since_s if self._away_since_s is not None else now_s
            return
        self._lost(now_s - event.offline_s, now_s)
        self._away_since_s = None

    def _lost(self, since_s: float, until_s: float) -> None:
        self._history.add_loss(LinkLoss(self._session.id, since_s, until_s - since_s))


def _cost(session: str, event: events.CostReported, now_s: float) -> Cost:
    return Cost(session, now_s, event.source, event.session, event.idle, event.per_1k_requests, event.per_1m_items)


def _test_run(session: str, event: events.TestsFinished, now_s: float) -> TestRun:
    return TestRun(
        session=session,
        number=event.number,
        ended_at_s=now_s,
        outcome=event.outcome,
        took_s=event.took_s,
        num_passed=event.num_passed,
        num_failed=event.num_failed,
        places=tuple((test.file, test.line, test.error_type) for test in event.failed),
    )


def _bench(session: str, event: events.BenchFinished, now_s: float) -> Bench:
    return Bench(
        session=session,
        generation=event.generation,
        endpoint=event.endpoint,
        ended_at_s=now_s,
        num_requests=event.requests,
        num_errors=sum(event.errors.values()),
        requests_per_s=event.requests_per_s,
        p50_s=event.p50_s,
        p99_s=event.p99_s,
    )
