"""Events that the runtime makes."""

from __future__ import annotations

from typing import Literal

from hotloop.events.records import (
    EndpointSample,
    EndpointShape,
    GaugeSample,
    GpuSample,
    ImportTime,
    ModelOutcome,
    Problem,
)
from hotloop.frozen import frozen


@frozen
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


@frozen
class ReloadStarted:
    """A worker was told to run a revision. ``start`` says from what: a ready standby, a fork made now, a new zygote."""

    at_s: float
    revision: int
    start: Literal["standby", "fork", "zygote"]
    kind: Literal["reload_started"] = "reload_started"


@frozen
class ModelLoading:
    """A loader starts to run in the new worker."""

    at_s: float
    revision: int
    model: str
    why: str
    kind: Literal["model_loading"] = "model_loading"


@frozen
class Ready:
    """A new generation takes the requests from now on.

    Attributes:
        imported_at_s: When the project's modules were imported in the new worker.
        start: As in `ReloadStarted`.
        workers: How many are to serve it; the first one does.
        imports: The slowest of the modules that the new worker imported, slowest first; quick ones are left out.
        import_bytes: What it read from files meanwhile.
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
    imports: tuple[ImportTime, ...] = ()
    import_bytes: int = 0
    kind: Literal["ready"] = "ready"


@frozen
class ReloadFailed:
    """The revision did not become ready. ``serving`` is the generation that still serves, None if there is none."""

    at_s: float
    revision: int
    problem: Problem
    serving: int | None
    kind: Literal["reload_failed"] = "reload_failed"


@frozen
class ReloadSuperseded:
    """A newer revision arrived before this one was ready."""

    at_s: float
    revision: int
    by: int
    kind: Literal["reload_superseded"] = "reload_superseded"


@frozen
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


@frozen
class ProbesFinished:
    """All probes of a generation ran; the next standby is being made."""

    at_s: float
    revision: int
    generation: int
    count: int
    kind: Literal["probes_finished"] = "probes_finished"


@frozen
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


@frozen
class StandbyReady:
    """The next save will be fast: a worker waits with the models attached."""

    at_s: float
    kind: Literal["standby_ready"] = "standby_ready"


@frozen
class Log:
    """One line that a worker (or a hosted model, or the zygote: generation 0) wrote.

    Attributes:
        source: ``tests`` for what the tests of `--test` write, else empty.
    """

    at_s: float
    generation: int
    stream: Literal["stdout", "stderr"]
    text: str
    source: Literal["", "tests"] = ""
    kind: Literal["log"] = "log"


@frozen
class RequestFinished:
    """A request was answered by a generation (0: by the runtime itself, such as 404)."""

    at_s: float
    generation: int
    method: str
    path: str
    status: int
    took_s: float
    kind: Literal["request_finished"] = "request_finished"


@frozen
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


@frozen
class ProcessDied:
    """A process died that should not have.

    Attributes:
        role: ``active``, ``standby``, ``zygote``, ``hosted``, ``runtime``.
        name: The model's name for a hosted one, else empty.
        cause: Such as ``SIGKILL`` or ``exit 3``; ``SIGKILL: out of memory`` if the kernel killed it for that.
        lost_requests: How many requests failed because they may have run already.
        hint: What to do about it, if that is known.
        is_replaced: False: too many died, and the next save tries again.
    """

    at_s: float
    role: Literal["active", "standby", "zygote", "hosted", "runtime"]
    name: str
    cause: str
    lost_requests: int = 0
    hint: str = ""
    is_replaced: bool = True
    kind: Literal["process_died"] = "process_died"


@frozen
class Notice:
    """A non-fatal finding, said once per ``key``: a model that can't stay resident, a module left out of the zygote."""

    at_s: float
    key: str
    text: str
    hint: str = ""
    kind: Literal["notice"] = "notice"


@frozen
class Pinned:
    """A request became a probe (or ceased to be: ``is_pinned`` False)."""

    at_s: float
    name: str
    is_pinned: bool
    kind: Literal["pinned"] = "pinned"


@frozen
class RuntimeStopped:
    """The runtime ended; nothing listens any more. ``problem`` is None for a stop that was asked for."""

    at_s: float
    problem: Problem | None = None
    kind: Literal["runtime_stopped"] = "runtime_stopped"


@frozen
class ModelProgress:
    """How far a loader is, as far as that can be seen from outside.

    Attributes:
        done_bytes: What the worker has read from files since the loader began.
    """

    at_s: float
    revision: int
    model: str
    done_bytes: int
    kind: Literal["model_progress"] = "model_progress"


@frozen
class RuntimeSampled:
    """What the runtime did in the last interval, about one second; told while it serves or its figures change.

    Attributes:
        at_s: The interval's end.
        interval_s: Its length.
        memory_bytes: The proportional set size of the app's processes; shared models count once.
    """

    at_s: float
    interval_s: float
    endpoints: tuple[EndpointSample, ...]
    memory_bytes: int = 0
    gpus: tuple[GpuSample, ...] = ()
    gauges: tuple[GaugeSample, ...] = ()
    kind: Literal["runtime_sampled"] = "runtime_sampled"
