"""States of any content, for laws that hold for all of them; user's text is as bad as text gets."""

from __future__ import annotations

from hypothesis import strategies as st

from hotloop import events
from hotloop.devloop import metrics
from hotloop.devloop.timeline import PHASES
from hotloop.tui.panels.dx import Day, Experience, Felt
from hotloop.tui.state import Phase, State, Trip

NASTY = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        (
            "",
            "\x1b[31mred\x1b[0m",
            "\x1b]52;c;aGk=\x07clipboard",
            "\x1b]8;;http://x\x1b\\link",
            "\x9b2J\x1b[",
            "日本語のテキスト、幅が二倍",
            "👩‍👩‍👧‍👦 family e\u0301",
            "one\ntwo\r\nthree\ttab",
            "\u202egnp.exe",
            "\ud800 lone",
            "x" * 500,
            "word " * 60,
            '{"a": [1, 2, 3.0001], "b": "…"}',
            "[bold]markup[/bold]",
        )
    ),
)
NAMES = st.one_of(st.sampled_from(("encoder", "chat", "/embed", "app.py")), NASTY)
SECONDS = st.one_of(st.just(0.0), st.floats(0.0, 0.01), st.floats(0.0, 10.0), st.floats(0.0, 1e6))
BYTES = st.one_of(st.just(0), st.integers(0, 10**6), st.integers(0, 10**13))
COUNTS = st.integers(0, 10**6)
RATIOS = st.floats(0.0, 1.0)


def maybe(strategy: st.SearchStrategy) -> st.SearchStrategy:
    return st.one_of(st.none(), strategy)


def some(strategy: st.SearchStrategy, most: int = 3) -> st.SearchStrategy:
    return st.lists(strategy, max_size=most).map(tuple)


FRAMES = st.builds(
    events.Frame, NAMES, st.integers(0, 10**6), NAMES, NASTY, st.integers(-1, 60), st.integers(-1, 80), st.booleans()
)
PROBLEMS = st.builds(events.Problem, NAMES, NASTY, some(FRAMES, 4), COUNTS, NASTY)
MODELS = st.builds(
    events.ModelOutcome,
    NAMES,
    st.sampled_from(("kept", "loaded", "failed")),
    st.sampled_from(("resident", "hosted", "worker")),
    NASTY,
    SECONDS,
    BYTES,
)
DIFFS = some(st.tuples(st.sampled_from(("- ", "+ ", "  ", "-", "")), NASTY).map("".join), 6)
PROBES = st.builds(
    events.ProbeReport, NAMES, st.booleans(), st.booleans(), NASTY, DIFFS, SECONDS, SECONDS, maybe(SECONDS),
    maybe(PROBLEMS),
)  # fmt: skip
FAILED_TESTS = st.builds(events.FailedTest, NAMES, NAMES, COUNTS, NAMES, NASTY)
TESTS = st.builds(
    events.TestsFinished, SECONDS, COUNTS, NASTY, st.sampled_from(("ok", "failed", "broken", "superseded")), SECONDS,
    maybe(st.integers(-9, 255)), maybe(COUNTS), maybe(COUNTS), some(FAILED_TESTS, 8),
)  # fmt: skip
ENDPOINTS = st.builds(
    events.EndpointShape,
    NAMES,
    NAMES,
    some(st.sampled_from(("GET", "POST", "PUT"))),
    some(st.tuples(NAMES, st.sampled_from(("str", "int = 4", "list[str]", "Query", "float | None")))),
    NAMES,
    st.booleans(),
    st.booleans(),
)
SAMPLED_ENDPOINTS = st.builds(
    events.EndpointSample,
    NAMES,
    SECONDS,
    COUNTS,
    COUNTS,
    maybe(SECONDS),
    maybe(SECONDS),
    maybe(SECONDS),
    st.dictionaries(st.one_of(st.integers(0, 300).map(str), st.just("odd")), COUNTS, max_size=5),
    maybe(SECONDS),
)
GPUS = st.builds(events.GpuSample, NAMES, BYTES, BYTES, maybe(RATIOS), maybe(RATIOS), maybe(SECONDS), maybe(SECONDS))
GAUGES = st.builds(events.GaugeSample, NAMES, SECONDS, maybe(st.floats(0.1, 1e9)))
SAMPLES = st.builds(
    events.RuntimeSampled, SECONDS, SECONDS, some(SAMPLED_ENDPOINTS), BYTES, some(GPUS, 2), some(GAUGES, 3)
)
COSTS = st.builds(
    events.CostReported, SECONDS, SECONDS, NAMES, SECONDS, SECONDS, maybe(SECONDS), maybe(SECONDS), maybe(SECONDS)
)
PROGRESS = st.builds(
    events.EnvironmentProgress, SECONDS, COUNTS, NAMES,
    st.sampled_from(("wait", "python", "resolve", "download", "build", "install")), COUNTS, COUNTS, BYTES, some(NAMES, 5),
)  # fmt: skip


