# pyright: basic
"""A `Host` over one SSH connection. Basic type checks: paramiko has no types.

paramiko's channels block, so each command has a thread that reads and one that writes. Small writes go out from the event
loop itself if the connection takes them at once: a thread's turn would cost more than the write.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import select
import threading
from typing import TYPE_CHECKING, Any

from hotloop.errors import RunnerError

if TYPE_CHECKING:
    from collections.abc import Callable

    from paramiko import Channel, Transport

BLOCK_BYTES = 1 << 18
MAX_WAITING_BYTES = 1 << 20  # in each direction of a command
MAX_ERROR_BYTES = 64 << 10
SMALL_BYTES = 16 << 10
OPEN_TIMEOUT_S = 15.0


class SshHost:
    """One connection. All commands of it share it."""

    def __init__(self, name: str, transport: Transport, below: tuple[Any, ...] = ()) -> None:
        """Take over an authenticated connection.

        Args:
            name: The runner's.
            transport: The connection.
            below: What it goes through, closed after it.
        """
        self.name = name
        self._transport = transport
        self._below = below

    async def start(self, command: str) -> SshProcess:
        """As `host.Host.start`."""
        channel = await asyncio.to_thread(self._open, command)
        return SshProcess(channel, self._transport.sock)

    def _open(self, command: str) -> Channel:
        import paramiko

        try:
            channel = self._transport.open_session(timeout=OPEN_TIMEOUT_S)
            channel.exec_command(command)
        except (paramiko.SSHException, EOFError, OSError) as error:
            if not self._transport.is_active():
                msg = f"The connection to {self.name} is lost: {error or 'it was closed'}"
                raise RunnerError(msg) from error
            msg = f"{self.name} lets nobody run commands: {error}"
            hint = "its sshd may force a command, or allow few sessions (MaxSessions): try ssh HOST true"
            raise RunnerError(msg, hint=hint) from error
        return channel

    async def close(self) -> None:
        """As `host.Host.close`."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._transport.close()
        for each in self._below:
            with contextlib.suppress(OSError, EOFError):
                each.close()


class SshProcess:
    """A command that runs over a channel of the connection."""

    def __init__(self, channel: Channel, sock: Any) -> None:
        self._channel = channel
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._status: asyncio.Future[int] = self._loop.create_future()
        self._errors = b""
        self._read: asyncio.Queue[bytes] = asyncio.Queue()
        self._reading = _Window(MAX_WAITING_BYTES)
        self._is_at_end = False
        self._to_write: queue.SimpleQueue[bytes | Callable[[], object]] = queue.SimpleQueue()
        self._unwritten = 0
        self._written = asyncio.Event()
        self._is_lost = False
        for work in (self._read_output, self._read_errors, self._write_input):
            threading.Thread(target=work, name=f"ssh {work.__name__}", daemon=True).start()

    # --- in the loop

    async def write(self, data: bytes) -> None:
        """As `host.HostProcess.write`."""
        if self._is_lost:
            raise BrokenPipeError
        if self._write_at_once(data):
            return
        self._unwritten += len(data)
        self._to_write.put(data)
        while self._unwritten > MAX_WAITING_BYTES and not self._is_lost:
            self._written.clear()
            await self._written.wait()

    def _write_at_once(self, data: bytes) -> bool:
        """Send a small piece if nothing waits before it and neither window nor socket would have it wait."""
        channel = self._channel
        if len(data) > SMALL_BYTES or self._unwritten or channel.out_window_size < len(data):
            return False
        try:
            poll = select.poll()  # select() refuses descriptors above 1023
            poll.register(self._sock.fileno(), select.POLLOUT)
            if not poll.poll(0):
                return False
            channel.sendall(data)
        except (OSError, AttributeError) as error:  # a proxy command has no descriptor of its own
            if isinstance(error, AttributeError):
                return False
            raise
        return True

    async def end_input(self) -> None:
        """As `host.HostProcess.end_input`."""
        self._to_write.put(self._channel.shutdown_write)

    async def read(self) -> bytes:
        """As `host.HostProcess.read`."""
        if self._is_at_end:
            return b""
        data = await self._read.get()
        self._reading.give_back(len(data))
        self._is_at_end = not data
        return data

    def errors(self) -> bytes:
        """As `host.HostProcess.errors`."""
        return self._errors

    async def wait(self) -> int:
        """As `host.HostProcess.wait`."""
        return await asyncio.shield(self._status)

    def close(self) -> None:
        """As `host.HostProcess.close`."""
        self._reading.open()
        self._to_write.put(self._end)

    # --- in threads

    def _read_output(self) -> None:
        with contextlib.suppress(OSError, EOFError):
            while data := self._channel.recv(BLOCK_BYTES):
                self._tell(self._read.put_nowait, data)
                self._reading.take(len(data))
        self._tell(self._read.put_nowait, b"")
        status = self._channel.recv_exit_status()  # -1 if the connection was lost before
        self._tell(self._ended, status)

    def _read_errors(self) -> None:
        with contextlib.suppress(OSError, EOFError):
            while data := self._channel.recv_stderr(BLOCK_BYTES):
                self._errors = (self._errors + data)[-MAX_ERROR_BYTES:]

    def _write_input(self) -> None:
        while True:
            work = self._to_write.get()
            try:
                if isinstance(work, bytes):
                    self._channel.sendall(work)
                    self._tell(self._wrote, len(work))
                else:
                    work()
            except (OSError, EOFError):
                self._tell(self._lost)
            if work == self._end:
                return

    def _end(self) -> None:
        self._channel.close()

    def _tell(self, what: Callable[..., object], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is over
            self._loop.call_soon_threadsafe(what, *arguments)

    # --- told by threads, in the loop

    def _ended(self, status: int) -> None:
        if not self._status.done():
            self._status.set_result(status)
        self._lost()
        self._to_write.put(self._end)

    def _wrote(self, size_bytes: int) -> None:
        self._unwritten -= size_bytes
        self._written.set()

    def _lost(self) -> None:
        self._is_lost = True
        self._written.set()


class _Window:
    """Has a thread wait while more was handed on than was taken."""

    def __init__(self, size_bytes: int) -> None:
        self._left = size_bytes
        self._changed = threading.Condition()

    def take(self, size_bytes: int) -> None:
        with self._changed:
            self._left -= size_bytes
            while self._left < 0:
                self._changed.wait()

    def give_back(self, size_bytes: int) -> None:
        with self._changed:
            self._left += size_bytes
            self._changed.notify()

    def open(self) -> None:
        """Let everything pass: nobody reads any more."""
        self.give_back(1 << 62)
