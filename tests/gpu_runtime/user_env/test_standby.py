"""What a standby does while nothing is asked of it."""

from __future__ import annotations

import socket
import threading
from typing import Any

from hotloop.gpu_runtime.user_env import wire
from hotloop.gpu_runtime.user_env.worker import Worker


class Link:
    """Has a message after the first file was compiled, and "go" when the standby says that it is warm."""

    def __init__(self, compiled: list[str]) -> None:
        self._compiled, self._messages = compiled, [wire.Message({"kind": "noted"}, b"", ())]
        self.socket, self._other = socket.socketpair()

    @property
    def has_message(self) -> bool:
        return len(self._compiled) == 1 and bool(self._messages)

    def fileno(self) -> int:
        return self.socket.fileno()

    def receive(self) -> wire.Message:
        return self._messages.pop()

    def send(self, header: dict[str, Any], *_: Any) -> None:
        self._messages.append(wire.Message({"kind": "go"}, b"", ()))


class Files:
    def __init__(self) -> None:
        self.compiled: list[str] = []

    def precompile(self, path: str) -> None:
        self.compiled.append(path)


def test_a_message_amid_the_compiling_leaves_no_file_out():
    worker: Any = Worker.__new__(Worker)
    worker._project = files = Files()
    worker._link = Link(files.compiled)
    worker._boot = {"sources": ["app.py", "a.py", "b.py"], "pages": []}
    worker._rehearsed = None
    worker._lock = threading.Lock()

    assert worker.stand_by().kind == "go"
    assert files.compiled == ["app.py", "a.py", "b.py"]
