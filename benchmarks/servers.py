"""A server under test: its process, its port, requests to it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

POLL_S = 0.005


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def request(port: int, path: str, body: dict[str, Any] | None = None) -> Any:
    """Send one request and return the JSON of the answer; raises as `request_bytes` does."""
    return json.loads(request_bytes(port, path, body))


def request_bytes(port: int, path: str, body: dict[str, Any] | None = None, timeout_s: float = 60) -> bytes:
    """Send one request, GET without a body, else POST, and return the answer's body.

    Raises:
        OSError: Nothing listens, or it hung up.
        http.client.HTTPException: The answer is none.
        ValueError: The status is not 200.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        content = None if body is None else json.dumps(body)
        headers = {"content-type": "application/json"}
        connection.request("GET" if body is None else "POST", path, content, headers)
        response = connection.getresponse()
        text = response.read()
        if response.status != 200:
            msg = f"{path} answered {response.status}: {text[:200]!r}"
            raise ValueError(msg)
        return text
    finally:
        connection.close()


def wait_until(check: Callable[[], bool], timeout_s: float, what: str) -> float:
    """Ask every few milliseconds until it is so; returns the moment, seconds. A server that is away counts as no.

    Raises:
        TimeoutError: It never was.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            if check():
                return time.monotonic()
        time.sleep(POLL_S)
    msg = f"{what}: not within {timeout_s:.0f} s"
    raise TimeoutError(msg)


def start(command: list[str], folder: Path, environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start a server in a process group of its own; what it writes goes to `log`."""
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def stop(process: subprocess.Popen[bytes], patience_s: float = 10, first: signal.Signals = signal.SIGINT) -> None:
    """End a server and what it started: ask by the signal `first`, then insist."""
    for number in (first, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)
