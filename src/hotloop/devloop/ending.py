"""Ending a session on a runner that may not answer any more."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from hotloop.errors import HotloopError

if TYPE_CHECKING:
    from hotloop.remote_runner.client import AgentSession

END_TIMEOUT_S = 45.0  # longer than a runtime may take to drain; a runner that does not answer is left alone
AWAY_TIMEOUT_S = 3.0  # so is one whose link is away for that long: whoever typed Ctrl-C waits


async def end(agent: AgentSession) -> bool:
    """End the session there; False if the runner could not be told, so that it goes on."""
    ending = asyncio.create_task(agent.end(), name="end")
    give_up_at_s = time.monotonic() + END_TIMEOUT_S
    try:
        while not ending.done() and time.monotonic() < give_up_at_s and agent.away_s < AWAY_TIMEOUT_S:
            await asyncio.wait({ending}, timeout=0.1)
    finally:
        if not ending.done():
            ending.cancel()
        (failure,) = await asyncio.gather(ending, return_exceptions=True)
    if failure is not None and not isinstance(failure, HotloopError | asyncio.CancelledError):
        raise failure
    return not isinstance(failure, asyncio.CancelledError)
