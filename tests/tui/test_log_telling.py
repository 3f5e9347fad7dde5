"""What events come to in the log."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotloop import events
from hotloop.clock import ClockPair
from hotloop.events import EVENT_TYPES
from hotloop.tui.log.buffer import SOURCES, Record
from hotloop.tui.log.filter import LEVELS
from hotloop.tui.log.telling import Teller

NOW = ClockPair(monotonic_s=100.0, wall_s=1_800_000_000.0)
SILENT = {
    "probe_finished", "probes_finished", "model_progress", "runtime_sampled", "cost_reported", "link_measured",
}  # fmt: skip
FRAME = events.Frame("app.py", 12, "embed", "x = y", 4, 5, True)
PROBLEM = events.Problem("NameError", "name 'y' is not defined\nsecond line", (FRAME,), 2, "define y")


def told(*made: events.Event) -> list[str]:
    teller = Teller()
    return [
        f"{record.level} {record.source} {record.text}" for event in made for record in teller.records_of(event, NOW)
    ]


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Values of a field's type that an event may have."""
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is tuple:
        parts = [values(each) for each in arguments if each is not Ellipsis]
        return st.lists(parts[0], max_size=8).map(tuple) if len(parts) < len(arguments) else st.tuples(*parts)
    if dataclasses.is_dataclass(hint):
        return records(hint)
    if typing.get_origin(hint) is types.UnionType:
        return st.one_of(*map(values, arguments))
    return st.floats(0, 1e6) if hint is float else st.integers(0, 10**6) if hint is int else st.from_type(hint)


def records(kind: Any) -> st.SearchStrategy[Any]:
    hints = typing.get_type_hints(kind)
    named = {"statuses": st.dictionaries(st.sampled_from(["200", "404", "503"]), st.integers(0))}
    return st.builds(kind, **{name: named.get(name, values(hint)) for name, hint in hints.items() if name != "kind"})


@given(st.sampled_from(sorted(EVENT_TYPES)).flatmap(lambda kind: records(EVENT_TYPES[kind])))
def test_every_event_comes_to_clean_lines_or_to_none_on_purpose(event: events.Event) -> None:
    records = Teller().records_of(event, NOW)

    assert bool(records) == (event.kind not in SILENT) or event.kind in {
        "environment_progress", "session_ended", "runtime_stopped",
    }  # fmt: skip
    for record in records:
        assert record.text.isprintable()
        assert record.level in {*LEVELS, "-"}
        assert record.source in SOURCES


def test_a_line_is_at_the_time_of_day_and_in_the_iteration_it_was_written_in() -> None:
    teller = Teller()
    teller.records_of(events.IterationStarted(90.0, 7, ("app.py",)), NOW)

    [record] = teller.records_of(events.Log(99.5, 3, "stdout", "\x1b[31mhello\x1b[0m"), NOW)

    assert record == Record(1_799_999_999.5, "I", "app", 3, 7, "hello")


def test_an_iteration_ends_in_a_separator() -> None:
    record = events.Iteration(
        42, "failed", 0.0, False, 1, 1, ("a.py", "b.py", "c.py", "d.py"), 1, 1.35, None, {}, cause="model"
    )

    assert told(events.IterationFinished(1.0, record)) == ["- loop #42 ✗ 1.35 s  model  a.py, b.py, c.py and 1 more"]


def test_a_problem_says_where_and_what_to_do() -> None:
    assert told(events.ReloadFailed(1.0, 3, PROBLEM, 2)) == [
        "E loop NameError: name 'y' is not defined  app.py:12 in embed",
        "E loop   second line",
        "I loop   hint: define y",
        "W loop still serving generation 2; the next save tries again",
    ]


def test_tests_that_failed_are_named() -> None:
    failed = events.FailedTest("tests/test_app.py::test_embed", "tests/test_app.py", 9, "AssertionError", "1 == 2")
    finished = events.TestsFinished(1.0, 4, "pytest -q", "failed", 2.5, 1, 8, 1, (failed,))

    assert told(finished) == [
        "E tests #4 1 failed, 8 passed in 2.50 s",
        "E tests   tests/test_app.py::test_embed  tests/test_app.py:9  AssertionError: 1 == 2",
    ]


@pytest.mark.parametrize(
    ("event", "lines"),
    [
        (events.RequestFinished(1.0, 3, "POST", "/embed", 503, 0.012), ["E http POST /embed 503 12 ms"]),
        (
            events.RequestsFinished(1.0, 1.0, 415, {"200": 412, "429": 3}, 0.01, 0.02, 0.03),
            ["W http 415 more requests in 1.00 s (200: 412, 429: 3), p50 10 ms, p99 20 ms"],
        ),
        (events.EventsDropped(1.0, 240), ["W loop 240 lines not shown: they were not read in time"]),
        (
            events.ProcessDied(1.0, "active", "", "exit 3"),
            ["E runner the active worker died (exit 3); it is being replaced"],
        ),
        (events.Online(1.0, 14.0), ["I loop online again after 14.0 s"]),
    ],
)
def test_the_words_are_those_of_the_plain_lines(event: events.Event, lines: list[str]) -> None:
    assert told(event) == lines


def test_a_finding_is_told_once_and_an_answer_each_time() -> None:
    finding, answer = events.Notice(1.0, "zygote", "left out"), events.Notice(1.0, "asked", "done")

    assert told(finding, answer, finding, answer) == ["W loop left out", "I loop done", "I loop done"]
