"""A running `dev serve` seen from another process, over its control socket: the feed of a user interface."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from hotloop.devloop.control import ANSWER_TIMEOUT_S, CAUGHT_UP
from hotloop.errors import RunnerError
from hotloop.events import EVENT_TYPES, from_json

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from pathlib import Path

    from hotloop.events import Event

MAX_LINE_BYTES = 1 << 26  # a probe's output may be long
MAX_WAITING = 5000  # events that are not taken; then no more are read, and the session compacts what is missed


class HolderGoneError(RunnerError):
    """Nobody is at a session's control socket any more; the session may go on without."""

    def __init__(self) -> None:
        super().__init__("the dev serve that held this session is gone", hint="see what runs: hotloop status")


class SessionFeed:
    """The events of a session, and what it answers. As `tui.feed.Feed`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Prepare; `attached` makes one."""
        self._reader = reader
        self._writer = writer
        self._waiting: deque[dict[str, Any]] = deque()
        self._asked: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._num_asked = 0
        self._is_over = False
        self._changed = asyncio.Event()
        self._reading = asyncio.create_task(self._read(), name="read a session's events")

    async def events(self) -> AsyncIterator[Event]:
        """Give what happened so far, compacted, then each event as it happens; ends with the session or the connection."""
        while (data := await self._next()) is not None:
            if CAUGHT_UP not in data:
                yield from_json(data)

    async def backlog(self) -> list[Event]:
        """Give what happened so far, compacted; `events` goes on behind it."""
        found: list[Event] = []
        while (data := await self._next()) is not None and CAUGHT_UP not in data:
            found.append(from_json(data))
        return found

    async def ask(self, name: str, /, **fields: Any) -> dict[str, Any]:
        """Have the session do something, such as ``reload`` or ``pause``.

        Raises:
            RunnerError: It refuses, or is gone.
        """
        if self._is_over:
            raise HolderGoneError
        self._num_asked += 1
        number = self._num_asked
        answer = self._asked[number] = asyncio.get_running_loop().create_future()
        self._changed.set()  # reading goes on, also past events that nobody takes: the answer is behind them
        self._writer.write(json.dumps({"id": number, "name": name, **fields}).encode() + b"\n")
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                said = await answer
        except TimeoutError as error:
            msg = f"the running dev serve does not answer {name!r} within {ANSWER_TIMEOUT_S:g} s"
            raise RunnerError(msg, hint="look at its terminal") from error
        finally:
            del self._asked[number]
        if "error" in said:
            raise RunnerError(said["error"], hint=said.get("hint", ""))
        return said

    async def close(self) -> None:
        """Let go of the connection; the session goes on."""
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        self._writer.close()

    async def _next(self) -> dict[str, Any] | None:
        """Take the oldest message that waits; None when there will be none."""
        while not self._waiting:
            if self._is_over:
                return None
            await self._wait()
        self._changed.set()
        return self._waiting.popleft()

    async def _read(self) -> None:
        try:
            while line := await self._reader.readline():
                message = json.loads(line)
                if "id" in message:
                    self._answered(message)
                elif CAUGHT_UP in message or message.get("kind") in EVENT_TYPES:  # a newer session may know more
                    self._waiting.append(message)
                    self._changed.set()
                while len(self._waiting) >= MAX_WAITING and not self._asked:
                    await self._wait()
        except (OSError, ValueError):
            pass  # it is gone
        finally:
            self._is_over = True
            self._changed.set()
            for answer in self._asked.values():
                if not answer.done():
                    answer.set_exception(HolderGoneError())

    def _answered(self, message: dict[str, Any]) -> None:
        answer = self._asked.get(message.pop("id"))
        if answer is not None and not answer.done():
            answer.set_result(message)

    async def _wait(self) -> None:
        self._changed.clear()
        await self._changed.wait()


@asynccontextmanager
async def attached(path: Path) -> AsyncGenerator[SessionFeed]:
    """Watch the session whose control socket that is.

    Raises:
        HolderGoneError: Nobody answers there.
        RunnerError: It is of another version.
    """
    try:
        reader, writer = await asyncio.open_unix_connection(path, limit=MAX_LINE_BYTES)
        writer.write(b'{"name": "watch"}\n')
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            greeting = json.loads(await reader.readline() or b"{}")
    except (OSError, ValueError, TimeoutError) as error:
        raise HolderGoneError from error
    if "watching" not in greeting:
        writer.close()
        msg = f"the running dev serve can't be watched: {greeting.get('error', 'it is of another version')}"
        raise RunnerError(msg, hint="start it again with this version of hotloop")
    feed = SessionFeed(reader, writer)
    try:
        yield feed
    finally:
        with contextlib.suppress(OSError):
            await feed.close()
