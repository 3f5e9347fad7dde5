# pyright: basic
"""A command over SSH: paramiko's channel, which blocks, as streams that a loop can wait for.

Three threads a command: what it writes, what it writes to stderr, and what is sent to it. Each waits for whoever takes its
bytes, so a slow reader slows the writer on the other machine. Basic type checks: paramiko has no types.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from paramiko import Channel

BLOCK_BYTES = 1 << 18
MAX_HELD_BYTES = 1 << 20  # received, and not read yet; beyond it the channel's window closes
MAX_QUEUED_BYTES = 1 << 17  # on their way to the channel; whoever writes more waits
MAX_KEPT_ERRORS_BYTES = 1 << 16
LOST = -1
ENDED_BY_SIGNAL = 255  # as ssh says it


class SshProcess:
    """As `host.HostProcess`. Of one event loop."""

    def __init__(self, channel: Channel, is_alive: Callable[[], bool]) -> None:
        """Begin to read.

        Args:
            channel: On which the command was started.
            is_alive: Whether the connection is still there.
        """
        self._channel = channel
        self._is_alive = is_alive
        self._loop = asyncio.get_running_loop()
        self._status: asyncio.Future[int] = self._loop.create_future()
        self._inbox: deque[bytes] = deque()
        self._arrived = asyncio.Event()
        self._is_at_end = False
        self._room = threading.Condition()
        self._held_bytes = 0
        self._is_closed = False
        self._errors = b""
        self._outbox: SimpleQueue[bytes | None] = SimpleQueue()
        self._queued_bytes = 0
        self._sent = asyncio.Event()
        self._failure: OSError | None = None
        for work in (self._receive, self._collect, self._send):
            threading.Thread(target=work, name=f"ssh {work.__name__}", daemon=True).start()

    async def write(self, data: bytes) -> None:
        """As `host.HostProcess.write`."""
        self._raise_failure()
        self._queued_bytes += len(data)
        self._outbox.put(data)
        while self._queued_bytes > MAX_QUEUED_BYTES:
            self._sent.clear()
            await self._sent.wait()
            self._raise_failure()

    async def end_input(self) -> None:
        """As `host.HostProcess.end_input`."""
        self._outbox.put(None)

    async def read(self) -> bytes:
        """As `host.HostProcess.read`."""
        while not self._inbox:
            if self._is_at_end:
                return b""
            self._arrived.clear()
            await self._arrived.wait()
        data = b"".join(self._inbox) if len(self._inbox) > 1 else self._inbox[0]
        self._inbox.clear()
        with self._room:
            self._held_bytes -= len(data)
            self._room.notify()
        return data

    def errors(self) -> bytes:
        """As `host.HostProcess.errors`."""
        return self._errors

    async def wait(self) -> int:
        """As `host.HostProcess.wait`."""
        return await asyncio.shield(self._status)

    def close(self) -> None:
        """As `host.HostProcess.close`."""
        if self._is_closed:
            return
        with self._room:
            self._is_closed = True
            self._room.notify()
        # In a thread: telling the host may wait for the connection.
        threading.Thread(target=self._close_channel, name="ssh close", daemon=True).start()

    def _close_channel(self) -> None:
        with contextlib.suppress(Exception):  # what is lost is closed
            self._channel.close()
        self._outbox.put(None)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._is_closed:
            raise BrokenPipeError

    # --- in threads

    def _tell(self, tell: Callable[..., Any], *values: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is over
            self._loop.call_soon_threadsafe(tell, *values)

    def _receive(self) -> None:
        data = b"-"
        while data:
            try:
                data = self._channel.recv(BLOCK_BYTES)
            except (OSError, EOFError):
                data = b""
            with self._room:
                self._held_bytes += len(data)
                self._tell(self._take, data)
                self._room.wait_for(lambda: self._held_bytes <= MAX_HELD_BYTES or self._is_closed)

    def _collect(self) -> None:
        with contextlib.suppress(OSError, EOFError):
            while data := self._channel.recv_stderr(BLOCK_BYTES):
                self._errors = (self._errors + data)[-MAX_KEPT_ERRORS_BYTES:]
        status = self._channel.recv_exit_status()
        if status < 0 and self._is_alive() and not self._is_closed:
            status = ENDED_BY_SIGNAL
        self._tell(self._end, status if status >= 0 else LOST)

    def _send(self) -> None:
        try:
            while (data := self._outbox.get()) is not None:
                view = memoryview(data)
                while view:
                    sent = self._channel.send(bytes(view[:BLOCK_BYTES]))
                    if not sent:
                        raise BrokenPipeError
                    view = view[sent:]
                self._tell(self._note_sent, len(data))
            self._channel.shutdown_write()
        except Exception as error:  # noqa: BLE001 - paramiko raises OSError, EOFError and its own
            self._tell(self._fail, error if isinstance(error, OSError) else BrokenPipeError(str(error)))

    # --- in the loop

    def _take(self, data: bytes) -> None:
        if data:
            self._inbox.append(data)
        else:
            self._is_at_end = True
        self._arrived.set()

    def _note_sent(self, num_bytes: int) -> None:
        self._queued_bytes -= num_bytes
        self._sent.set()

    def _fail(self, error: OSError) -> None:
        self._failure = error
        self._sent.set()

    def _end(self, status: int) -> None:
        if not self._status.done():
            self._status.set_result(status)
