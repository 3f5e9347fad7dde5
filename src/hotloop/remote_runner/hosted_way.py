"""A way to an agent on any machine that runs commands for us: a bridge process there, a Unix socket here, bytes between."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from typing import TYPE_CHECKING

from hotloop.errors import RunnerError
from hotloop.remote_runner.bootstrap.install import Bridge, reach_agent
from hotloop.remote_runner.bootstrap.progress import Phase, Progress, Report, nobody
from hotloop.remote_runner.bootstrap.request import Options, wanted_name
from hotloop.remote_runner.private_folder import PrivateFolder

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from hotloop.remote_runner.host import Host

BLOCK_BYTES = 1 << 18
REST_TIMEOUT_S = 2.0
FORGOTTEN_S = 30.0


class HostWay:
    """A way through connections to a host, one a lane.

    Each dial makes a connection and a socket of its own: a new one may be tried while the old one is still in use. It is
    closed when whoever connected to the socket has gone.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[[int], Awaitable[Host]],
        *,
        num_lanes: int = 2,
        options: Options | None = None,
        report: Report = nobody,
    ) -> None:
        """Prepare; nothing is connected.

        Args:
            name: The runner's.
            connect: Makes a connection for a lane; raises RunnerError.
            num_lanes: How many connections are worth having.
            options: What is to be on the runner, and where.
            report: Is told what is being done.
        """
        self.name = name
        self.num_lanes = num_lanes
        self._connect = connect
        self._options = options or Options()
        self._report = report
        self._folder: PrivateFolder | None = None
        self._lines: set[_Line] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._num_dials = 0
        self._reached = ""

    async def dial(self, lane: int = 0) -> str:
        """As `way.Way.dial`."""
        if lane == 0 and self._reached:
            address, self._reached = self._reached, ""
            return address
        self._report(Progress(self.name, Phase.CONNECTING))
        # Naming what is to be there reads some files, which is done by the time that the host answers.
        naming = asyncio.get_running_loop().run_in_executor(None, wanted_name, self._options.python)
        host = await self._connect(lane)
        try:
            await naming
            bridge = await reach_agent(host, self._options, self._report)
        except BaseException:
            await host.close()
            raise
        line = self._line(host, bridge)
        self._lines.add(line)  # before anything is waited for: whoever dials may be cancelled
        for forgotten in [other for other in self._lines if other.is_forgotten()]:
            await forgotten.close()
        return f"unix:{line.path}"

    async def reach(self) -> None:
        """Connect for the next dial of lane 0, while there is still somebody to ask and to tell.

        Raises:
            RunnerError: As for `dial`.
        """
        self._reached = await self.dial()

    async def connect(self) -> Host:
        """Give a connection of its own, to run commands by.

        Raises:
            RunnerError: The host can't be reached; says why and what to do.
        """
        return await self._connect(0)

    async def close(self) -> None:
        """As `way.Way.close`."""
        for line in list(self._lines):
            await line.close()
        await asyncio.gather(*self._closing)
        if self._folder is not None:
            self._folder.close()
            self._folder = None

    def _line(self, host: Host, bridge: Bridge) -> _Line:
        if self._folder is None:
            self._folder = PrivateFolder()
        self._num_dials += 1
        path = self._folder.path / str(self._num_dials)
        return _Line(path, host, bridge, self._options, self._let_go)

    def _let_go(self, line: _Line) -> None:
        self._lines.discard(line)
        closing = asyncio.create_task(line.host.close(), name=f"close {self.name}")
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)


class _Line:
    """One dial: a listening socket, and a bridge on the host for each connection to it."""

    def __init__(self, path: Path, host: Host, bridge: Bridge, options: Options, over: Callable[[_Line], None]) -> None:
        self.path = path
        self.host = host
        self._since_s = time.monotonic()
        self._is_over = False
        self._ready: Bridge | None = bridge
        self._options = options
        self._over = over
        self._pumps: set[asyncio.Task[None]] = set()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen(8)
        self._listener.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._listener, self._accept)

    def is_forgotten(self) -> bool:
        """Whether nobody ever connected to it, though there was time."""
        return self._ready is not None and time.monotonic() - self._since_s > FORGOTTEN_S

    async def close(self) -> None:
        """End all connections through it."""
        await _cancelled(*self._pumps)
        self._end()

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionAbortedError):  # whoever came is gone again
            connection, _ = self._listener.accept()
            connection.setblocking(False)
            serving = asyncio.create_task(self._serve(connection), name=f"pump {self.path.name}")
            self._pumps.add(serving)
            serving.add_done_callback(self._pumps.discard)

    async def _serve(self, connection: socket.socket) -> None:
        bridge, self._ready = self._ready, None
        try:
            with connection, contextlib.suppress(RunnerError, OSError):
                await pump(connection, bridge or await reach_agent(self.host, self._options))
        finally:
            if self._pumps == {asyncio.current_task()}:
                self._end()

    def _end(self) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._loop.remove_reader(self._listener)
        self._listener.close()
        self.path.unlink(missing_ok=True)
        if self._ready is not None:
            self._ready.process.close()
            self._ready = None
        self._over(self)


async def pump(connection: socket.socket, bridge: Bridge) -> None:
    """Pass bytes between a socket and a bridge until either ends. Each direction waits for who takes its bytes."""
    loop = asyncio.get_running_loop()
    process = bridge.process

    async def up() -> None:
        with contextlib.suppress(OSError):
            while data := await loop.sock_recv(connection, BLOCK_BYTES):
                await process.write(data)
            await process.end_input()

    async def down() -> None:
        with contextlib.suppress(OSError):
            data = bridge.rest or await process.read()
            while data:
                await loop.sock_sendall(connection, data)
                data = await process.read()

    uploading = asyncio.create_task(up(), name="pump up")
    downloading = asyncio.create_task(down(), name="pump down")
    try:
        await asyncio.wait({uploading, downloading}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({downloading}, timeout=REST_TIMEOUT_S)  # what is under way still arrives
    finally:
        await _cancelled(uploading, downloading)
        process.close()


async def _cancelled(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
