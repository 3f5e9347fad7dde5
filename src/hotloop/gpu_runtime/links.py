"""A socket that carries frames, on an event loop: nothing here ever blocks."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable
from typing import Any

from hotloop.gpu_runtime.user_env import wire
from hotloop.gpu_runtime.user_env.lending import Lender, Payload


class AsyncLink:
    """One end of a socket pair. It reads as soon as it is made, and calls back with each frame.

    Args:
        sock: The socket, which the link owns from now on.
        on_message: Called with each frame.
        on_closed: Called once, when the other side is gone or sent what is no frame; not after `close`.
        lender: Sends large payloads in shared memory, if the other end is one that can do with it.
    """

    def __init__(
        self,
        sock: socket.socket,
        on_message: Callable[[wire.Message], None],
        on_closed: Callable[[], None],
        lender: Lender | None = None,
    ) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._loop = asyncio.get_running_loop()
        self._on_message = on_message
        self._on_closed = on_closed
        self._reader = wire.FrameReader()
        self._lender = lender
        self._outgoing: deque[tuple[memoryview, tuple[int, ...]]] = deque()
        self._is_open = True
        self._loop.add_reader(sock.fileno(), self._readable)

    def send(self, header: dict[str, Any], payload: Payload = b"", fds: tuple[int, ...] = ()) -> bool:
        """Send one frame, now or as soon as the socket takes it; the descriptors stay the caller's.

        Returns:
            Whether the link is open. To a closed one nothing is sent.
        """
        if not self._is_open:
            return False
        data, lent = wire.prepare(header, payload, fds, self._lender)
        if not (self._outgoing or fds or lent):
            sent = self._send_now(data)
            if sent == len(data):
                return True
            self._outgoing.append((memoryview(data)[sent:], ()))
            self._loop.add_writer(self._socket.fileno(), self._flush)
            return True
        self._outgoing.append((memoryview(data), (*map(os.dup, fds), *lent)))
        if len(self._outgoing) == 1:
            self._flush()
        return True

    def close(self) -> None:
        """Close the socket; what was not sent yet is dropped."""
        if not self._is_open:
            return
        self._is_open = False
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        for _, fds in self._outgoing:
            _close_all(fds)
        self._outgoing.clear()
        self._socket.close()
        self._reader.close()
        if self._lender is not None:
            self._lender.close()

    def take_rest(self) -> None:
        """Read all that is there: what a process said last is heard before its end is told of."""
        while self._is_open and self._readable():
            pass

    def _readable(self) -> bool:
        """Read what fits; returns whether there was anything."""
        try:
            data, fds = wire.receive_with_fds(self._socket)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            data, fds = b"", []
        try:
            messages = self._reader.feed(data, fds) if data else []
        except wire.BadFrame:
            data, messages = b"", []
        for message in messages:
            if self._is_open:
                self._on_message(message)
        if not data:
            self._closed_by_peer()
        return bool(data)

    def _closed_by_peer(self) -> None:
        if self._is_open:
            self.close()
            self._on_closed()

    def _send_now(self, data: bytes) -> int:
        """Send what the socket takes now; gives how much that was."""
        try:
            return self._socket.send(data)
        except OSError:
            return 0  # it is full, or its other side is gone: the reader sees that end and says so

    def _flush(self) -> None:
        self._loop.remove_writer(self._socket.fileno())
        while self._outgoing:
            data, fds = self._outgoing[0]
            try:
                sent = wire.send_with_fds(self._socket, data, fds) if fds else self._socket.send(data)
            except (BlockingIOError, InterruptedError):
                self._loop.add_writer(self._socket.fileno(), self._flush)
                return
            except OSError:
                return  # the reader sees the end and says so
            _close_all(fds)
            if sent == len(data):
                self._outgoing.popleft()
            else:
                self._outgoing[0] = (data[sent:], ())


def _close_all(fds: tuple[int, ...]) -> None:
    for fd in fds:
        os.close(fd)
