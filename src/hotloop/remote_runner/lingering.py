# pyright: basic
"""How an agent ends a call whose client may still send. Basic type checks: grpc has no types."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import grpc

LINGER_S = 5.0


async def until_left(context: Any) -> None:
    """Wait until the client has ended its side: gRPC resets the call otherwise, and what was sent last may be lost."""
    with contextlib.suppress(TimeoutError, grpc.RpcError, grpc.aio.UsageError, asyncio.InvalidStateError):
        async with asyncio.timeout(LINGER_S):
            while await context.read() is not grpc.aio.EOF:  # pyright: ignore[reportAttributeAccessIssue]
                pass
