"""The typed stream of facts that every renderer reads: what happened, never what to show.

Events are made by the runtime (on the runner), by the agent and by the loop (on the laptop). All are values that
survive JSON: `to_json` and `from_json` are inverses. Times called ``at_s`` are seconds of CLOCK_MONOTONIC on the
machine that made the event.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

if TYPE_CHECKING:
    from collections.abc import Callable

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Frame:
    """One line of a traceback, in the project's own paths.

    Attributes:
        file: Relative to the project for the user's files, else absolute.
        line: Counted from 1.
        function: The function's qualified name.
        source: The line's text, without its line break; empty if it can't be read.
        column: First marked column, counted from 0; -1 if unknown.
        end_column: One past the last marked column.
        is_project: Whether the file belongs to the project.
    """

    file: str
    line: int
    function: str
    source: str = ""
    column: int = -1
    end_column: int = -1
    is_project: bool = False


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong in the user's app, with the place to look.

    Attributes:
        type: The exception's class name, such as ``NameError``.
        message: The exception's text.
        frames: Outermost first. Frames of libraries below the last project frame are kept, those between are not.
        hidden_frames: How many frames were left out.
        hint: What to type or change next, or an empty string.
    """

    type: str
    message: str
    frames: tuple[Frame, ...] = ()
    hidden_frames: int = 0
    hint: str = ""

    @property
    def where(self) -> Frame | None:
        """The innermost frame of the project, which is where the user looks first."""
        return next((frame for frame in reversed(self.frames) if frame.is_project), None)


@dataclass(frozen=True, slots=True)
class ModelOutcome:
    """What a reload did with one model, and why.

    Attributes:
        name: The loader's name.
        action: ``kept`` (same fingerprint), ``loaded`` (its loader ran), ``failed``.
        home: ``resident`` (in the vault), ``hosted`` (in a process of its own), ``worker`` (neither: the loader
            runs again in every generation; `why` says the reason).
        why: One line: ``load.py:14 changed``, ``first load``, ``fingerprint equal``.
        took_s: How long attaching or loading took, seconds.
        size_bytes: Bytes of its tensors and arrays; 0 if unknown.
    """

    name: str
    action: Literal["kept", "loaded", "failed"]
    home: Literal["resident", "hosted", "worker"]
    why: str
    took_s: float
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class EndpointShape:
    """What an endpoint is called and takes, for people and for clients."""

    name: str
    path: str
    methods: tuple[str, ...]
    parameters: tuple[tuple[str, str], ...]
    returns: str
    is_batched: bool
    is_stream: bool


# --- from the runtime -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RuntimeStarted:
    """The runtime listens.

    Attributes:
        address: A URL such as ``http://127.0.0.1:8000``.
        python: The app's interpreter.
        grpc_address: What a gRPC client connects to, such as ``127.0.0.1:9000``; empty if gRPC is not served.
    """

    at_s: float
    address: str
    pid: int
    python: str
    grpc_address: str = ""
    kind: Literal["runtime_started"] = "runtime_started"


@dataclass(frozen=True, slots=True)
class ReloadStarted:
    """A worker was told to run a revision. ``start`` says from what: a ready standby, a fork made now, a new zygote."""

    at_s: float
    revision: int
    start: Literal["standby", "fork", "zygote"]
    kind: Literal["reload_started"] = "reload_started"


@dataclass(frozen=True, slots=True)
class ModelLoading:
    """A loader starts to run in the new worker."""

    at_s: float
    revision: int
    model: str
    why: str
    kind: Literal["model_loading"] = "model_loading"


@dataclass(frozen=True, slots=True)
class Ready:
    """A new generation takes the requests from now on.

    Attributes:
        imported_at_s: When the project's modules were imported in the new worker.
        start: As in `ReloadStarted`.
        workers: How many are to serve it; the first one does.
    """

    at_s: float
    revision: int
    generation: int
    imported_at_s: float
    start: Literal["standby", "fork", "zygote"]
    models: tuple[ModelOutcome, ...]
    endpoints: tuple[EndpointShape, ...]
    probes: tuple[str, ...]
    workers: int = 1
    kind: Literal["ready"] = "ready"


@dataclass(frozen=True, slots=True)
class ReloadFailed:
    """The revision did not become ready. ``serving`` is the generation that still serves, None if there is none."""

    at_s: float
    revision: int
    problem: Problem
    serving: int | None
    kind: Literal["reload_failed"] = "reload_failed"


@dataclass(frozen=True, slots=True)
class ReloadSuperseded:
    """A newer revision arrived before this one was ready."""

    at_s: float
    revision: int
    by: int
    kind: Literal["reload_superseded"] = "reload_superseded"


