"""A session's meter on a real event loop: what it says, when, and that it ends what costs too much."""

import asyncio
import time

from hotloop import events
from hotloop.devloop.cost import Budget, Price
from hotloop.devloop.meter import OVER_BUDGET, Meter
from hotloop.devloop.tariff import Terms

H100 = events.GpuSample("NVIDIA H100 80GB HBM3", 0, 80 << 30)


def sampled(*gpus):
    return events.RuntimeSampled(time.monotonic(), 1.0, (), 1 << 20, gpus)


def metered(terms, happenings, until):
    """Run a meter through events, until something holds for what it said and whom it stopped."""
    said, stopped = [], []

    async def main():
        meter = Meter(terms, said.append, lambda *reason: stopped.append(reason))
        for event in happenings:
            meter.take(event)
        deadline_s = time.monotonic() + 20
        while not until(said, stopped):
            assert time.monotonic() < deadline_s, (said, stopped)
            await asyncio.sleep(0.01)
        meter.take(events.SessionEnded(0.0, ""))
        num_said = len(said)
        meter.take(events.RequestFinished(0.0, 1, "POST", "/", 200, 0.1))
        await asyncio.sleep(0)
        assert len(said) == num_said

    asyncio.run(main())
    return said, stopped


def test_the_list_price_of_the_gpus_counts_once_they_are_known():
    terms = Terms("box", provider="runpod")

    said, stopped = metered(terms, [sampled(H100, H100), sampled(H100, H100)], lambda said, _: said)

    (report,) = said
    assert (report.per_hour, report.source) == (5.38, "runpod's list price of 2026-05")
    assert not stopped


def test_a_price_that_nobody_knows_is_said_once_and_only_where_there_is_a_gpu():
    said, _ = metered(Terms("box"), [sampled(H100), sampled(H100)], lambda said, _: said)
    assert [each.key for each in said] == ["price"]

    said, _ = metered(Terms("box"), [sampled(), sampled(H100)], lambda said, _: said)
    assert len(said) == 1

    said, _ = metered(Terms("box", budget=Budget(5.0)), [sampled(), sampled(), sampled(H100)], lambda said, _: said)
    assert [each.text[:30] for each in said] == ["the budget can't be watched: w"]


def test_cents_are_told_as_they_fall_due_and_the_budget_ends_the_session():
    terms = Terms("box", Price(360.0, "runner box"), budget=Budget(0.12, is_end=True))

    said, stopped = metered(terms, [events.SessionStarted(0.0, "a", "p", "box", "3", 1)], lambda _, stopped: stopped)

    reports = [each for each in said if isinstance(each, events.CostReported)]
    assert len(reports) >= 3
    assert reports[-1].session >= 0.1199
    assert [each.key for each in said if isinstance(each, events.Notice)] == ["budget"]
    assert stopped == [(stopped[0][0], OVER_BUDGET)]
    assert stopped[0][0].startswith("the budget of $0.12 is spent")
