# pyright: basic
"""One gRPC channel a lane of a way to an agent, shared by all calls that go there. Basic type checks: grpc has no types."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

import grpc

from hotloop.errors import RunnerError
from hotloop.remote_runner.protocol import codec

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from hotloop.remote_runner.way import Way

READY_TIMEOUT_S = 10.0
RETRY_S = 0.1
# A line that carries nothing any more says nothing either: gRPC asks, and ends the calls when there is no answer.
OPTIONS = (
    *codec.CHANNEL_OPTIONS,
    ("grpc.keepalive_time_ms", 3_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),  # else a minute
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.use_local_subchannel_pool", 1),  # a channel made anew does not wait out the one before it
)


@dataclass(slots=True)
class _Held:
    channel: Any
    num_calls: int = 0


class Channels:
    """Channels of one client, each dialled when it is first asked for, and again after it broke.

    Attributes:
        bulk_lane: The lane for what may be large, so that it does not delay edits.
    """

    def __init__(self, way: Way) -> None:
        """Prepare; the way stays its owner's to close."""
        self.bulk_lane = way.num_lanes - 1
        self._way = way
        self._locks = [asyncio.Lock() for _ in range(way.num_lanes)]
        self._newest: dict[int, _Held] = {}
        self._all: list[_Held] = []

    @property
    def runner(self) -> str:
        """The runner as shown to people."""
        return self._way.name

    @asynccontextmanager
    async def channel(self, lane: int) -> AsyncGenerator[Any]:
        """Give the lane's channel for a call; it stays open as long as the block runs.

        Raises:
            RunnerError: The runner can't be reached.
        """
        async with self._locks[lane]:
            held = self._newest.get(lane)
            if held is None or held.channel.get_state() is not grpc.ChannelConnectivity.READY:
                held = self._newest[lane] = await self._dial(lane)
        held.num_calls += 1
        try:
            yield held.channel
        finally:
            held.num_calls -= 1
            await self._close_unused()

    def renew(self) -> None:
        """Have calls from now on dial anew: the line was away. Calls under way may go on, if theirs was not."""
        self._newest.clear()

    async def close(self) -> None:
        """Close them all; their calls end."""
        self._newest.clear()
        while self._all:
            await self._all.pop().channel.close()

    async def _dial(self, lane: int) -> _Held:
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + READY_TIMEOUT_S
        while True:
            channel = grpc.aio.insecure_channel(await self._way.dial(lane), options=OPTIONS)
            try:
                if await _is_ready(channel, deadline_s):
                    self._all.append(held := _Held(channel))
                    return held
            except BaseException:
                await channel.close()
                raise
            await channel.close()
            if loop.time() > deadline_s:
                msg = f"The agent on {self.runner} does not answer within {READY_TIMEOUT_S:.0f} s."
                raise RunnerError(msg, hint="look at the connection to it, then try again")
            await asyncio.sleep(RETRY_S)  # an agent that is about to end may have been dialled

    async def _close_unused(self) -> None:
        newest = list(self._newest.values())
        for held in [held for held in self._all if not held.num_calls and held not in newest]:
            self._all.remove(held)
            await held.channel.close()


async def _is_ready(channel: Any, deadline_s: float) -> bool:
    """Wait until a channel is connected; False as soon as that failed, or at the deadline."""
    ready, failed = grpc.ChannelConnectivity.READY, grpc.ChannelConnectivity.TRANSIENT_FAILURE
    try:
        async with asyncio.timeout_at(deadline_s):
            while (state := channel.get_state(try_to_connect=True)) not in (ready, failed):
                await channel.wait_for_state_change(state)
    except TimeoutError:
        return False
    return state is ready
