"""Events of requests: one each while they are few, a summary where they are many, and none is lost or told twice."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotloop.events import Event, RequestFinished, RequestsFinished
from hotloop.gpu_runtime.traffic import INTERVAL_S, JOIN_S, MAX_TOLD_SINGLY, Traffic


class Told:
    def __init__(self) -> None:
        self.events: list[Event] = []
        self.alarms: list[float] = []
        self.calls: list[Callable[[], None]] = []
        self.traffic = Traffic(self.events.append, self._later)

    def _later(self, delay_s, call):
        self.alarms.append(delay_s)
        self.calls.append(call)

    def finish(self, at_s: float, status: int = 200, took_s: float = 0.1) -> None:
        self.traffic.finished(at_s, 1, "POST", "/a", status, took_s)

    @property
    def singles(self) -> int:
        return sum(isinstance(event, RequestFinished) for event in self.events)

    @property
    def summaries(self) -> list[RequestsFinished]:
        return [event for event in self.events if isinstance(event, RequestsFinished)]


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_so_many_requests_an_interval_are_told_of_one_by_one(more):
    told = Told()
    for _ in range(MAX_TOLD_SINGLY + more):
        told.finish(5.0)
    told.traffic.flush()

    assert told.singles == MAX_TOLD_SINGLY + min(0, more)
    assert [summary.count for summary in told.summaries] == ([1] if more > 0 else [])


@pytest.mark.parametrize(("gap_s", "is_at_once"), [(JOIN_S - 0.01, False), (JOIN_S, True), (JOIN_S + 0.01, True)])
def test_requests_that_come_one_by_one_are_told_of_at_once(gap_s, is_at_once):
    told = Told()
    for number in range(3):
        told.finish(number * gap_s)

    assert told.singles == (3 if is_at_once else 1)


def test_those_that_come_soon_after_another_are_told_of_together_and_in_order():
    told = Told()
    for number in range(4):
        told.finish(5 + 0.02 * number)
    assert [event.at_s for event in told.events] == [5]
    assert told.alarms == [pytest.approx(JOIN_S - 0.02)]
    told.calls[0]()

    assert [event.at_s for event in told.events] == [5, 5.02, 5.04, 5.06]


def test_a_summary_is_told_at_the_end_of_its_interval_though_nothing_comes_any_more():
    told = Told()
    for _ in range(MAX_TOLD_SINGLY + 3):
        told.finish(5.0)
    told.finish(5.25)

    assert told.alarms == [JOIN_S, INTERVAL_S]
    assert told.summaries == []
    told.traffic.flush()
    assert told.summaries[0].at_s == 5.0 + INTERVAL_S


def test_a_summary_counts_by_status_and_says_how_long_they_took():
    told = Told()
    for _ in range(MAX_TOLD_SINGLY):
        told.finish(1.0)
    for number in range(1, 201):
        told.finish(1.5, 200 if number % 4 else 429, number / 1000)
    told.finish(2.0)
    (summary,) = told.summaries

    assert (summary.count, summary.statuses) == (200, {"200": 150, "429": 50})
    assert summary.p50_s == pytest.approx(0.1, rel=0.03)
    assert summary.p99_s == pytest.approx(0.198, rel=0.03)
    assert summary.max_s == 0.2


@given(
    st.lists(st.tuples(st.floats(0, 0.3), st.sampled_from([200, 404, 500]), st.floats(0, 1e5)), max_size=400),
)
def test_every_request_is_told_of_once(requests):
    told, at_s = Told(), 10.0
    for gap_s, status, took_s in requests:
        at_s += gap_s / 10
        told.finish(at_s, status, took_s)
    told.traffic.flush()

    assert told.singles + sum(summary.count for summary in told.summaries) == len(requests)
    for summary in told.summaries:
        assert sum(summary.statuses.values()) == summary.count
        assert 0 <= summary.p50_s <= summary.p99_s <= summary.max_s
