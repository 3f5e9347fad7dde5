"""Where the runtime listens: HTTP always, gRPC if it was asked for; and what is said when it can't."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from hotloop.events import Problem
from hotloop.frozen import frozen
from hotloop.gpu_runtime import http
from hotloop.gpu_runtime.calls import Exchange, Generation
from hotloop.gpu_runtime.cross_origin import CrossOrigin
from hotloop.gpu_runtime.exchange import Request
from hotloop.gpu_runtime.settings import PORTS_TO_TRY, RuntimeConfig

if TYPE_CHECKING:
    from hotloop.events import Event
    from hotloop.gpu_runtime.grpc_front.server import GrpcServer

Server = TypeVar("Server")
_NO_FORKS = {"GRPC_ENABLE_FORK_SUPPORT": "0", "GRPC_VERBOSITY": "ERROR"}  # the runtime executes, it never forks


class CannotListenError(Exception):
    """A port or an address can't be had.

    Attributes:
        problem: What is wrong with it.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


@frozen
class Fronts:
    """The servers that clients reach.

    Attributes:
        http: Listens always.
        grpc: None if it was not asked for.
    """

    http: http.Server
    grpc: GrpcServer | None

    @property
    def grpc_address(self) -> str:
        """What a gRPC client connects to; empty if there is none."""
        return "" if self.grpc is None else self.grpc.address

    async def finish(self, timeout_s: float) -> None:
        """Stop listening, let answers under way finish within ``timeout_s``; those that do not stay open."""
        finishing: list[Coroutine[Any, Any, object]] = [self.http.finish(timeout_s)]
        if self.grpc is not None:
            finishing.append(self.grpc.finish(timeout_s))
        await asyncio.gather(*finishing)

    async def close(self) -> None:
        """Stop listening, let answers under way finish for some seconds, then cut them."""
        closing = [self.http.close()]
        if self.grpc is not None:
            closing.append(self.grpc.close())
        await asyncio.gather(*closing)


async def open_fronts(
    config: RuntimeConfig,
    on_request: Callable[[Exchange], None],
    active: Callable[[], Generation | None],
    emit: Callable[[Event], None],
) -> Fronts:
    """Listen where the configuration says.

    Args:
        config: Host and ports.
        on_request: Takes each request.
        active: Gives the generation that serves, None if there is none.
        emit: Told of browsers that keep an answer from a page.

    Raises:
        CannotListenError: One of the ports can't be had; nothing listens then.
    """
    # gRPC first: its port was asked for by name, while HTTP's may be the default.
    grpc = None if config.grpc_port is None else await _listen_grpc(config, config.grpc_port, on_request, active)
    try:
        return Fronts(await _listen_http(config, CrossOrigin(config.cors_origins, on_request, emit).handle), grpc)
    except OSError as error:
        if grpc is not None:
            await grpc.close()
        raise CannotListenError(_problem(config.host, config.port, error, "--port", "PortInUse")) from error


async def _listen_http(config: RuntimeConfig, on_request: Callable[[Request], None]) -> http.Server:
    return await _first_free(config, config.port, lambda port: http.serve(config.host, port, on_request))


async def _listen_grpc(
    config: RuntimeConfig, port: int, on_request: Callable[[Exchange], None], active: Callable[[], Generation | None]
) -> GrpcServer:
    for name, value in _NO_FORKS.items():
        os.environ.setdefault(name, value)
    from hotloop.gpu_runtime.grpc_front import server  # 0.1 s, 16 MB, seven threads: most sessions need none

    try:
        return await _first_free(config, port, lambda port: server.serve(config.host, port, on_request, active))
    except OSError as error:
        raise CannotListenError(_problem(config.host, port, error, "--grpc-port", "GrpcPortInUse")) from error


async def _first_free(config: RuntimeConfig, wanted: int, serve: Callable[[int], Awaitable[Server]]) -> Server:
    """Listen on the port that was asked for, or on the next free one."""
    last = wanted if config.port_is_fixed or not wanted else wanted + PORTS_TO_TRY
    for port in range(wanted, last + 1):
        try:
            return await serve(port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or port == last:
                raise
    raise AssertionError


def _problem(host: str, port: int, error: OSError, option: str, in_use: str) -> Problem:
    if error.errno == errno.EADDRINUSE:
        return Problem(
            in_use,
            f"Port {port} on {host} is in use by another program.",
            hint=f"choose another with {option}; without --strict-port the next free one is taken",
        )
    return Problem(
        type(error).__name__,
        f"Can't listen on {host}:{port}: {error.strerror or error}",
        hint=f"choose another address with --host and {option}",
    )
