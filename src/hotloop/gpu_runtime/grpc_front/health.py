# pyright: basic
"""The standard health service, for load balancers and orchestrators. Basic type checks: grpc has no types."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from hotloop.gpu_runtime.grpc_front import service

if TYPE_CHECKING:
    from collections.abc import Callable

    from hotloop.gpu_runtime.calls import Generation

NAME: str = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
LOOK_EVERY_S = 0.25  # while someone watches; otherwise nothing runs

_Status = health_pb2.HealthCheckResponse


class Health(health_pb2_grpc.HealthServicer):
    """Says whether a generation serves: read when asked, so that it can't be out of date.

    Args:
        active: Gives the generation that serves, None if there is none.
    """

    def __init__(self, active: Callable[[], Generation | None]) -> None:
        self._active = active
        self._closing = asyncio.Event()

    def close(self) -> None:
        """Serve no more, and end every watch."""
        self._closing.set()

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802  the protocol's name
        """Say how a service is now."""
        status = self._status(request.service)
        if status == _Status.SERVICE_UNKNOWN:
            text = f"No service is called {request.service[:100]!r}.\nHint: ask for {service.NAME!r}, or for ''."
            await context.abort(grpc.StatusCode.NOT_FOUND, text)
        return _Status(status=status)

    async def Watch(self, request: Any, context: Any) -> None:  # noqa: N802  the protocol's name
        """Say how a service is, and again when that changes."""
        told = None
        while not self._closing.is_set():
            status = self._status(request.service)
            if status != told:
                await context.write(_Status(status=status))
                told = status
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._closing.wait()
        await context.write(_Status(status=self._status(request.service)))

    def _status(self, name: str) -> Any:
        if name not in {"", service.NAME}:
            return _Status.SERVICE_UNKNOWN
        is_serving = self._active() is not None and not self._closing.is_set()
        return _Status.SERVING if is_serving else _Status.NOT_SERVING
