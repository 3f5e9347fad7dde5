"""A way to an agent on any machine that runs commands for us: a bridge process there, a Unix socket here, bytes between."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from hotloop.errors import HotloopError, RunnerError
from hotloop.remote_runner.bootstrap.install import Bridge, reach_agent
from hotloop.remote_runner.bootstrap.progress import Phase, Progress, Report, nobody
from hotloop.remote_runner.bootstrap.request import Options

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hotloop.remote_runner.host import Host

BLOCK_BYTES = 1 << 18
REUSE_WITHIN_S = 5.0  # a connection that was sound so lately is taken again
REUSE_TIMEOUT_S = 5.0
EXIT_TIMEOUT_S = 2.0


class HostWay:
    """A way through connections to a host, one a lane.

    A dial gives a socket of its own. Its connection is closed when whoever connected there has gone and no dial came
    that could take it over: a new connection may be tried while the old one is still in use.
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
        self._folder: Path | None = None
        self._lines: set[_Line] = set()
        self._idle: dict[int, _Idle] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._num_dials = 0

    async def dial(self, lane: int = 0) -> str:
        """As `way.Way.dial`."""
        line = await self._reuse(lane) or await self._open(lane)
        self._lines.add(line)
        return f"unix:{line.path}"

    async def close(self) -> None:
        """As `way.Way.close`."""
        for line in list(self._lines):
            await line.close()
        for idle in self._idle.values():
            await idle.host.close()
        self._idle.clear()
        await asyncio.gather(*self._closing)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    async def _reuse(self, lane: int) -> _Line | None:
        """Take a connection whose bridge ended well: the agent ended, or the client turned to another version's."""
        idle = self._idle.pop(lane, None)
        if idle is None:
            return None
        if time.monotonic() - idle.since_s < REUSE_WITHIN_S:
            with contextlib.suppress(HotloopError, OSError, TimeoutError):
                bridge = await asyncio.wait_for(reach_agent(idle.host, self._options, self._report), REUSE_TIMEOUT_S)
                return self._line(lane, idle.host, bridge)
        await idle.host.close()
        return None

    async def _open(self, lane: int) -> _Line:
        self._report(Progress(self.name, Phase.CONNECTING))
        host = await self._connect(lane)
        try:
            bridge = await reach_agent(host, self._options, self._report)
        except BaseException:
            await host.close()
            raise
        return self._line(lane, host, bridge)

    def _line(self, lane: int, host: Host, bridge: Bridge) -> _Line:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="hotloop-way-"))  # 0700
        self._num_dials += 1
        path = self._folder / str(self._num_dials)
        return _Line(path, host, bridge, self._options, lambda line: self._take_back(lane, line))

    def _take_back(self, lane: int, line: _Line) -> None:
        self._lines.discard(line)
        if line.is_sound and lane not in self._idle:
            self._idle[lane] = _Idle(line.host, time.monotonic())
        else:
            closing = asyncio.create_task(line.host.close(), name=f"close {self.name}")
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)


class _Idle:
    """A connection that nobody uses just now."""

    def __init__(self, host: Host, since_s: float) -> None:
        self.host = host
        self.since_s = since_s


class _Line:
    """One dial: a listening socket, and a bridge on the host for each connection to it.

    Attributes:
        is_sound: Whether the host's connection worked to the last.
    """

    def __init__(self, path: Path, host: Host, bridge: Bridge, options: Options, over: Callable[[_Line], None]) -> None:
        self.path = path
        self.host = host
        self.is_sound = True
        self._is_over = False
        self._ready: Bridge | None = bridge
        self._options = options
        self._over = over
        self._pumps: set[asyncio.Task[None]] = set()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen(8)
        self._listener.setblocking(False)
        self._accepting = asyncio.create_task(self._accept(), name=f"accept {path.name}")

    async def close(self) -> None:
        """End all connections through it."""
        tasks = [self._accepting, *self._pumps]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.is_sound = False
        self._end()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            connection, _ = await loop.sock_accept(self._listener)
            connection.setblocking(False)
            pump = asyncio.create_task(self._serve(connection), name=f"pump {self.path.name}")
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _serve(self, connection: socket.socket) -> None:
        with connection:
            bridge, self._ready = self._ready, None
            try:
                bridge = bridge or await reach_agent(self.host, self._options)
                self.is_sound = await pump(connection, bridge) >= 0 and self.is_sound
            except (RunnerError, OSError):
                self.is_sound = False
        if self._pumps == {asyncio.current_task()}:
            self._accepting.cancel()
            self._end()

    def _end(self) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._listener.close()
        self.path.unlink(missing_ok=True)
        if self._ready is not None:
            self._ready.process.close()
            self._ready = None
        self._over(self)


async def pump(connection: socket.socket, bridge: Bridge) -> int:
    """Pass bytes between a socket and a bridge until either ends. Each direction waits for who takes its bytes.

    Returns:
        The bridge's exit status; -1 if the connection to the host was lost.
    """
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

    tasks = [asyncio.create_task(up(), name="pump up"), asyncio.create_task(down(), name="pump down")]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        with contextlib.suppress(TimeoutError):
            return await asyncio.wait_for(process.wait(), EXIT_TIMEOUT_S)
        return -1
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        process.close()
