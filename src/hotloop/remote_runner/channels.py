# pyright: basic
"""One gRPC channel a lane of a way to an agent, shared by all calls that go there. Basic type checks: grpc has no types."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

import grpc

from hotloop.remote_runner.protocol import codec

if TYPE_CHECKING:
    from hotloop.remote_runner.way import Way

# A line that carries nothing any more says nothing either: gRPC asks, and ends the calls when there is no answer.
KEEPALIVE_OPTIONS = (
    ("grpc.keepalive_time_ms", 3_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
)


class Channels:
    """Channels of one client, each dialled when it is first asked for, and again after it was dropped.

    Attributes:
        bulk_lane: The lane for what may be large, so that it does not delay edits.
    """

    def __init__(self, way: Way) -> None:
        """Prepare; the way stays its owner's to close."""
        self.bulk_lane = way.num_lanes - 1
        self._way = way
        self._locks = [asyncio.Lock() for _ in range(way.num_lanes)]
        self._open: dict[int, Any] = {}

    @property
    def runner(self) -> str:
        """The runner as shown to people."""
        return self._way.name

    async def get(self, lane: int) -> Any:
        """Give the lane's channel.

        Raises:
            RunnerError: The runner can't be reached.
        """
        async with self._locks[lane]:
            if lane not in self._open:
                address = await self._way.dial(lane)
                options = (*codec.CHANNEL_OPTIONS, *KEEPALIVE_OPTIONS)
                self._open[lane] = grpc.aio.insecure_channel(address, options=options)
            return self._open[lane]

    async def drop(self, channel: Any) -> None:
        """Close a channel that broke; its calls end. Nothing happens if it was dropped before."""
        for lane, known in list(self._open.items()):
            if known is channel:
                del self._open[lane]
                await channel.close()

    async def close(self) -> None:
        """Close them all; their calls end."""
        for channel in list(self._open.values()):
            await self.drop(channel)
