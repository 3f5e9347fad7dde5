"""Events that the loop makes, on the laptop."""

from __future__ import annotations

from typing import Literal

from hotloop.events.records import Change, FailedTest, Iteration, ModelOutcome, ProbeReport, Problem
from hotloop.frozen import frozen


@frozen
class SessionStarted:
    """The client holds the app on the runner, and the workspace equals the project."""

    at_s: float
    app: str
    project: str
    runner: str
    python: str
    num_files: int
    kind: Literal["session_started"] = "session_started"


@frozen
class Held:
    """Why the loop waits: a checkout in progress, most of the tree deleted, a lost connection.

    Attributes:
        reason: Empty when it waits no longer and there is nothing to send: the files are as they were.
    """

    at_s: float
    reason: str
    hint: str = ""
    kind: Literal["held"] = "held"


@frozen
class IterationStarted:
    """A save was seen and sent.

    Attributes:
        saved_s: When it was saved, on the clock of `at_s`; 0 if that is not known.
        paths: What changed; none of a reload that was asked for.
        asked: What the user asked for, if no save began it.
    """

    at_s: float
    number: int
    paths: tuple[str, ...]
    saved_s: float = 0.0
    asked: Literal["", "reload", "restart", "undo"] = ""
    kind: Literal["iteration_started"] = "iteration_started"


@frozen
class ProbeReported:
    """A probe's result, compared with the previous generation's: what feedback is.

    Attributes:
        number: The iteration that caused it, the newest one if none did (a crash, a pin).
    """

    at_s: float
    number: int
    generation: int
    report: ProbeReport
    kind: Literal["probe_reported"] = "probe_reported"


@frozen
class IterationFinished:
    """The whole record of an iteration; also a row of the history."""

    at_s: float
    iteration: Iteration
    kind: Literal["iteration_finished"] = "iteration_finished"


@frozen
class BenchFinished:
    """What a short load came to that `dev serve --bench` sent at an endpoint after a reload.

    Attributes:
        endpoint: Its path.
        connections: Clients that each sent their next request when they had an answer.
        duration_s: How long answers were counted.
        requests: Those that were sent in that time.
        requests_per_s: Answers that were a success.
        p50_s: Of how long those took.
        errors: How many requests failed, by why.
        repeat: How often the generation was benched before: the first one is again and again, to learn what is noise.
        previous: The generation that it is compared with, None for the first.
        throughput: How `requests_per_s` changed; None if there is nothing to compare or too few requests were answered.
        latency: How `p99_s` changed; None likewise.
        throughput_noise_ratio: How far benches of the same code differ: 0.1 is 10 %; None while it is not known.
        latency_noise_ratio: The same of `p99_s`.
    """

    at_s: float
    generation: int
    endpoint: str
    connections: int
    duration_s: float
    requests: int
    requests_per_s: float
    p50_s: float
    p99_s: float
    errors: dict[str, int]
    repeat: int
    previous: int | None
    throughput: Change | None
    latency: Change | None
    throughput_noise_ratio: float | None
    latency_noise_ratio: float | None
    kind: Literal["bench_finished"] = "bench_finished"


@frozen
class BenchFailed:
    """`dev serve --bench` could not send load at its endpoint: it is not there, it refuses the request, it fails."""

    at_s: float
    generation: int
    endpoint: str
    problem: Problem
    kind: Literal["bench_failed"] = "bench_failed"


@frozen
class Offline:
    """The runner does not answer; it is being tried again, for as long as it takes. Told again for each save meanwhile.

    Attributes:
        queued: Saves that wait. They are applied in order once it answers; of a file saved twice the latest content.
        reason: Why the last attempt failed, where that is known.
    """

    at_s: float
    queued: int
    reason: str = ""
    kind: Literal["offline"] = "offline"


@frozen
class Online:
    """The runner answers again, and nothing was lost.

    Attributes:
        offline_s: For how long it did not.
    """

    at_s: float
    offline_s: float
    kind: Literal["online"] = "online"


