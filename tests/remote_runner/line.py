"""A way to a real agent through a line that a test can slow down, cut and mend. It carries bytes and reads none."""

import asyncio
import contextlib
import tempfile
from collections import deque
from pathlib import Path

from hotloop.remote_runner.local import LocalWay

BLOCK_BYTES = 1 << 16


class Line:
    """A `Way`: each lane is a Unix socket of its own, whose bytes pass through this process.

    Attributes:
        delay_s: How long each byte takes, one way.
        cut_after_bytes: The connection that carries this many more bytes, both ways counted, breaks then.
        num_bytes: Carried so far.
    """

    name = "line"

    def __init__(self, state, *, num_lanes=1, delay_s=0.0, agent_arguments=()):
        self.num_lanes = num_lanes
        self.delay_s = delay_s
        self.cut_after_bytes = None
        self.num_bytes = 0
        self.num_dials = 0
        self._lit = asyncio.Event()
        self._lit.set()
        self._flows = asyncio.Event()  # of the connections made from now on
        self._flows.set()
        self._local = LocalWay(state, agent_arguments=agent_arguments)
        self._folder = tempfile.TemporaryDirectory(prefix="hotloop-line-")
        self._servers = []
        self._connections = set()
        self._torn = set()

    async def dial(self, lane=0):
        """As `Way.dial`; while the line is dark it takes for ever, as a real one does."""
        await self._lit.wait()
        target = (await self._local.dial()).removeprefix("unix:")
        self.num_dials += 1
        path = Path(self._folder.name) / f"{self.num_dials}-{lane}"
        self._servers.append(await asyncio.start_unix_server(lambda r, w: self._carry(target, r, w), path))
        return f"unix:{path}"

    @property
    def is_dark(self):
        """Whether bytes vanish and nobody is told, as when a cable is pulled; connections stay open."""
        return not self._lit.is_set()

    def darken(self):
        """Pull the cable."""
        self._lit.clear()

    def mend(self):
        """Put it back; a connection that lost bytes meanwhile carries nothing any more, which nobody is told."""
        self._lit.set()

    def freeze(self):
        """Have the bytes of all connections there are wait, as TCP's do in an outage; new connections are not held."""
        self._frozen, self._flows = self._flows, asyncio.Event()
        self._frozen.clear()
        self._flows.set()

    def thaw(self):
        """Let them go on."""
        self._frozen.set()

    def cut(self):
        """Break all connections, both sides see it."""
        for writer in list(self._connections):
            writer.transport.abort()

    async def close(self):
        """As `Way.close`."""
        for server in self._servers:
            server.close()
        self.cut()
        self._folder.cleanup()

    async def _carry(self, target, reader, writer):
        try:
            there, back = await asyncio.open_unix_connection(target)
        except OSError:  # the agent was killed meanwhile
            writer.transport.abort()
            return
        ends = {writer, back}
        self._connections |= ends
        try:
            await asyncio.gather(self._pump(reader, back, ends), self._pump(there, writer, ends))
        except asyncio.CancelledError:  # the test is over; asyncio would print it
            pass
        finally:
            self._connections -= ends
            for end in ends:
                end.transport.abort()

    async def _pump(self, source, sink, ends):
        loop, flows = asyncio.get_running_loop(), self._flows
        waiting, wake = deque(), asyncio.Event()

        async def deliver():
            while True:
                while not waiting:
                    wake.clear()
                    await wake.wait()
                due, data = waiting.popleft()
                await asyncio.sleep(due - loop.time())
                await flows.wait()
                sink.write(data)
                with contextlib.suppress(ConnectionError):  # the reader finds out too
                    await sink.drain()

        delivering = asyncio.create_task(deliver())
        with contextlib.suppress(OSError):
            while data := await source.read(BLOCK_BYTES):
                data = self._count(data, ends)
                if self.is_dark:
                    self._torn |= ends  # nothing behind a hole may arrive: the ends would not notice it
                if not ends & self._torn:
                    waiting.append((loop.time() + self.delay_s, data))
                    wake.set()
        delivering.cancel()
        for end in ends:
            end.transport.abort()

    def _count(self, data, ends):
        self.num_bytes += len(data)
        if self.cut_after_bytes is None:
            return data
        self.cut_after_bytes -= len(data)
        if self.cut_after_bytes >= 0:
            return data
        kept = data[: len(data) + self.cut_after_bytes]
        self.cut_after_bytes = None
        for end in ends:
            end.transport.abort()
        return kept
