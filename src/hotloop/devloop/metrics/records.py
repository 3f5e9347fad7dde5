"""What the numbers are made from. Holds times, names and places: no code, no output, no message."""

from __future__ import annotations

from dataclasses import field, replace

from hotloop.frozen import frozen


@frozen
class Model:
    """What an iteration did with a model.

    Attributes:
        action: ``kept``, ``loaded`` or ``failed``.
        home: ``resident``, ``hosted`` or ``worker``.
        why: The reason, without the values that changed; empty in what older versions wrote.
    """

    name: str
    action: str
    home: str
    took_s: float
    size_bytes: int
    why: str = ""


@frozen
class Probe:
    """How a probe of an iteration went."""

    name: str
    is_ok: bool
    is_changed: bool
    took_s: float
    compute_s: float


@frozen
class Import:
    """A module that took long to be imported: a library with all that it imports, a file of the project without.

    Attributes:
        name: A library's module, or a file of the project.
    """

    name: str
    took_s: float
    is_project: bool


@frozen
class Trip:
    """What the metrics need of one iteration.

    Attributes:
        session: Names the run of `dev serve` that it belongs to.
        number: Counts the saves of a session; 0 is its first start.
        outcome: ``ok``, ``failed`` or ``superseded``.
        saved_at_s: Seconds since 1970.
        feedback_s: From the save to the first result on the screen, or to the error.
        phases_s: Contiguous: they sum to `feedback_s`.
        start: What the worker was started from; ``resumed`` for a first start that found the app running.
        cause: ``code``, ``model``, ``environment`` or ``cold``.
        asked: ``reload``, ``restart`` or ``undo`` if no save began it; empty if one did.
        why_code: What made it cost what it cost, as `hotloop.devloop.why` names it.
        why: The same in a sentence.
        expected_s: Median of the 20 good ones before of the same cause; None if there were none.
        drift_s: How far the runner's clock moved against this one's since the iteration before; 0 up to 5 ms.
        tests: How the tests of `--test` ended for it: ``ok``, ``failed``, ``broken``, ``superseded``; empty without.
        tested_at_s: When that was, seconds since 1970.
        imports: The slowest of the modules that the new worker imported.
        import_bytes: What it read from files meanwhile.
    """

    session: str
    number: int
    outcome: str
    saved_at_s: float
    feedback_s: float
    ready_s: float | None = None
    phases_s: dict[str, float] = field(default_factory=dict[str, float])
    start: str = ""
    cause: str = "code"
    asked: str = ""
    is_save_estimated: bool = False
    revision: int = 0
    generation: int | None = None
    num_files: int = 0
    size_bytes: int = 0
    models: tuple[Model, ...] = ()
    probes: tuple[Probe, ...] = ()
    error_type: str = ""
    error_file: str = ""
    error_line: int = 0
    why_code: str = ""
    why: str = ""
    expected_s: float | None = None
    offset_error_s: float = 0.0
    drift_s: float = 0.0
    tests: str = ""
    tested_at_s: float | None = None
    imports: tuple[Import, ...] = ()
    import_bytes: int = 0

    @property
    def is_edit(self) -> bool:
        """Whether a save began it: the first start is none, nor is what the user asked for."""
        return self.number > 0 and not self.asked

    @property
    def is_of_environment(self) -> bool:
        """Whether it waited for another environment."""
        return "environment" in self.phases_s

    @property
    def told_at_s(self) -> float:
        """When its outcome was on the screen, seconds since 1970."""
        return self.saved_at_s + self.feedback_s

    @property
    def num_kept(self) -> int:
        """How many models were kept."""
        return sum(model.action == "kept" for model in self.models)

    @property
    def num_loaded(self) -> int:
        """How many models were loaded."""
        return sum(model.action == "loaded" for model in self.models)


@frozen
class Session:
    """One run of `dev serve`. Times are seconds since 1970.

    Attributes:
        runner: Where the app ran.
        ended_at_s: None if it still runs, or was killed.
        ended: ``ended``, ``left`` (running without a client), ``failed`` (the runtime could not go on); empty if unknown.
    """

    id: str
    began_at_s: float
    runner: str
    ended_at_s: float | None = None
    ended: str = ""


@frozen
class Moment:
    """That the user did something, in a minute.

    Attributes:
        at_s: The minute's begin, seconds since 1970.
        what: ``request`` or ``key``; saves are iterations.
    """

    at_s: float
    what: str


@frozen
class LinkLoss:
    """The runner did not answer for a while."""

    session: str
    lost_at_s: float
    lasted_s: float


@frozen
class Build:
    """An environment was made for the app, or found (`was_cached`)."""

    session: str
    ended_at_s: float
    took_s: float
    is_ok: bool
    was_cached: bool
    num_packages: int


@frozen
class Cost:
    """What a session cost so far, in US dollars.

    Attributes:
        at_s: When that was, seconds since 1970.
        source: Where the price is from.
        total: All of it.
        idle: Of that, without work.
        per_1k_requests: The newest figure; None if there never were enough requests.
        per_1m_items: Likewise.
    """

    session: str
    at_s: float
    source: str
    total: float
    idle: float
    per_1k_requests: float | None = None
    per_1m_items: float | None = None


@frozen
class TestRun:
    """The tests of `--test` ran after an iteration.

    Attributes:
        outcome: ``ok``, ``failed``, ``broken`` (they could not run) or ``superseded``.
        places: Where tests failed: file, line and type of each, as far as known.
    """

    __test__ = False  # pytest collects what is called Test

    session: str
    number: int
    ended_at_s: float
    outcome: str
    took_s: float
    num_passed: int | None = None
    num_failed: int | None = None
    places: tuple[tuple[str, int, str], ...] = ()


@frozen
class Records:
    """What is known beside the iterations, oldest first.

    Attributes:
        milestones: When the project first came how far, seconds since 1970: ``began`` (the first command), ``served``,
            ``connected``, ``environment``, ``ready``, ``result``. Empty if its first use was not seen.
    """

    sessions: tuple[Session, ...] = ()
    moments: tuple[Moment, ...] = ()
    losses: tuple[LinkLoss, ...] = ()
    builds: tuple[Build, ...] = ()
    tests: tuple[TestRun, ...] = ()
    costs: tuple[Cost, ...] = ()
    milestones: dict[str, float] = field(default_factory=dict[str, float])

    def between(self, begin_s: float, end_s: float) -> Records:
        """Take what lies in a period (seconds since 1970). Milestones stay: they say when the project began."""
        return replace(
            self,
            sessions=tuple(each for each in self.sessions if begin_s <= each.began_at_s < end_s),
            moments=tuple(each for each in self.moments if begin_s <= each.at_s < end_s),
            losses=tuple(each for each in self.losses if begin_s <= each.lost_at_s < end_s),
            builds=tuple(each for each in self.builds if begin_s <= each.ended_at_s < end_s),
            tests=tuple(each for each in self.tests if begin_s <= each.ended_at_s < end_s),
            costs=tuple(each for each in self.costs if begin_s <= each.at_s < end_s),
        )
