"""What a bench's figures say beside those before: laws of noise, limits one below, at and above."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotloop.devloop.load import parts
from hotloop.devloop.load.figures import MAX_PAIRS, MIN_ANSWERS, NUM_PAIRS, Figures, Noise, changes
from hotloop.devloop.load.job import Job, Result
from hotloop.devloop.load.tally import Window
from hotloop.events import Change, Problem

STEADY = Noise((0.01,) * NUM_PAIRS, (0.01,) * NUM_PAIRS)
SPREAD = (0.99, 1.0, 1.01, 1.0, 0.98, 1.02, 1.0, 1.0)


def figures(rate=100.0, p99=0.02, num=200, spread=SPREAD):
    rates, p99s = tuple(rate * s for s in spread), tuple(p99 * s for s in spread)
    return Figures(num, rate, p99 / 2, p99, {}, rates, p99s)


def test_a_change_beyond_noise_is_clear():
    throughput, latency = changes(figures(150.0, 0.01), figures(100.0, 0.02, spread=SPREAD[::-1]), STEADY)

    assert (throughput.ratio, throughput.is_clear) == (1.5, True)
    assert (latency.ratio, latency.is_clear) == (0.5, True)
    assert throughput.low < 1.5 < throughput.high


@pytest.mark.parametrize(
    ("ratio", "is_clear"), [(1.0299, False), (1.0301, True), (1 / 1.0299, False), (1 / 1.0301, True)]
)
def test_a_change_of_three_percent_is_the_least_that_is_clear(ratio, is_clear):
    calm = Noise((0.0001,) * NUM_PAIRS, (0.0001,) * NUM_PAIRS)
    throughput, _ = changes(figures(100 * ratio, spread=(1,) * 8), figures(100, spread=(1,) * 8), calm)

    assert throughput.is_clear is is_clear


def test_a_change_within_what_the_same_code_differs_by_is_noise():
    restless = Noise((0.2,) * NUM_PAIRS, (0.01,) * NUM_PAIRS)

    throughput, latency = changes(figures(150.0, 0.01), figures(100.0, 0.02), restless)

    assert (throughput.is_clear, latency.is_clear) == (False, True)


def test_a_change_within_what_the_parts_differ_by_is_noise():
    wild = (0.2, 3.0, 0.5, 2.0, 0.3, 1.5, 0.4, 2.5)

    throughput, _ = changes(figures(120.0, spread=wild), figures(100.0, spread=wild[::-1]), STEADY)

    assert throughput.is_clear is False


@pytest.mark.parametrize("num", [NUM_PAIRS - 1, NUM_PAIRS, NUM_PAIRS + 1])
def test_while_noise_is_not_known_nothing_is_clear(num):
    noise = Noise((0.01,) * num, (0.01,) * num)

    throughput, _ = changes(figures(300.0), figures(100.0), noise)

    assert throughput.is_clear is (num >= NUM_PAIRS)
    assert (noise.ratios() is None) is (num < NUM_PAIRS)


@pytest.mark.parametrize("num", [MIN_ANSWERS - 1, MIN_ANSWERS, MIN_ANSWERS + 1])
def test_too_few_answers_are_not_compared(num):
    enough, few = figures(), figures(num=num)

    assert (changes(few, enough, STEADY)[0] is None) is (num < MIN_ANSWERS)
    assert (changes(enough, few, STEADY)[0] is None) is (num < MIN_ANSWERS)
    assert len(STEADY.and_pair(enough, few).throughput) == NUM_PAIRS + (num >= MIN_ANSWERS)


def test_what_stood_still_for_a_part_of_the_time_is_not_compared():
    stalled = figures(spread=(0, 1, 1, 1, 1, 1, 1, 1))

    assert changes(figures(), stalled, STEADY) == (None, None)
    assert STEADY.and_pair(stalled, figures()) == STEADY


def test_without_figures_before_there_is_no_change():
    assert changes(figures(), None, STEADY) == (None, None)


@given(st.lists(st.floats(0.5, 2), min_size=1, max_size=30))
def test_the_newest_pairs_count_whichever_came_first(ratios):
    there, back = Noise(), Noise()
    for ratio in ratios:
        there, back = there.and_pair(figures(100 * ratio), figures()), back.and_pair(figures(), figures(100 * ratio))

    kept = [abs(math.log(ratio)) for ratio in ratios][-MAX_PAIRS:]
    assert there.throughput == pytest.approx(kept)
    assert back.throughput == pytest.approx(kept)


def test_parts_have_the_answers_that_came_in_them():
    window = Window(10.0, 12.0)
    tally = parts.PartedTally(window, 4)
    for due_s, done_s, status in [
        (9.0, 9.9, 200),  # before
        (9.9, 10.0, 200),  # sent before, answered within: counts as throughput
        (10.1, 10.4999, 200),
        (10.4, 10.5, 200),
        (11.0, 11.6, 500),  # no success
        (11.9, 11.9999, 204),
        (11.9, 12.0, 200),  # after
    ]:
        tally.answered(window, due_s, done_s, status)

    assert [part.num for part in tally.parts] == [2, 1, 0, 1]
    assert tally.rates_per_s() == [4.0, 2.0, 0.0, 2.0]
    assert sum(part.num for part in tally.parts) == tally.num_done
    assert tally.p99s_s()[2] == 0
    assert tally.p99s_s()[0] == pytest.approx(0.3999, rel=0.01)


@pytest.mark.parametrize("before", [None, figures()])
def test_a_job_and_its_result_are_what_they_were_behind_the_pipe(before):
    job = Job("http://127.0.0.1:8000", "/x", b"POST /x HTTP/1.1\r\n\r\n\xff\x00", before, STEADY)
    change = Change(1.1, 1.0, 1.2, is_clear=False)
    results = (Result(figures(), change, None), Result(problem=Problem("TooSlow", "no", hint="wait")))

    assert Job.from_line(job.to_line()) == job
    assert tuple(Result.from_line(result.to_line()) for result in results) == results
    assert job.to_line().count(b"\n") == 1