@dataclass(frozen=True, slots=True)
class ProbeFinished:
    """One probe ran against a generation.

    Attributes:
        source: ``function`` for ``@app.probe``, ``request`` for a pinned request.
        output: What it gave, as text: JSON with sorted keys where it can be, else ``repr``.
        compute_s: Time the endpoints themselves took within ``took_s``.
    """

    at_s: float
    revision: int
    generation: int
    name: str
    source: Literal["function", "request"]
    is_ok: bool
    output: str
    took_s: float
    compute_s: float
    problem: Problem | None = None
    kind: Literal["probe_finished"] = "probe_finished"


@dataclass(frozen=True, slots=True)
class ProbesFinished:
    """All probes of a generation ran; the next standby is being made."""

    at_s: float
    revision: int
    generation: int
    count: int
    kind: Literal["probes_finished"] = "probes_finished"


@dataclass(frozen=True, slots=True)
class WorkersServing:
    """Another number of workers serves a generation: one joined, or died. Not told of apps that want only one.

    Attributes:
        count: How many serve.
        wanted: How many should.
        is_growing: Whether more are to join; those that could not are not tried again before the next save.
    """

    at_s: float
    generation: int
    count: int
    wanted: int
    is_growing: bool = False
    kind: Literal["workers_serving"] = "workers_serving"


@dataclass(frozen=True, slots=True)
class StandbyReady:
    """The next save will be fast: a worker waits with the models attached."""

    at_s: float
    kind: Literal["standby_ready"] = "standby_ready"


@dataclass(frozen=True, slots=True)
class Log:
    """One line that a worker (or a hosted model, or the zygote: generation 0) wrote."""

    at_s: float
    generation: int
    stream: Literal["stdout", "stderr"]
    text: str
    kind: Literal["log"] = "log"


@dataclass(frozen=True, slots=True)
class RequestFinished:
    """A request was answered by a generation (0: by the runtime itself, such as 404)."""

    at_s: float
    generation: int
    method: str
    path: str
    status: int
    took_s: float
    kind: Literal["request_finished"] = "request_finished"


@dataclass(frozen=True, slots=True)
class RequestsFinished:
    """Many requests were answered: those of an interval that are not told of one by one.

    Attributes:
        at_s: The interval's end.
        interval_s: Its length.
        count: How many requests this tells of, beside those that have a `request_finished` of their own.
        statuses: How many of them by status, such as ``{"200": 412, "429": 3}``.
        p50_s: Half of them took no longer, from arrival to answer, within 2 %.
        p99_s: All but one in a hundred took no longer.
        max_s: The longest took so long.
    """

    at_s: float
    interval_s: float
    count: int
    statuses: dict[str, int]
    p50_s: float
    p99_s: float
    max_s: float
    kind: Literal["requests_finished"] = "requests_finished"


@dataclass(frozen=True, slots=True)
class ProcessDied:
    """A process died that should not have.

    Attributes:
        role: ``active``, ``standby``, ``zygote``, ``hosted``, ``runtime``.
        name: The model's name for a hosted one, else empty.
        cause: Such as ``SIGKILL`` or ``exit 3``.
        lost_requests: How many requests failed because they may have run already.
    """

    at_s: float
    role: Literal["active", "standby", "zygote", "hosted", "runtime"]
    name: str
    cause: str
    lost_requests: int = 0
    kind: Literal["process_died"] = "process_died"


@dataclass(frozen=True, slots=True)
class Notice:
    """A non-fatal finding, said once per ``key``: a model that can't stay resident, a module left out of the zygote."""

    at_s: float
    key: str
    text: str
    hint: str = ""
    kind: Literal["notice"] = "notice"


@dataclass(frozen=True, slots=True)
class Pinned:
    """A request became a probe (or ceased to be: ``is_pinned`` False)."""

    at_s: float
    name: str
    is_pinned: bool
    kind: Literal["pinned"] = "pinned"


@dataclass(frozen=True, slots=True)
class RuntimeStopped:
    """The runtime ended; nothing listens any more. ``problem`` is None for a stop that was asked for."""

    at_s: float
    problem: Problem | None = None
    kind: Literal["runtime_stopped"] = "runtime_stopped"