@frozen
class SessionResumed:
    """The app was left running without a client; this one goes on with it, and no model is loaded again.

    Attributes:
        generation: What serves; 0 if nothing does yet.
        models: What is in memory.
        missed: How many events by kind nobody was shown, such as ``{"request_finished": 12, "log": 3}``.
    """

    at_s: float
    revision: int
    generation: int
    models: tuple[ModelOutcome, ...]
    missed: dict[str, int]
    kind: Literal["session_resumed"] = "session_resumed"


@frozen
class SessionTimedOut:
    """The runner ended a session that had no client for too long; its models were freed.

    Attributes:
        ended_at_s: Seconds since 1970, on the runner's clock.
        idle_s: How long it had none.
    """

    at_s: float
    ended_at_s: float
    idle_s: float
    kind: Literal["session_timed_out"] = "session_timed_out"


@frozen
class EventsDropped:
    """Whoever reads this stream did not for too long: so many events before this one were not written.

    Attributes:
        count: How many.
    """

    at_s: float
    count: int
    kind: Literal["events_dropped"] = "events_dropped"


@frozen
class SessionEnded:
    """This client's part is over. Nothing of the session runs any more, unless it was left running.

    Attributes:
        is_left_running: The app serves on without a client, until its idle time-out.
    """

    at_s: float
    reason: str
    is_left_running: bool = False
    kind: Literal["session_ended"] = "session_ended"


@frozen
class SyncPaused:
    """Saves are kept back, as the user asked. Told again for each save meanwhile.

    Attributes:
        queued: Saves that wait.
    """

    at_s: float
    queued: int
    kind: Literal["sync_paused"] = "sync_paused"


@frozen
class SyncResumed:
    """Saves are sent again; those that waited go as one."""

    at_s: float
    kind: Literal["sync_resumed"] = "sync_resumed"


@frozen
class EditUndone:
    """The runner serves the files as they were before an iteration; those here are as they are.

    Attributes:
        number: The iteration that does it.
        undone: The iteration whose edit was taken back there.
    """

    at_s: float
    number: int
    undone: int
    paths: tuple[str, ...]
    kind: Literal["edit_undone"] = "edit_undone"


@frozen
class TestsStarted:
    """The tests of `--test` begin to run on the runner."""

    at_s: float
    number: int
    command: str
    kind: Literal["tests_started"] = "tests_started"


@frozen
class TestsFinished:
    """How the tests of an iteration ended.

    Attributes:
        outcome: ``ok``, ``failed``, ``broken`` (they could not run), ``superseded`` (a newer save came first).
        exit_code: The command's; None if it did not end by itself.
        num_passed: None if the command does not say.
        failed: Those that failed, as far as the command says.
    """

    at_s: float
    number: int
    command: str
    outcome: Literal["ok", "failed", "broken", "superseded"]
    took_s: float
    exit_code: int | None = None
    num_passed: int | None = None
    num_failed: int | None = None
    failed: tuple[FailedTest, ...] = ()
    kind: Literal["tests_finished"] = "tests_finished"


@frozen
class CostReported:
    """What the runner costs, in US dollars. Told when a figure changes by a cent, and at least each minute.

    Attributes:
        per_hour: Its price.
        source: Where that is from, such as ``table of 2026-11``, ``pyproject.toml``.
        session: Since the session began.
        idle: Of that, while there was neither a request nor an iteration for 60 s.
        per_1k_requests: Of the last 5 minutes; None below 20 requests.
        per_1m_items: Of what endpoints streamed in the last 5 minutes (tokens of a language model); None below 1,000.
        budget: What the session may cost; None if nothing was said.
    """

    at_s: float
    per_hour: float
    source: str
    session: float
    idle: float
    per_1k_requests: float | None = None
    per_1m_items: float | None = None
    budget: float | None = None
    kind: Literal["cost_reported"] = "cost_reported"


@frozen
class LinkMeasured:
    """How far away the runner is; told when it changes by more than noise. Not told of this machine.

    Attributes:
        round_trip_s: Median of the last heartbeats.
        offset_s: How far its clock is ahead of this one's, as far as that is known.
        error_s: How far that may be off: half of the quickest round trip.
        drift_ratio: How much faster its clock runs: 20e-6 is 1.7 s a day; None until it is known.
    """

    at_s: float
    round_trip_s: float
    offset_s: float = 0.0
    error_s: float = 0.0
    drift_ratio: float | None = None
    kind: Literal["link_measured"] = "link_measured"
