"""What was said before this client came: of events that were there already, which were missed and which are its own."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from hotloop import events
from hotloop.devloop import wording

if TYPE_CHECKING:
    from hotloop.events import Event
    from hotloop.remote_runner.told import Applied, SessionInfo, Started

_OF_ENVIRONMENT = (events.EnvironmentProgress, events.EnvironmentReady, events.EnvironmentFailed)  # no runtime's
CATCH_UP_TIMEOUT_S = 5.0  # for events that lie there already


class CatchingUp:
    """Sorts a session's events at its beginning: missed ones, those of a runtime that ends, and those to show."""

    def __init__(self) -> None:
        self._missed_until = 0
        self._missed: list[Event] = []
        self._early: list[tuple[int, Event]] | None = []
        self._is_complete = asyncio.Event()

    def begin(self, info: SessionInfo) -> None:
        """The session is open: events up to its last one were missed."""
        self._missed_until = info.last_event
        if info.seen_event >= info.last_event:
            self._is_complete.set()

    def takes(self, number: int, event: Event) -> bool:
        """Whether an event is to be shown now; else it is kept here."""
        if not number:
            return True
        if number >= self._missed_until:
            self._is_complete.set()
        if number <= self._missed_until:
            self._missed.append(event)
            return False
        if self._early is not None and not isinstance(event, _OF_ENVIRONMENT):
            self._early.append((number, event))
            return False
        return True

    async def missed(self) -> list[Event]:
        """What happened while no client was there, or before the runtime was started anew."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CATCH_UP_TIMEOUT_S):
                await self._is_complete.wait()
        return self._missed

    def end(self, last_earlier: int) -> list[Event]:
        """Give what came meanwhile and is to be shown: what was said after ``last_earlier``."""
        early, self._early = self._early or [], None
        return [event for number, event in early if number > last_earlier]


def told_late(missed: list[Event]) -> list[Event]:
    """What is to be shown of missed events as it is: how the session ended, and how much is kept no more."""
    return [event for event in missed if isinstance(event, events.SessionTimedOut | events.EventsDropped)]


def unshown(missed: list[Event]) -> list[Event]:
    """What is to be told of a runtime that is gone: nothing of it is live any more, so how much nobody said to have."""
    if not (happened := wording.missed(Counter(event.kind for event in missed))):
        return []
    text = f"of what ran before, this may not have been shown: {happened}"
    return [events.Notice(time.monotonic(), "missed", text, "hotloop logs shows its lines")]


def resumed(started: Started, applied: Applied, missed: list[Event]) -> list[Event]:
    """What is to be told of a runtime that was left running: that it is, and its newest generation, or failure, as of now."""
    now_s, ready, failed = time.monotonic(), started.ready, started.failed
    told: list[Event] = [started.started] if started.started is not None else []
    kinds = dict(Counter(event.kind for event in missed))
    generation, models = (ready.generation, ready.models) if ready is not None else (0, ())
    told.append(events.SessionResumed(now_s, applied.revision, generation, models, kinds))
    if ready is not None and ready.revision == applied.revision:
        kept = tuple(replace(model, action="kept", took_s=0.0, why="in memory") for model in models)
        told.append(replace(ready, at_s=now_s, imported_at_s=now_s, models=kept))
    if failed is not None and failed.revision == applied.revision:
        told.append(failed)
    return told
