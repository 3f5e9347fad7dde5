"""A session's events for other processes: what happened so far, then each event as it happens. Nobody's reading holds it up.

A watcher that does not read for long is behind: what it missed is compacted as for a newcomer, and it is told how many
events are not among that.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections import deque
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, cast

from hotloop.devloop.backlog import Backlog
from hotloop.devloop.control import CAUGHT_UP, answered
from hotloop.events import EventsDropped, to_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hotloop.devloop.control import Answer
    from hotloop.events import Event

MAX_WAITING = 10_000  # events for a watcher that does not read; what is more it gets compacted
MAX_WAITING_BYTES = 16_000_000
MAX_ASKED = 32  # requests of one watcher under way
AT_ONCE = 100  # events of a backlog between two looks at the rest of the loop, about 2 ms
CLOSE_TIMEOUT_S = 0.5  # for watchers to take the last events


class Broadcast:
    """Tells each event to all who watch, and answers what they ask on the same connection."""

    def __init__(self, answer: Answer, *, max_waiting: int = MAX_WAITING) -> None:
        """Prepare.

        Args:
            answer: Gives the answer to a request.
            max_waiting: Events that wait for a watcher that does not read.
        """
        self._answer = answer
        self._max_waiting = max_waiting
        self._backlog = Backlog()
        self._watchers: set[_Watcher] = set()
        self._sending: set[asyncio.Task[None]] = set()

    def __call__(self, event: Event) -> None:
        """Tell one event; does no I/O."""
        number = self._backlog.add(event)
        if self._watchers:
            line = _line(event)
            for watcher in self._watchers:
                watcher.take(number, line)

    async def watch(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one watcher until it is gone or all was told."""
        writer.write(_encoded({"watching": os.getpid()}))
        watcher = _Watcher(self._backlog, self._max_waiting)
        sending = asyncio.create_task(_send(watcher, writer), name="send to a watcher")
        asked = asyncio.create_task(self._listen(watcher, reader), name="listen to a watcher")
        self._watchers.add(watcher)
        self._sending.add(sending)
        try:
            await asyncio.wait({sending, asked}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._watchers.discard(watcher)
            self._sending.discard(sending)
            for task in (sending, asked):
                task.cancel()
            await asyncio.gather(sending, asked, return_exceptions=True)

    async def close(self) -> None:
        """Have the last events taken by those who read."""
        for watcher in self._watchers:
            watcher.close()
        if self._sending:
            await asyncio.wait(self._sending, timeout=CLOSE_TIMEOUT_S)

    async def _listen(self, watcher: _Watcher, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError, ValueError):  # it is gone, or speaks another language
            async with asyncio.TaskGroup() as group:
                under_way: set[asyncio.Task[None]] = set()
                while line := await reader.readline():
                    request: Any = json.loads(line)
                    number: Any = cast("dict[str, Any]", request).pop("id", None) if isinstance(request, dict) else None
                    if len(under_way) >= MAX_ASKED:
                        watcher.tell({"id": number, "error": f"{MAX_ASKED} requests are under way", "hint": ""})
                        continue
                    task = group.create_task(self._ask(watcher, number, request))
                    under_way.add(task)
                    task.add_done_callback(under_way.discard)

    async def _ask(self, watcher: _Watcher, number: Any, request: Any) -> None:
        watcher.tell({"id": number, **await answered(self._answer, request)})


class _Watcher:
    """What one watcher has yet to be sent."""

    def __init__(self, backlog: Backlog, max_waiting: int) -> None:
        self.changed = asyncio.Event()
        self._backlog = backlog
        self._max_waiting = max_waiting
        self._answers: deque[bytes] = deque()
        self._catching_up: Iterator[bytes] = iter(())
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._missed_from: int | None = 0  # the number of the first event that does not wait here but in the backlog
        self._is_new = True
        self._is_closing = False

    def take(self, number: int, line: bytes) -> None:
        """Have an event sent; what is too much is left to the backlog."""
        self.changed.set()
        if self._missed_from is not None:
            return
        if len(self._waiting) >= self._max_waiting or self._waiting_bytes > MAX_WAITING_BYTES:
            self._missed_from = number
            return
        self._waiting.append(line)
        self._waiting_bytes += len(line)

    def tell(self, answer: dict[str, Any]) -> None:
        """Have an answer sent before anything else."""
        self._answers.append(_encoded(answer))
        self.changed.set()

    def close(self) -> None:
        """Have nothing more sent than what waits."""
        self._is_closing = True
        self.changed.set()

    async def next(self) -> bytes:
        """Wait for lines; empty when there will be none."""
        while not (lines := self._take_lines()):
            if self._is_closing:
                return b""
            self.changed.clear()
            await self.changed.wait()
        return lines

    def _take_lines(self) -> bytes:
        if self._answers:
            return self._answers.popleft()
        if lines := b"".join(islice(self._catching_up, AT_ONCE)):
            return lines
        if self._waiting:
            lines = b"".join(self._waiting.popleft() for _ in range(min(len(self._waiting), AT_ONCE)))
            self._waiting_bytes -= len(lines)
            return lines
        if self._missed_from is None:
            return b""
        self._catch_up(self._missed_from)
        return self._take_lines()

    def _catch_up(self, number: int) -> None:
        missed = self._backlog.since(number)
        num_lost = self._backlog.last + 1 - number - len(missed)
        if num_lost and not self._is_new:
            missed.insert(0, EventsDropped(time.monotonic(), num_lost))
        self._catching_up = chain(map(_line, missed), (_CAUGHT_UP,) if self._is_new else ())
        self._missed_from, self._is_new = None, False


async def _send(watcher: _Watcher, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):  # it is gone
        while lines := await watcher.next():
            writer.write(lines)
            await writer.drain()
            await asyncio.sleep(0)  # an empty drain gives way to nobody


def _line(event: Event) -> bytes:
    return _encoded(to_json(event))


def _encoded(message: dict[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


_CAUGHT_UP = _encoded({CAUGHT_UP: True})
