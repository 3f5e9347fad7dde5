"""Workers share the cores: who says how many threads torch has."""

from __future__ import annotations

import os
import sys

import pytest

from hotloop.gpu_runtime.user_env.threads import Threads


class Torch:
    def __init__(self, count):
        self.count = count

    def get_num_threads(self):
        return self.count

    def set_num_threads(self, count):
        self.count = count


@pytest.fixture
def machine(monkeypatch):
    """A machine with 8 cores, where nothing was chosen."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def divided(machine, replicas, before, after):
    """Give how many threads there are; None for a torch that is not imported."""
    for count in (before, after):
        if count is None:
            machine.delitem(sys.modules, "torch", raising=False)
        else:
            machine.setitem(sys.modules, "torch", Torch(count))
        if count is before:
            threads = Threads()
    threads.divide(replicas)
    return sys.modules["torch"].count if after is not None else None


@pytest.mark.parametrize(
    ("replicas", "before", "after", "count"),
    [
        (1, 8, 8, 8), (2, 8, 8, 4), (3, 8, 8, 2), (64, 8, 8, 1),
        (4, 4, 4, 2),  # one of each two processors' threads
        (4, None, 8, 2), (4, None, 4, 2),  # imported by the project
        (4, 8, 7, 7), (4, None, 7, 7), (4, None, 1, 1),  # chosen in code
        (4, 8, 1, 1), (4, None, None, None),
    ],
)  # fmt: skip
def test_the_cores_are_divided_unless_code_chose(machine, replicas, before, after, count):
    assert divided(machine, replicas, before, after) == count


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "MKL_NUM_THREADS"])
def test_what_the_environment_says_stays(machine, name):
    machine.setenv(name, "8")

    assert divided(machine, 4, 8, 8) == 8