# --- from the agent, about the app's environment ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EnvironmentProgress:
    """The environment that a revision asks for is being made; the old one, if there is one, goes on serving.

    Attributes:
        source: What asks for it: ``requirements.txt``, ``packages=[...] of app.py``.
        phase: ``wait`` (another process makes the same), ``python`` (finding an interpreter), ``resolve``, ``download``,
            ``build`` (a source distribution), ``install``.
        done: Packages of this phase that are done.
        total: Packages of this phase, as far as they are known: small downloads are not counted.
        size_bytes: Of the downloads that are counted.
        doing: The packages that are being downloaded or built.
    """

    at_s: float
    revision: int
    source: str
    phase: Literal["wait", "python", "resolve", "download", "build", "install"]
    done: int = 0
    total: int = 0
    size_bytes: int = 0
    doing: tuple[str, ...] = ()
    kind: Literal["environment_progress"] = "environment_progress"


@dataclass(frozen=True, slots=True)
class EnvironmentReady:
    """The environment that a revision asks for is there. If another one served, a reload into this one follows.

    Attributes:
        digest: Names it by what it is made of.
        python: Its interpreter on the runner.
        version: The interpreter's.
        was_cached: It was made before, for this app or for another.
        changes: What differs from the one before: ``+ numpy 2.1.3``, ``- tqdm 4.0``, ``torch 2.5 → 2.6``.
        overruled: What was not read because `source` comes first; empty if nothing was.
    """

    at_s: float
    revision: int
    source: str
    digest: str
    python: str
    version: str
    took_s: float
    num_packages: int
    was_cached: bool
    changes: tuple[str, ...] = ()
    overruled: str = ""
    kind: Literal["environment_ready"] = "environment_ready"


@dataclass(frozen=True, slots=True)
class EnvironmentFailed:
    """The environment that a revision asks for can't be made. What served goes on serving.

    Attributes:
        source: What asks for it; empty if that can't be read.
        serving: The digest of the environment that goes on serving; empty if there is none.
        serving_source: What that one was made for.
    """

    at_s: float
    revision: int
    source: str
    problem: Problem
    serving: str = ""
    serving_source: str = ""
    kind: Literal["environment_failed"] = "environment_failed"


# --- from the loop ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SessionStarted:
    """The client holds the app on the runner, and the workspace equals the project."""

    at_s: float
    app: str
    project: str
    runner: str
    python: str
    num_files: int
    kind: Literal["session_started"] = "session_started"


@dataclass(frozen=True, slots=True)
class Held:
    """Why the loop waits: a checkout in progress, most of the tree deleted, a lost connection."""

    at_s: float
    reason: str
    hint: str = ""
    kind: Literal["held"] = "held"


@dataclass(frozen=True, slots=True)
class IterationStarted:
    """A save was seen and sent."""

    at_s: float
    number: int
    paths: tuple[str, ...]
    kind: Literal["iteration_started"] = "iteration_started"


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """A probe's result beside the previous generation's.

    Attributes:
        diff: Lines that begin with ``-``, ``+`` or a space; empty if the output did not change or has no predecessor.
        previous_took_s: None the first time.
    """

    name: str
    is_ok: bool
    is_changed: bool
    output: str
    diff: tuple[str, ...]
    took_s: float
    compute_s: float
    previous_took_s: float | None
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class Iteration:
    """One trip from save to feedback. The phases are contiguous: they sum to the time to feedback (or to error).

    Attributes:
        number: Counts from 1 in a session; 0 is the session's first start, which no save caused.
        outcome: ``ok``, ``failed`` or ``superseded``.
        saved_at_s: Seconds since 1970, the newest write among the files.
        feedback_s: Save to first probe result on the screen; to `ready` if the app has no probe; to the error if
            failed.
        ready_s: Save to new code ready; None if it never was.
        phases_s: Seconds by name, in order: detect, sync, apply, reload, warmup, first_output.
        cause: ``environment`` if it waited for another environment: its time says nothing about edits of code.
    """

    number: int
    outcome: Literal["ok", "failed", "superseded"]
    saved_at_s: float
    is_save_estimated: bool
    revision: int
    generation: int | None
    paths: tuple[str, ...]
    size_bytes: int
    feedback_s: float
    ready_s: float | None
    phases_s: dict[str, float]
    start: Literal["standby", "fork", "zygote", ""] = ""
    models: tuple[ModelOutcome, ...] = ()
    probes: tuple[ProbeReport, ...] = ()
    problem: Problem | None = None
    cause: Literal["code", "environment"] = "code"


@dataclass(frozen=True, slots=True)
class IterationFinished:
    """The whole record of an iteration; also a row of the history."""

    at_s: float
    iteration: Iteration
    kind: Literal["iteration_finished"] = "iteration_finished"


