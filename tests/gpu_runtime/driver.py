"""Drives a real runtime process as the agent does: a workspace on disk, frames on a socket pair, events back."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from hotloop import events
from hotloop.changes import content_digest
from hotloop.gpu_runtime.user_env import wire

E = TypeVar("E")


class Answer:
    """A response: status, headers in lower case, the body decoded if it is JSON."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def generation(self) -> int:
        return int(self.headers["x-hotloop-generation"])


class RuntimeDriver:
    """One runtime over one workspace folder. Use as a context manager: nothing of it outlives the block."""

    def __init__(self, folder: Path, files: dict[str, str], python: str = sys.executable, **config: Any) -> None:
        self.workspace = folder / "workspace"
        self.workspace.mkdir(parents=True, exist_ok=True)
        self.state = folder / "state"
        self._python = python
        self._config = config
        self._files: dict[str, str] = {}
        self._number = 0
        self._kept: dict[str, wire.Message] = {}
        self.events: list[events.Event] = []
        self._queue: queue.Queue[events.Event | None] = queue.Queue()
        self._write(files)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        finally:
            self._receiver.join(5)
            for message in self._kept.values():
                _close(message.fds)

    def start(self) -> None:
        """Start the runtime with the files as they are, giving back the models that an earlier one left."""
        self._queue = queue.Queue()
        ours, theirs = socket.socketpair()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "hotloop.gpu_runtime.main", "--control-fd", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        self._link = wire.Link(ours)
        self._receiver = threading.Thread(target=self._receive, args=(self._link, self._queue), daemon=True)
        self._receiver.start()
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("HOTLOOP", "PYTEST", "COVERAGE"))}
        self._send({
            "kind": "start",
            "config": {
                "root": str(self.workspace), "entry": "app.py", "python": self._python, "port": 0,
                "state": str(self.state), "shown_root": "/home/me/project", "environment": environment,
                **self._config,
            },
        })  # fmt: skip
        for message in self._kept.values():
            self._link.send({**message.header, "kind": "keep"}, message.payload, message.fds)
        self.announce(full=True)
        self.address = self.wait_for(events.RuntimeStarted).address

    def stop(self) -> None:
        """Ask the runtime to stop, and see that it does."""
        with contextlib.suppress(wire.LinkClosed, OSError):
            self._send({"kind": "stop"})
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise

    def _send(self, header: dict[str, Any]) -> None:
        self._link.send(header)

    def send(self, header: dict[str, Any], payload: bytes = b"") -> None:
        """Send the runtime a frame."""
        self._link.send(header, payload)

    def _receive(self, link: wire.Link, into: queue.Queue[events.Event | None]) -> None:
        try:
            while True:
                message = link.receive()
                if message.kind == "event":
                    into.put(events.from_json(message.header["event"]))
                elif message.kind == "keep":
                    if (before := self._kept.get(message.header["model"])) is not None:
                        _close(before.fds)
                    self._kept[message.header["model"]] = message
        except (wire.LinkClosed, OSError):
            into.put(None)
        finally:
            link.close()

    # --- the workspace ------------------------------------------------------------------------------------------

    def _write(self, files: dict[str, str | None]) -> dict[str, str | None]:
        changed: dict[str, str | None] = {}
        for path, text in files.items():
            target = self.workspace / path
            if text is None:
                target.unlink(missing_ok=True)
                self._files.pop(path, None)
                changed[path] = None
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            fresh = target.with_name(f".{target.name}.new")
            fresh.write_text(text, "utf-8")
            fresh.replace(target)
            self._files[path] = text
            changed[path] = content_digest(text.encode())
        return changed

    def announce(self, changed: dict[str, str | None] | None = None, *, full: bool = False) -> int:
        """Tell the runtime of a new revision; returns its number."""
        self._number += 1
        digests = {path: content_digest(text.encode()) for path, text in self._files.items()}
        self._send({
            "kind": "revision", "number": self._number, "full": full,
            "changed": digests if full else changed or {}, "applied_at_s": time.monotonic(),
        })  # fmt: skip
        return self._number

    def save(self, files: dict[str, str | None]) -> int:
        """Write files (None deletes) and announce them as one revision; returns its number."""
        return self.announce(self._write(files))

    # --- waiting ------------------------------------------------------------------------------------------------

    def next_event(self, timeout_s: float = 60) -> events.Event:
        """The next event; it is also kept in `events`."""
        event = self._queue.get(timeout=timeout_s)
        if event is None:
            msg = f"the runtime ended; its last events: {self.events[-5:]}"
            raise AssertionError(msg)
        self.events.append(event)
        return event

    def wait_for(self, kind: type[E], *, timeout_s: float = 60, **fields: Any) -> E:
        """Wait for an event of a type whose fields have the given values."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                event = self.next_event(max(0.01, deadline - time.monotonic()))
            except queue.Empty:
                seen = [e for e in self.events if not isinstance(e, events.RequestFinished | events.RequestsFinished)]
                msg = f"no {kind.__name__} {fields} in {timeout_s} s; saw {seen[-12:]}"
                raise AssertionError(msg) from None
            if isinstance(event, kind) and all(getattr(event, k) == v for k, v in fields.items()):
                return event

    def wait_reload(self, revision: int, timeout_s: float = 60) -> events.Ready | events.ReloadFailed:
        """Wait for a revision to be ready or to have failed."""
        while True:
            event = self.wait_any((events.Ready, events.ReloadFailed), timeout_s)
            if event.revision == revision:
                return event

    def wait_any(self, kinds: tuple[type[Any], ...], timeout_s: float = 60) -> Any:
        """Wait for an event of one of several types."""
        deadline = time.monotonic() + timeout_s
        while True:
            event = self.next_event(max(0.01, deadline - time.monotonic()))
            if isinstance(event, kinds):
                return event

    # --- using it -----------------------------------------------------------------------------------------------

    def call(self, endpoint: str, _headers: dict[str, str] | None = None, **arguments: Any) -> Answer:
        """Call an endpoint by its name with JSON arguments."""
        parts = urlsplit(self.address)
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
        try:
            headers = {"content-type": "application/json", **(_headers or {})}
            connection.request("POST", f"/{endpoint}", json.dumps(arguments), headers)
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def get(self, path: str) -> Answer:
        """GET a path."""
        parts = urlsplit(self.address)
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
        try:
            connection.request("GET", path)
            return Answer(connection.getresponse())
        finally:
            connection.close()

    @property
    def pid(self) -> int:
        """The runtime's own pid."""
        return self._process.pid

    def tree(self) -> dict[int, str]:
        """Every process below the runtime: pid and command line."""
        return descendants(self._process.pid)


def _close(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)


def descendants(pid: int) -> dict[int, str]:
    """Every living process below one: pid and command line."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if fields[0] != "Z":
                    parents[int(entry.name)] = int(fields[1])
    found: dict[int, str] = {}
    frontier = {pid}
    while frontier:
        frontier = {child for child, parent in parents.items() if parent in frontier and child not in found}
        for child in frontier:
            with contextlib.suppress(OSError):
                found[child] = (Path("/proc") / str(child) / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    return found


def kill(pid: int) -> None:
    """SIGKILL a process."""
    os.kill(pid, signal.SIGKILL)
