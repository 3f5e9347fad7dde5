"""The ceiling of a closed loop: what calls cost is found again, and more clients leave more to choose from."""

import random

import pytest
from benchmarks.serving_ceiling import Cost, closed_loop_rate, fit

SOURCE = random.Random(4)
TOKENS = [SOURCE.randint(5, 60) for _ in range(256)]


def direct_rate(size: int, cost: Cost) -> float:
    """Of batches of the sorted texts."""
    ordered = sorted(TOKENS)
    parts = [ordered[start : start + size] for start in range(0, len(ordered), size)]
    return len(ordered) / sum(cost.call_s(len(part), part[-1]) for part in parts)


@pytest.mark.parametrize("cost", [Cost(0.008, 0.00015), Cost(0.0, 0.001), Cost(0.05, 0.0)])
def test_what_calls_cost_is_found_from_the_rates_of_sorted_batches(cost):
    found = fit({size: direct_rate(size, cost) for size in (4, 8, 16, 32)}, TOKENS, TOKENS)

    assert found.per_call_s == pytest.approx(cost.per_call_s, abs=1e-7)
    assert found.per_token_s == pytest.approx(cost.per_token_s, abs=1e-9)


def test_few_clients_can_not_reach_what_sorting_all_texts_gives_and_more_come_nearer():
    cost = Cost(0.008, 0.00015)
    rates = [closed_loop_rate(clients, TOKENS, TOKENS, cost) for clients in (1, 8, 32, 128)]

    assert rates[0] == pytest.approx(1 / (0.008 + 0.00015 * sum(TOKENS) / len(TOKENS)), rel=0.01)
    assert rates == sorted(rates)
    assert rates[2] < 0.95 * max(direct_rate(size, cost) for size in (8, 16, 32))
