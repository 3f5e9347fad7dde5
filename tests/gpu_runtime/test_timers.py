"""Calls that are to come."""

import asyncio
import weakref

from hotloop.gpu_runtime.timers import Timers


def test_a_call_that_was_made_is_not_held():
    """Each worker that drains has a name of its own, so that no newer call takes its place."""

    async def main():
        timers, done = Timers(), asyncio.Event()

        def call():
            done.set()

        gone = weakref.ref(call)
        timers.later("drain 7", 0.0, call)
        del call
        await done.wait()

        assert gone() is None

    asyncio.run(main())
