"""This side of the exchange with a starting bridge: find the marker in what a shell prints, then frames."""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
from typing import TYPE_CHECKING, Any

from hotloop.errors import RunnerError
from hotloop.remote_runner.bootstrap.failures import Failure, Kind, explain_silence

if TYPE_CHECKING:
    from hotloop.remote_runner.host import HostProcess

MAX_NOISE_BYTES = 1 << 20
MAX_FRAME_BYTES = 1 << 20
BLOCK_BYTES = 1 << 18
ANSWER_TIMEOUT_S = 30.0
EXIT_TIMEOUT_S = 2.0  # of a process that ended its output


class Channel:
    """Messages to and from a process on a host. Afterwards its streams are the bridge's; `rest` came already."""

    def __init__(self, host_name: str, process: HostProcess, marker: str) -> None:
        self._name = host_name
        self._process = process
        self._marker = f"hotloop{marker}".encode()
        self._buffer = bytearray()

    @property
    def rest(self) -> bytes:
        """What came after the last message that was taken."""
        return bytes(self._buffer)

    async def open(self, program: bytes) -> None:
        """Wait until the runner's Python is there; it gets the program if it does not have it.

        Raises:
            Failure: There is no Python.
            RunnerError: Something else answered, or nothing.
        """
        kind = await self._find_marker()
        if kind == b"?":
            await self.write(program)
            kind = await self._find_marker()
        if kind == b"=":
            raise Failure(Kind.NO_INTERPRETER, await self._line(ANSWER_TIMEOUT_S))

    async def shell_status(self, asked_for: bytes, timeout_s: float) -> str:
        """Give what a shell says at its end; it gets what it asks for before.

        Raises:
            RunnerError: It ends without that.
        """
        kind = await self._find_marker()
        if kind == b"?":
            for start in range(0, len(asked_for), BLOCK_BYTES):
                await self.write(asked_for[start : start + BLOCK_BYTES])
            await self._find_marker(timeout_s)
        return await self._line(timeout_s)

    async def hear(self, timeout_s: float = ANSWER_TIMEOUT_S) -> dict[str, Any]:
        """Give the next message.

        Raises:
            Failure: It says that something failed.
            RunnerError: None came.
        """
        (size,) = struct.unpack(">I", await self._exactly(4, timeout_s))
        message: dict[str, Any] | None = None
        if size <= MAX_FRAME_BYTES:
            with contextlib.suppress(ValueError):
                message = json.loads(await self._exactly(size, timeout_s))
        if message is None:
            msg = f"{self._name} answered with what is no message of hotloop's."
            raise RunnerError(msg, hint="something there writes to the output of a command that does not ask for it")
        if message["kind"] == "failed":
            raise Failure(Kind(message.pop("code")), message.pop("message"), message)
        return message

    async def say(self, content: bytes = b"", **fields: Any) -> None:
        """Send a message and what comes with it."""
        data = json.dumps({**fields, "size": len(content)}).encode()
        await self.write(struct.pack(">I", len(data)) + data)
        for start in range(0, len(content), BLOCK_BYTES):
            await self.write(content[start : start + BLOCK_BYTES])

    async def write(self, data: bytes) -> None:
        """Send bytes.

        Raises:
            RunnerError: The process is gone.
        """
        try:
            await self._process.write(data)
        except OSError as error:
            raise await self._silence() from error

    async def _line(self, timeout_s: float) -> str:
        while b"\n" not in self._buffer:
            await self._more(timeout_s)
        return bytes(self._buffer).partition(b"\n")[0].decode(errors="replace").strip()

    async def _find_marker(self, timeout_s: float = ANSWER_TIMEOUT_S) -> bytes:
        """Give the byte after the marker; what came before is dropped."""
        while (found := self._buffer.find(self._marker)) < 0 or len(self._buffer) <= found + len(self._marker):
            if len(self._buffer) > MAX_NOISE_BYTES:
                raise await self._silence()
            await self._more(timeout_s)
        end = found + len(self._marker)
        kind = bytes(self._buffer[end : end + 1])
        del self._buffer[: end + 1]
        return kind

    async def _exactly(self, size: int, timeout_s: float) -> bytes:
        while len(self._buffer) < size:
            await self._more(timeout_s)
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    async def _more(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                data = await self._process.read()
        except TimeoutError:
            msg = f"{self._name} did not answer within {timeout_s:.0f} s."
            raise RunnerError(msg, hint=f"look at what a login there does: {self._name} may be overloaded") from None
        if not data:
            raise await self._silence()
        self._buffer += data

    async def _silence(self) -> RunnerError:
        code = None
        if len(self._buffer) <= MAX_NOISE_BYTES:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(EXIT_TIMEOUT_S):
                    code = await self._process.wait()
        return explain_silence(self._name, code, bytes(self._buffer), self._process.errors())
