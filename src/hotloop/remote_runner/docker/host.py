# pyright: basic
"""A running container as a `Host`: commands by exec, over a connection of their own to the engine.

Basic type checks: the SDK has no types. It makes the exec; its streams are read here, since it gives no more than a
blocking socket, loses what came with the answer's head, and can't close the input alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from hotloop.errors import RunnerError

if TYPE_CHECKING:
    from collections.abc import Callable

    from hotloop.remote_runner.docker.engine import Engine

BLOCK_BYTES = 1 << 18
MAX_KEPT_ERRORS_BYTES = 1 << 16
EXIT_POLL_S = 0.02
EXIT_TRIES = 100
CONTAINER_TRIES = 25
OPEN_TIMEOUT_S = 30.0
_STDERR = 2
_NO_COMMAND = 127


class DockerHost:
    """One container, reached through an engine; the connection to that is its own."""

    def __init__(self, name: str, engine: Engine, container_id: str) -> None:
        self.name = name
        self._engine = engine
        self._container_id = container_id
        self._processes: set[DockerProcess] = set()

    async def start(self, command: str) -> DockerProcess:
        """As `host.Host.start`, by the container's own ``sh``."""
        api = self._engine.client.api
        try:
            made = await asyncio.to_thread(
                api.exec_create, self._container_id, ["sh", "-c", command], stdin=True, stdout=True, stderr=True
            )
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                connection = await _hijack(self._engine.url, f"/exec/{made['Id']}/start")
        except Exception as error:
            await asyncio.to_thread(self._explain, error)
            raise
        process = DockerProcess(*connection, lambda: api.exec_inspect(made["Id"])["ExitCode"], self._check_running)
        self._processes.add(process)
        return process

    async def close(self) -> None:
        """As `host.Host.close`. The container runs on."""
        for process in self._processes:
            process.close()
        for process in self._processes:
            await process.closed()
        self._processes.clear()
        await asyncio.to_thread(self._engine.close)

    def _check_running(self) -> None:
        """Raise why the container has ended, if it has."""
        with self._engine.asked_for(self.name):
            state = self._engine.client.api.inspect_container(self._container_id)["State"]
        if not state["Running"]:
            raise stopped(self.name, state)

    def _explain(self, error: Exception) -> None:
        """Say why no command runs: most often the container is not there any more."""
        with self._engine.asked_for(self.name):
            state = self._engine.client.api.inspect_container(self._container_id)["State"]
            if state["Running"]:
                raise error
        raise stopped(self.name, state) from error


def stopped(name: str, state: dict[str, Any]) -> RunnerError:
    """Say why a container does not run."""
    if state.get("OOMKilled"):
        msg = f"The container of {name} was killed: it used more memory than it may."
        return RunnerError(msg, hint="give it more, or load less; starting again makes it run again")
    if state.get("ExitCode") == _NO_COMMAND:
        msg = f"The image of {name} has no sh: hotloop runs commands by it."
        return RunnerError(msg, hint="take an image with a shell, such as python:3.12-slim")
    why = state.get("Error") or f"exit code {state.get('ExitCode')}"
    return RunnerError(f"The container of {name} does not run: {why}.", hint="starting again makes it run again")


class DockerProcess:
    """A command in a container. stdout and stderr come in frames of one stream."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        exit_code: Callable[[], int | None],
        check_running: Callable[[], object],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._exit_code = exit_code
        self._check_running = check_running
        self._errors = bytearray()
        self._is_over = False

    async def write(self, data: bytes) -> None:
        """As `host.HostProcess.write`."""
        if self._is_over or self._writer.is_closing():
            raise BrokenPipeError
        self._writer.write(data)
        await self._writer.drain()

    async def end_input(self) -> None:
        """As `host.HostProcess.end_input`."""
        with contextlib.suppress(OSError):
            if self._writer.can_write_eof():
                self._writer.write_eof()

    async def read(self) -> bytes:
        """As `host.HostProcess.read`."""
        try:
            while True:
                stream, size = struct.unpack(">BxxxI", await self._reader.readexactly(8))
                data = await self._reader.readexactly(size)
                if stream != _STDERR:
                    return data
                self._errors = (self._errors + data)[-MAX_KEPT_ERRORS_BYTES:]
        except (asyncio.IncompleteReadError, OSError):
            self._is_over = True
            return b""

    def errors(self) -> bytes:
        """As `host.HostProcess.errors`."""
        return bytes(self._errors)

    async def wait(self) -> int:
        """As `host.HostProcess.wait`.

        Raises:
            RunnerError: The container ended, or the engine can't be asked; says why.
        """
        code = await self._waited()
        for _ in range(CONTAINER_TRIES):  # the engine knows of the command's end before the container's, which gives it
            await asyncio.to_thread(self._check_running)  # any code: -1, 126, 127 and 137 were seen
            await asyncio.sleep(EXIT_POLL_S)
        return code

    async def _waited(self) -> int:
        while not self._is_over:
            await self.read()
        try:
            for _ in range(EXIT_TRIES):
                if (code := await asyncio.to_thread(self._exit_code)) is not None:
                    return code
                await asyncio.sleep(EXIT_POLL_S)  # the stream ends just before the engine knows
        except Exception:  # noqa: BLE001 - whatever it was, the engine can't be asked
            return -1
        return -1

    def close(self) -> None:
        """As `host.HostProcess.close`."""
        self._writer.close()

    async def closed(self) -> None:
        """Wait until nothing of it is left here."""
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


async def _hijack(url: str, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Send a request after which the connection is the command's streams.

    Raises:
        OSError: The engine can't be reached, or it refuses.
    """
    reader, writer = await _open(url)
    body = b'{"Detach":false,"Tty":false}'
    head = (
        f"POST {path} HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    try:
        answer = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        writer.close()
        msg = "the engine closed the connection"
        raise ConnectionError(msg) from error
    status = answer.split(None, 2)[1]
    if status not in {b"101", b"200"}:
        said = (await reader.read(2000)).decode(errors="replace").strip()
        writer.close()
        msg = f"the engine answered {status.decode()}: {said}"
        raise ConnectionError(msg)
    return reader, writer


async def _open(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    place = urlsplit(url)
    if place.scheme == "unix":
        return await asyncio.open_unix_connection(place.path, limit=BLOCK_BYTES)
    reader, writer = await asyncio.open_connection(place.hostname, place.port or 2375, limit=BLOCK_BYTES)
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return reader, writer
