"""A server that answers as a test says, over a real socket, and keeps what it was sent."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Self

CLOSE = b"<close>"  # in a script: close the connection instead of answering
HOLD = b"<hold>"  # answer nothing until the server ends


def ok(body: bytes, kind: str = "application/json", *more: str) -> bytes:
    return answer(200, body, f"content-type: {kind}", *more)


def answer(status: int, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Whatever", *headers, f"content-length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


def chunked(*pieces: bytes, kind: str = "application/x-ndjson") -> bytes:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    return head + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (*pieces, b""))


class Scripted:
    """Answers the requests in order, over however many connections they come.

    Attributes:
        requests: Head and body of each.
        num_connections: How many were opened.
    """

    def __init__(self, *script: bytes) -> None:
        self._script = list(script)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.requests: list[tuple[str, bytes]] = []
        self.num_connections = 0
        self.closed_by_client = threading.Event()
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        # Closing alone would wake nobody who waits in accept or recv, and tests count the threads of their process.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._join(self._threads[0])  # from here on none is added
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads[1:]:
            self._join(thread)
        self._listener.close()

    def _join(self, thread: threading.Thread) -> None:
        thread.join(10)
        assert not thread.is_alive()

    def _start(self, target: Callable[..., None], *arguments: socket.socket) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def header(self, name: str, number: int = -1) -> str:
        """Give a header of a request, empty if it had none."""
        for line in self.requests[number][0].split("\r\n")[1:]:
            key, _, value = line.partition(": ")
            if key == name:
                return value
        return ""

    def line(self, number: int = -1) -> str:
        return self.requests[number][0].split("\r\n")[0]

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.num_connections += 1
            self._open.append(sock)
            self._start(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        try:
            while (reply := self._reply_to(sock)) not in {None, CLOSE}:
                if reply != HOLD:
                    sock.sendall(reply)
            if reply is None:
                self.closed_by_client.set()
        except OSError:
            self.closed_by_client.set()
        sock.close()

    def _reply_to(self, sock: socket.socket) -> bytes | None:
        data = b""
        while b"\r\n\r\n" not in data:
            piece = sock.recv(65536)
            if not piece:
                return None
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        text = head.decode("latin-1")
        length = next((int(ln[16:]) for ln in text.split("\r\n") if ln.startswith("content-length: ")), 0)
        while len(body) < length:
            body += sock.recv(65536)
        with self._lock:
            self.requests.append((text, body))
            return self._script.pop(0) if self._script else CLOSE
