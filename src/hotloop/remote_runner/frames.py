"""Frames over a socket inside asyncio: what the agent and a runtime say to each other. Descriptors travel along."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from typing import TYPE_CHECKING, Any

from hotloop.gpu_runtime.user_env.wire import FrameReader, Message, pack, receive_with_fds, send_with_fds

if TYPE_CHECKING:
    from collections.abc import Callable


class FrameSocket:
    """One end of a stream socket. Sends at once when the socket takes it, else when it can; never blocks."""

    def __init__(self, sock: socket.socket, on_message: Callable[[Message], None]) -> None:
        """Take over a connected socket and read from it in the running loop."""
        sock.setblocking(False)
        self._socket = sock
        self._on_message = on_message
        self._reader = FrameReader()
        self._waiting: deque[tuple[memoryview, tuple[int, ...]]] = deque()
        self._loop = asyncio.get_running_loop()
        self._is_open = True
        self._loop.add_reader(sock, self.drain)

    def send(self, header: dict[str, Any], payload: bytes = b"", fds: tuple[int, ...] = ()) -> None:
        """Send one frame; nothing happens once the other side is gone. The descriptors stay the caller's."""
        if not self._is_open:
            return
        if fds:
            header = {**header, "fds": len(fds)}
        self._waiting.append((memoryview(pack(header, payload)), tuple(os.dup(fd) for fd in fds)))
        if len(self._waiting) == 1:
            self._flush()

    def drain(self) -> None:
        """Read all that is there and hand it on."""
        while self._is_open:
            try:
                data, fds = receive_with_fds(self._socket)
            except BlockingIOError:
                return
            except OSError:
                data, fds = b"", []
            if not data:
                self.close()
                return
            for message in self._reader.feed(data, fds):
                self._on_message(message)

    def close(self) -> None:
        """Close the socket; the other side sees the end."""
        if not self._is_open:
            return
        self._is_open = False
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        while self._waiting:
            _close_all(self._waiting.popleft()[1])

    def _flush(self) -> None:
        while self._waiting:
            data, fds = self._waiting[0]
            try:
                sent = send_with_fds(self._socket, data, fds) if fds else self._socket.send(data)
            except BlockingIOError:
                self._loop.add_writer(self._socket, self._flush)
                return
            except OSError:
                self.close()
                return
            _close_all(fds)
            if sent == len(data):
                self._waiting.popleft()
            else:
                self._waiting[0] = (data[sent:], ())
        self._loop.remove_writer(self._socket)


def _close_all(fds: tuple[int, ...]) -> None:
    for fd in fds:
        os.close(fd)
