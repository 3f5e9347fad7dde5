"""An alarm rings once, at the first of the times that it was asked for."""

from __future__ import annotations

import asyncio
import math
import time

import pytest

from hotloop.gpu_runtime.alarm import Alarm
from tests.gpu_runtime.front import run, until


@pytest.mark.parametrize("offsets_s", [(0.0, 3600.0), (3600.0, 0.0), (-5.0, -9.0)])
def test_it_rings_once_at_the_first_of_several_times_and_can_be_asked_again(offsets_s):
    async def main():
        rung: list[float] = []
        alarm = Alarm(time.monotonic, lambda: rung.append(time.monotonic()))
        for offset_s in offsets_s:
            alarm.by(time.monotonic() + offset_s)
        await until(lambda: len(rung) == 1)
        alarm.by(time.monotonic())
        await until(lambda: len(rung) == 2)

    run(main())


def test_it_rings_no_more_once_it_is_set_to_never():
    async def main():
        rung: list[int] = []
        alarm = Alarm(time.monotonic, lambda: rung.append(1))
        alarm.by(time.monotonic())
        alarm.set(math.inf)
        after = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0.01, after.set_result, None)
        await after

        assert rung == []

    run(main())
