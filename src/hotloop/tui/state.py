"""What the dashboard shows, as data: `reduce` makes it from events, the panels draw it. Knows no Textual."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Literal

from hotloop.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hotloop import events

Status = Literal["cold", "ready", "reloading", "live", "failed", "offline", "paused", "ended"]
Outcome = Literal["running", "ok", "failed", "superseded"]

MAX_ITERATIONS = 200
MAX_SAMPLES = 60
MAX_EXPECTED = 20  # iterations of one cause that say what the next one takes


@frozen
class Phase:
    """One phase of an iteration.

    Attributes:
        took_s: None if it has not ended: it runs (`is_live`) or is to come.
        expected_s: Median of the last 20 iterations of the same cause; None if there are none.
        note: What was done in it, a few words.
    """

    name: str
    took_s: float | None
    expected_s: float | None = None
    is_live: bool = False
    note: str = ""


@frozen
class Trip:
    """An iteration as it is shown, while it runs and afterwards.

    Attributes:
        began_s: When it was saved, monotonic seconds.
        feedback_s: To the first output or to the error; None while it runs.
        expected_s: What it should take; None if nothing is known.
        saved_at_s: When it was saved, seconds since 1970; None while it runs.
        models: What was kept or loaded, and why.
        why: One sentence: what made it cost what it cost.
        fix: What would avoid that; empty if nothing is known to.
        generation: What it became; None if it did not.
    """

    number: int
    outcome: Outcome
    cause: str
    began_s: float
    paths: tuple[str, ...] = ()
    size_bytes: int = 0
    phases: tuple[Phase, ...] = ()
    feedback_s: float | None = None
    expected_s: float | None = None
    models: tuple[events.ModelOutcome, ...] = ()
    why: str = ""
    fix: str = ""
    problem: events.Problem | None = None
    probes: tuple[events.ProbeReport, ...] = ()
    tests: events.TestsFinished | None = None
    generation: int | None = None
    saved_at_s: float | None = None


@frozen
class Trouble:
    """What does not work as it should while something serves.

    Attributes:
        text: A phrase, such as ``1 of 2 workers``.
        until_s: When it is over by itself, monotonic seconds; None: something has to happen.
    """

    key: str
    text: str
    until_s: float | None = None


@frozen
class State:
    """Everything that is shown, but for the log lines, which have a buffer of their own.

    Attributes:
        status: What the header says. ``failed`` while the newest iteration failed, whatever serves.
        serving: The iteration that serves; None if nothing does.
        generation: The newest that served; None before the first.
        trips: Those of this session, oldest first, the running one last.
        selected: The number of the iteration that is looked at; None for the newest.
        probes: The newest report of each probe, in the order they were first seen.
        samples: The last minute.
        queued: Saves that wait: offline or paused.
        degraded: A phrase such as ``queue full, requests are refused``; empty if all is well.
        troubles: Where `degraded` is from, the newest last.
        recent: By cause, the phases (seconds by name) of the last good iterations, oldest first: what is expected of
            the next, of this session or of one before.
        active_at_s: When a request or an iteration was last seen, monotonic seconds.
        loading_began_s: When the loader that runs began.
        testing: The iteration whose tests run.
        is_paused: Saves are kept back, as the user asked.
        ended: How the session ended; None while it goes on.
        probe: The name of the probe that is looked at; empty for the first.
        shows_library: Whether frames of libraries are shown.
    """

    app: str = ""
    project: str = ""
    runner: str = "local"
    address: str = ""
    python: str = ""
    num_files: int = 0
    began_s: float = 0.0
    status: Status = "cold"
    serving: int | None = None
    generation: int | None = None
    trips: tuple[Trip, ...] = ()
    selected: int | None = None
    models: tuple[events.ModelOutcome, ...] = ()
    endpoints: tuple[events.EndpointShape, ...] = ()
    probes: tuple[events.ProbeReport, ...] = ()
    samples: tuple[events.RuntimeSampled, ...] = ()
    sampled_at_s: float | None = None
    cost: events.CostReported | None = None
    link: events.LinkMeasured | None = None
    loading: events.ModelProgress | None = None
    environment: events.EnvironmentProgress | None = None
    tests: events.TestsFinished | None = None
    testing: int | None = None
    bench: events.BenchFinished | None = None
    hold: events.Held | None = None
    offline: events.Offline | None = None
    offline_since_s: float | None = None
    queued: int = 0
    degraded: str = ""
    troubles: tuple[Trouble, ...] = ()
    recent: Mapping[str, tuple[Mapping[str, float], ...]] = field(
        default_factory=dict[str, "tuple[Mapping[str, float], ...]"]
    )
    active_at_s: float = 0.0
    loading_began_s: float | None = None
    is_paused: bool = False
    ended: events.SessionEnded | None = None
    probe: str = ""
    shows_library: bool = False
    notices: tuple[events.Notice, ...] = field(default=())

    @property
    def trip(self) -> Trip | None:
        """The iteration that is looked at; of one that is forgotten by now, the oldest that is not."""
        if self.selected is None or not self.trips:
            return self.trips[-1] if self.trips else None
        return next((trip for trip in self.trips if trip.number == self.selected), self.trips[0])
