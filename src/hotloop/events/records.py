"""Records inside events: what several of them carry."""

from __future__ import annotations

from dataclasses import field
from typing import Literal

from hotloop.frozen import frozen


@frozen
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


@frozen
class Problem:
    """Something wrong in the user's app, with the place to look.

    Attributes:
        type: The exception's class name, such as ``NameError``.
        message: The exception's text.
        frames: Outermost first. Frames of libraries below the last project frame are kept, those between are not.
        hidden_frames: How many frames were left out.
        hint: What to type or change next, or an empty string.
        failure: What to ask for its local variables by, with the request ``locals``; empty if none were kept. Only those
            of the newest failures are.
    """

    type: str
    message: str
    frames: tuple[Frame, ...] = ()
    hidden_frames: int = 0
    hint: str = ""
    failure: str = ""

    @property
    def where(self) -> Frame | None:
        """The innermost frame of the project, which is where the user looks first."""
        return next((frame for frame in reversed(self.frames) if frame.is_project), None)


@frozen
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


@frozen
class ImportTime:
    """How long a module took to be imported.

    Attributes:
        name: A library's module, such as ``torch``, or a file of the project, such as ``app.py``.
        took_s: A library's with all that it imports; a project's file without what it imports.
        is_project: Whether it is the project's own.
    """

    name: str
    took_s: float
    is_project: bool


@frozen
class EndpointShape:
    """What an endpoint is called and takes, for people and for clients."""

    name: str
    path: str
    methods: tuple[str, ...]
    parameters: tuple[tuple[str, str], ...]
    returns: str
    is_batched: bool
    is_stream: bool


@frozen
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


@frozen
class Iteration:
    """One trip from save to feedback. The phases are contiguous: they sum to the time to feedback (or to error).

    Attributes:
        number: Counts from 1 in a session; 0 is the session's first start, which no save caused.
        outcome: ``ok``, ``failed`` or ``superseded``.
        saved_at_s: Seconds since 1970, the newest write among the files.
        feedback_s: Save to first probe result on the screen; to `ready` if the app has no probe; to the error if
            failed.
        ready_s: Save to new code ready; None if it never was.
        phases_s: Seconds by name, in order: detect, sync, apply, reload, warmup, first_output; after sync ``environment`` if it
            waited for one, last ``other`` if there is time that nothing explains.
        cause: What its time was spent for: ``code`` (every model was kept), ``model`` (one was loaded), ``environment``
            (it waited for another environment), ``cold`` (a start from nothing: the first, or one that was asked for).
        asked: What the user asked for, if no save began it: then it is no trip of an edit.
        expected_s: Median of the last 20 good ones of the same cause, of earlier sessions too; None if there are none.
        why_code: What made it cost what it cost, in a word: ``code``, ``no_standby``, ``loader``; docs/experience.md has all.
        why: The same in a sentence.
        fix: What would avoid that; empty if nothing is known to.
        imports: The slowest of the modules that the new worker imported.
        import_bytes: What it read from files meanwhile.
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
    cause: Literal["code", "model", "environment", "cold"] = "code"
    asked: Literal["", "reload", "restart", "undo"] = ""
    expected_s: float | None = None
    why_code: str = ""
    why: str = ""
    fix: str = ""
    imports: tuple[ImportTime, ...] = ()
    import_bytes: int = 0


@frozen
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


@frozen
class FailedTest:
    """A test that failed.

    Attributes:
        name: As its runner calls it, such as ``tests/test_app.py::test_embed``.
        file: Relative to the project, empty if unknown.
        line: Where it failed, 0 if unknown.
        error_type: The exception's class name, empty if unknown.
        message: What it said, its first line.
    """

    name: str
    file: str = ""
    line: int = 0
    error_type: str = ""
    message: str = ""


@frozen
class EndpointSample:
    """What one endpoint did in an interval.

    Attributes:
        requests_per_s: Answers.
        num_waiting: Requests in its queue at the interval's end.
        num_running: Requests in a worker at the interval's end.
        wait_p95_s: Of how long requests waited in the queue; None if none left it.
        p50_s: Of how long requests took from arrival to answer; None if none was answered.
        p95_s: Likewise.
        batch_sizes: How many batches of each size left, such as ``{"8": 41}``; empty for an endpoint without batches.
        items_per_s: What it streamed: tokens of a language model, items of a generator; None if it streams nothing.
    """

    path: str
    requests_per_s: float
    num_waiting: int
    num_running: int
    wait_p95_s: float | None = None
    p50_s: float | None = None
    p95_s: float | None = None
    batch_sizes: dict[str, int] = field(default_factory=dict[str, int])
    items_per_s: float | None = None


@frozen
class GpuSample:
    """One GPU at a moment, as its driver says. None: the driver does not say.

    Attributes:
        busy_ratio: How much of the interval any kernel ran: one tiny kernel reads as 1, so this is no measure of use.
        sm_ratio: How much of its multiprocessors' time was used, where profiling is allowed.
        power_w: What it draws.
        power_limit_w: What it may draw.
        app_bytes: What this app's processes hold of the memory.
    """

    name: str
    memory_used_bytes: int
    memory_total_bytes: int
    busy_ratio: float | None = None
    sm_ratio: float | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    app_bytes: int | None = None


@frozen
class GaugeSample:
    """A figure of the app's own, as it told it last with `hotloop.gauge`; of several workers the sum.

    Attributes:
        limit: How much it can be; None if that was not said.
    """

    name: str
    value: float
    limit: float | None = None