@dataclass(frozen=True, slots=True)
class Change:
    """How a figure of a bench differs from the one before.

    Attributes:
        ratio: The figure over the one before.
        low: The lower end of its 95 % interval, from how the figure varied within both benches.
        high: The upper end.
        is_clear: Whether it is more than noise: the interval leaves 1 out, and benches of the same code differ by less.
    """

    ratio: float
    low: float
    high: float
    is_clear: bool


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class BenchFailed:
    """`dev serve --bench` could not send load at its endpoint: it is not there, it refuses the request, it fails."""

    at_s: float
    generation: int
    endpoint: str
    problem: Problem
    kind: Literal["bench_failed"] = "bench_failed"


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class Online:
    """The runner answers again, and nothing was lost.

    Attributes:
        offline_s: For how long it did not.
    """

    at_s: float
    offline_s: float
    kind: Literal["online"] = "online"


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class EventsDropped:
    """Whoever reads this stream did not for too long: so many events before this one were not written.

    Attributes:
        count: How many.
    """

    at_s: float
    count: int
    kind: Literal["events_dropped"] = "events_dropped"


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """This client's part is over. Nothing of the session runs any more, unless it was left running.

    Attributes:
        is_left_running: The app serves on without a client, until its idle time-out.
    """

    at_s: float
    reason: str
    is_left_running: bool = False
    kind: Literal["session_ended"] = "session_ended"


Event = (
    RuntimeStarted
    | ReloadStarted
    | ModelLoading
    | Ready
    | ReloadFailed
    | ReloadSuperseded
    | ProbeFinished
    | ProbesFinished
    | WorkersServing
    | StandbyReady
    | Log
    | RequestFinished
    | RequestsFinished
    | ProcessDied
    | Notice
    | Pinned
    | RuntimeStopped
    | EnvironmentProgress
    | EnvironmentReady
    | EnvironmentFailed
    | SessionStarted
    | Held
    | IterationStarted
    | ProbeReported
    | IterationFinished
    | BenchFinished
    | BenchFailed
    | Offline
    | Online
    | SessionResumed
    | SessionTimedOut
    | EventsDropped
    | SessionEnded
)

_EVENT_TYPES: dict[str, type[Any]] = {
    str(dataclasses.fields(event_type)[-1].default): event_type for event_type in typing.get_args(Event)
}


def to_json(value: Any) -> JsonObject:
    """Turn an event (or a record inside one) into a JSON object; tuples become lists."""
    return {name: _plain(getattr(value, name)) for name in _names(cast("type[Any]", type(value)))}


@functools.cache
def _names(record_type: type[Any]) -> tuple[str, ...]:
    return tuple(each.name for each in dataclasses.fields(record_type))


def _plain(value: Any) -> Any:
    # `dataclasses.asdict` copies each leaf, which takes five times as long; nobody changes what is sent.
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, tuple | list):
        return [_plain(each) for each in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in cast("dict[str, Any]", value).items()}
    return to_json(value)


_TIMES = ("at_s", "imported_at_s")  # of CLOCK_MONOTONIC; the others are seconds since 1970


def with_times(data: JsonObject, here: Callable[[float], float]) -> JsonObject:
    """Translate the times of an event, given as a JSON object, from the clock of the machine that made it."""
    return {**data, **{name: here(data[name]) for name in _TIMES if name in data}}


def from_json(data: JsonObject) -> Event:
    """Turn a JSON object back into its event. Unknown fields are ignored: a newer runner may know more.

    Raises:
        ValueError: The object's ``kind`` is no event's.
    """
    event_type = _EVENT_TYPES.get(data.get("kind", ""))
    if event_type is None:
        msg = f"no event is called {data.get('kind')!r}"
        raise ValueError(msg)
    return _build(event_type, data)


def record_from_json(record_type: type[Any], data: JsonObject) -> Any:
    """Turn a JSON object back into a record such as `Problem` or `Iteration`."""
    return _build(record_type, data)


def _build(record_type: type[Any], data: JsonObject) -> Any:
    hints = _hints(record_type)
    known = {name: _convert(hints[name], value) for name, value in data.items() if name in hints}
    return record_type(**known)


_HINTS: dict[type[Any], dict[str, Any]] = {}


def _hints(record_type: type[Any]) -> dict[str, Any]:
    if record_type not in _HINTS:
        _HINTS[record_type] = typing.get_type_hints(record_type)
    return _HINTS[record_type]


def _convert(hint: Any, value: Any) -> Any:
    if value is None:
        return None
    origin = typing.get_origin(hint)
    if origin is types.UnionType or origin is typing.Union:
        return _convert(next(a for a in typing.get_args(hint) if a is not type(None)), value)
    if origin is tuple:
        arguments = typing.get_args(hint)
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(_convert(arguments[0], item) for item in value)
        return tuple(_convert(a, item) for a, item in zip(arguments, value, strict=True))
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _build(hint, value)
    return value
