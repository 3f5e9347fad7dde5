# pyright: basic
"""A session's events for those who only look on.

Basic type checks: grpc has no types, and what protoc generates derives from untyped classes.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

from hotloop import events
from hotloop.remote_runner.protocol import agent_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from hotloop.remote_runner.journal import Journal
    from hotloop.remote_runner.sessions import Session


def since(journal: Journal, number: int) -> list[tuple[int, bytes]]:
    """The oldest kept events after a number; where the journal has forgotten some, an event says how many."""
    found = journal.since(number)
    if not found or found[-1][0] - number == len(found):
        return found
    told: list[tuple[int, bytes]] = []
    for numbered in found:
        if (count := numbered[0] - number - 1) > 0:
            dropped = events.to_json(events.EventsDropped(time.monotonic(), count))
            told.append((numbered[0] - 1, json.dumps(dropped).encode()))
        told.append(numbered)
        number = numbered[0]
    return told


class Following:
    """A stream that is told a session's events and holds nothing."""

    def __init__(self, session: Session, wanted: pb.Following) -> None:
        self._session = session
        self._is_ending = wanted.is_ending
        self._next = min(wanted.after_event or max(session.reload_event - 1, 0), session.journal.last)
        self._wake = asyncio.Event()

    async def run(self) -> AsyncGenerator[pb.Event, None]:
        """Give the events until the client is gone, the session ends, or there is no more and no more is wanted."""
        unfollow = self._session.follow(self._wake.set)
        try:
            while True:
                self._wake.clear()
                is_over = self._is_ending or self._session.is_closed
                for number, event in since(self._session.journal, self._next):
                    self._next = number
                    yield pb.Event(number=number, json=event)
                if self._next >= self._session.journal.last:
                    if is_over:
                        return
                    await self._wake.wait()
        finally:
            unfollow()
