"""Waits until an app has nothing left to do; tests of many keys are quick, and right on a busy machine.

Textual's own tests wait until their process took little of the processor for a fiftieth of a second: twice a key, and what
another process keeps from running looks as if it had nothing to do. Here the event loop is asked.
"""

from __future__ import annotations

import asyncio
import time

SOON_S = 0.025  # a callback that is due by then is waited for: more than a frame, of which Textual paints 60 a second
TURNS = 3  # of the loop without anything to run: what came in by a file or from a thread has its turn in the next one


async def wait_for_idle(min_sleep: float = 0.0, max_sleep: float = 1.0) -> None:
    """In place of Textual's: wait until the loop has nothing to run, now or soon.

    Args:
        min_sleep: Wait so long at least, seconds.
        max_sleep: Wait no longer, seconds: something may be due all the time.
    """
    loop = asyncio.get_running_loop()
    began_s, num_idle = time.monotonic(), 0
    while (waited_s := time.monotonic() - began_s) < max_sleep:
        if loop._ready:
            num_idle = 0
        elif num_idle < TURNS:
            num_idle += 1
        elif (due_s := _next_s(loop)) - loop.time() <= SOON_S:
            num_idle = 0
            await asyncio.sleep(max(0.0, due_s - loop.time()))
            continue
        elif waited_s >= min_sleep:
            return
        await asyncio.sleep(0)


def _next_s(loop: asyncio.AbstractEventLoop) -> float:
    """When the next callback is due, by the loop's clock."""
    return min((timer._when for timer in loop._scheduled if not timer.cancelled()), default=float("inf"))