@st.composite
def phases(draw: st.DrawFn, outcome: str) -> tuple[Phase, ...]:
    """Phases in order: those that ended, then perhaps one that runs, then those to come."""
    names = draw(st.sampled_from((PHASES, (*PHASES[:2], "environment", *PHASES[2:]), (*PHASES, "other"), ())))
    num_done = len(names) if outcome != "running" else draw(st.integers(0, len(names)))
    return tuple(
        Phase(
            name,
            draw(SECONDS) if index < num_done else None,
            draw(maybe(SECONDS)),
            is_live=index == num_done,
            note=draw(NASTY),
        )
        for index, name in enumerate(names)
    )


@st.composite
def trips(draw: st.DrawFn, number: int) -> Trip:
    outcome = draw(st.sampled_from(("running", "ok", "failed", "superseded")))
    parts = draw(phases(outcome))
    total_s = sum(phase.took_s or 0.0 for phase in parts)
    return Trip(
        number,
        outcome,
        draw(st.sampled_from(("code", "model", "environment", "cold"))),
        draw(st.floats(0.0, 2000.0)),
        paths=draw(some(NAMES, 5)),
        size_bytes=draw(BYTES),
        phases=parts,
        feedback_s=None if outcome == "running" else total_s,
        expected_s=draw(maybe(SECONDS)),
        models=draw(some(MODELS)),
        why=draw(NASTY),
        problem=draw(maybe(PROBLEMS)) if outcome == "failed" else None,
        probes=draw(some(PROBES, 2)),
        tests=draw(maybe(TESTS)),
        generation=draw(maybe(COUNTS)),
    )


@st.composite
def states(draw: st.DrawFn) -> State:
    count = draw(st.integers(0, 4))
    first = draw(st.integers(0, 10**5))
    shown = tuple(draw(trips(first + index)) for index in range(count))
    is_offline = draw(st.booleans())
    return State(
        app=draw(NAMES),
        project=draw(st.sampled_from(("", "/nowhere", "\x00"))),
        runner=draw(NAMES),
        address=draw(st.sampled_from(("", "http://127.0.0.1:8000"))),
        num_files=draw(COUNTS),
        status=draw(st.sampled_from(("cold", "ready", "reloading", "live", "failed", "offline", "paused", "ended"))),
        serving=draw(maybe(COUNTS)),
        trips=shown,
        selected=draw(maybe(st.integers(first, first + 5))),
        models=draw(some(MODELS)),
        endpoints=draw(some(ENDPOINTS, 2)),
        probes=draw(some(PROBES)),
        samples=draw(some(SAMPLES)),
        sampled_at_s=draw(maybe(SECONDS)),
        cost=draw(maybe(COSTS)),
        link=draw(maybe(st.builds(events.LinkMeasured, SECONDS, SECONDS))),
        loading=draw(maybe(st.builds(events.ModelProgress, SECONDS, COUNTS, NAMES, BYTES))),
        loading_began_s=draw(maybe(SECONDS)),
        environment=draw(maybe(PROGRESS)),
        offline=events.Offline(1.0, 2, draw(NASTY)) if is_offline else None,
        offline_since_s=1.0 if is_offline else None,
        probe=draw(NAMES),
        shows_library=draw(st.booleans()),
    )


PAST = st.builds(
    metrics.Trip,
    session=st.just("s"),
    number=st.integers(0, 50),
    outcome=st.sampled_from(("ok", "failed", "superseded")),
    saved_at_s=SECONDS,
    feedback_s=SECONDS,
    ready_s=maybe(SECONDS),
    phases_s=st.dictionaries(st.sampled_from(PHASES), SECONDS),
)
SUMMARIES = st.lists(PAST, max_size=5).map(metrics.summarize)
EXPERIENCES = st.builds(
    Experience,
    SUMMARIES,
    SUMMARIES,
    maybe(SUMMARIES),
    some(st.builds(Day, NAMES, maybe(SECONDS)), 7),
    some(st.builds(Felt, NAMES, NASTY, st.integers(1, 5)), 6),
    NASTY,
)
