"""Other terminals reach a running `dev serve` here: one JSON line each way over a Unix socket of the user's own."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import socket
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hotloop.errors import HotloopError, RunnerError, UsageError
from hotloop.remote_runner.places import make_private, socket_path

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    Answer = Callable[[Any], Awaitable[dict[str, Any]]]
    Watch = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

ANSWER_TIMEOUT_S = 10.0
CAUGHT_UP = "caught_up"  # the key of a line: a newcomer has all that was told before, what follows happens now
MAX_LINE_BYTES = 1 << 20


def state_folder() -> Path:
    """Hotloop's own folder on this machine."""
    given = os.environ.get("HOTLOOP_STATE_DIR")
    if given:
        return Path(given).expanduser().absolute()
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home else Path.home() / ".local" / "state") / "hotloop"


def project_id(project: Path, *, role: str = "serve") -> str:
    """Name a project's session: the same for the same folder; `run` has one of its own."""
    return hashlib.sha256(f"{role}:{project.resolve()}".encode("utf-8", "surrogateescape")).hexdigest()[:16]


def control_path(state: Path, session_id: str) -> Path:
    """The socket of a session's client."""
    make_private(state)
    agent_socket = socket_path(state)
    make_private(agent_socket.parent)
    return agent_socket.with_name(f"c{session_id[:10]}")


@asynccontextmanager
async def listening(
    path: Path, answer: Answer, watch: Watch | None = None, *, is_taking: bool = False
) -> AsyncGenerator[None]:
    """Answer requests while the block runs; the socket is gone afterwards.

    Args:
        path: The socket.
        answer: Gives the answer to a request.
        watch: Serves a connection that asked to watch, until it ends.
        is_taking: Answer instead of another process that does.

    Raises:
        UsageError: Another process answers there.
    """
    other = None if is_taking else ask(path, {"name": "status"})
    if other is not None:
        msg = f"dev serve already runs for this project (pid {other.get('pid')})"
        raise UsageError(
            msg, hint=f"stop it first: kill {other.get('pid')}, or take its session over: dev serve --take"
        )
    _remove(path)

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ValueError, TimeoutError):
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                request = json.loads(await reader.readline())
            if watch is not None and request == {"name": "watch"}:
                await watch(reader, writer)
            else:
                writer.write(json.dumps(await answered(answer, request)).encode() + b"\n")
                await writer.drain()

    connections: set[asyncio.Task[None]] = set()

    # Not a coroutine: asyncio's own task for one prints a traceback (3.11) if it is cancelled when the process ends.
    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(task := asyncio.create_task(serve_one(reader, writer), name="answer another terminal"))
        task.add_done_callback(connections.discard)
        task.add_done_callback(lambda _: writer.close())

    server = await asyncio.start_unix_server(connected, path, limit=MAX_LINE_BYTES)
    ours = _inode(path)
    try:
        yield
    finally:
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        if _inode(path) == ours:  # not another's, who took the session
            _remove(path)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _inode(path: Path) -> int:
    try:
        return path.lstat().st_ino
    except OSError:
        return 0


async def answered(answer: Answer, request: Any) -> dict[str, Any]:
    """Give the answer to a request, or what is wrong with it, as it is sent."""
    try:
        return await answer(request)
    except HotloopError as error:
        return {"error": error.message, "hint": error.hint}
    except TimeoutError:
        return {"error": "no answer in time", "hint": ""}


def ask(path: Path, request: dict[str, Any]) -> dict[str, Any] | None:
    """Ask the client that serves a project; None if there is none. Blocks.

    Raises:
        RunnerError: It does not answer.
        HotloopError: It refuses.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(ANSWER_TIMEOUT_S)
        try:
            connection.connect(os.fspath(path))
        except OSError:
            return None
        try:
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as lines:
                answer = json.loads(lines.readline() or b"{}")
        except (OSError, ValueError) as error:
            msg = f"the running dev serve does not answer: {error}"
            raise RunnerError(msg, hint="look at its terminal") from error
    if "error" in answer:
        raise RunnerError(answer["error"], hint=answer.get("hint", ""))
    return answer
