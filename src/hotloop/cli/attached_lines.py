"""A running session as plain lines, with keys, or as JSON lines. It may change hands meanwhile: whoever holds it is followed."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from enum import Enum
from typing import TYPE_CHECKING, Any

from rich.text import Text

from hotloop import events
from hotloop.cli import keys
from hotloop.cli.following import found, held_here
from hotloop.cli.status import held, serving
from hotloop.devloop.onlooking import Narrator, OnlookerFeed
from hotloop.errors import HotloopError, UsageError
from hotloop.remote_runner import onlooker
from hotloop.remote_runner.runners import LOCAL
from hotloop.remote_runner.way import NoAgentError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hotloop.cli.json_lines import JsonLines
    from hotloop.cli.plain import Plain
    from hotloop.cli.summary import Tally
    from hotloop.events import Event
    from hotloop.remote_runner.way import Way
    from hotloop.tui.feed import Feed

TIP = "s Enter: the dashboard · q Enter: leave, the session goes on · Enter alone: a marker line"
LEAVES_ALONE = {"q", "d"}  # there they end the session's own client


class Left(Enum):
    """Why the lines ended."""

    ENDED = "the session ended"
    LEFT = "q was typed"
    DASHBOARD = "s was typed"


class Counted:
    """Counts for the summary what happens while somebody is attached: no iteration of before, and none twice."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._began_s = time.time()
        self._saved_s: set[float] = set()

    def __call__(self, event: Event) -> None:
        """Take an event."""
        if isinstance(event, events.IterationFinished):
            iteration = event.iteration
            if iteration.saved_at_s in self._saved_s or iteration.saved_at_s + iteration.feedback_s < self._began_s:
                return
            self._saved_s.add(iteration.saved_at_s)
        self._tally(event)


async def print_json(project: Path, on: str | None, lines: JsonLines) -> None:
    """Write each event as JSON until the session ends: what happened so far first."""
    async with held_here(project, on) as feed:
        is_over = False
        if feed is not None:
            async for event in feed.events():
                lines(event)
                is_over = is_over or _is_last(event)  # its cost is told behind it
    if not is_over:  # nobody here holds it, or no longer
        with contextlib.nullcontext() if feed is None else contextlib.suppress(UsageError):  # it ended meanwhile
            async with found(project, on, is_looking=True) as (way, session):
                with contextlib.suppress(NoAgentError):  # it ended with its last session
                    async for _, event in onlooker.follow(way, session["project_id"]):
                        lines(event)


class AttachedLines:
    """Prints a session as `dev serve` does, and takes lines that are typed."""

    def __init__(self, project: Path, on: str | None, plain: Plain, tally: Callable[[Event], None]) -> None:
        self._project = project
        self._on = on
        self._plain = plain
        self._tally = tally
        self._feed: Feed | None = None
        self._left: asyncio.Future[Left] = asyncio.get_running_loop().create_future()
        self._asking: set[asyncio.Task[None]] = set()

    async def run(self) -> Left:
        """Print until the session ends or a key says so. Raises as `following.find`."""
        typed = keys.Keys(self._typed)
        following = asyncio.create_task(self._follow(), name="follow a session")
        typed.open()
        try:
            await asyncio.wait({following, self._left}, return_when=asyncio.FIRST_COMPLETED)
            if following.done():
                following.result()
                return Left.ENDED
            return self._left.result()
        finally:
            typed.close()
            for task in (following, *self._asking):
                task.cancel()
            await asyncio.gather(following, *self._asking, return_exceptions=True)

    async def _follow(self) -> None:
        is_over = await self._follow_holder()
        if is_over is None or not is_over:
            await self._follow_agent(is_first=is_over is None)
        print("the session ended", flush=True)

    async def _follow_holder(self) -> bool | None:
        """Give whether the session ended; None if nobody here holds it."""
        async with held_here(self._project, self._on) as feed:
            if feed is None:
                return None
            self._feed = feed
            with contextlib.suppress(HotloopError):  # its runner is out of reach: who holds it says so
                async with found(self._project, self._on, is_looking=True) as (way, session):
                    _say_head(way, session)
            before = await feed.backlog()
            begins = [number for number, event in enumerate(before) if isinstance(event, events.IterationStarted)]
            newest = begins[-1] if begins else 0
            for event in before[:newest]:
                self._plain.lines(event)  # what later lines refer to
            for event in before[newest:]:
                self._show(event)
            is_over = any(_is_last(event) for event in before)
            is_left = any(isinstance(event, events.SessionEnded) for event in before)
            async for event in feed.events():
                self._show(event)
                is_over = is_over or _is_last(event)
                is_left = is_left or isinstance(event, events.SessionEnded)
        self._feed = None
        if not is_left:
            _say("the dev serve that held the session is gone")
        return is_over

    async def _follow_agent(self, *, is_first: bool) -> None:
        since_s = 0.0 if is_first else time.monotonic()
        with contextlib.nullcontext() if is_first else contextlib.suppress(UsageError):  # it ended meanwhile
            async with found(self._project, self._on, is_looking=True) as (way, session):
                if is_first:
                    _say_head(way, session)
                await self._tell(way, session, since_s)

    async def _tell(self, way: Way, session: dict[str, Any], since_s: float) -> None:
        """Print what an agent says: it begins at the last reload, of which what was before a moment was seen."""
        self._feed, narrator = OnlookerFeed(way, session), Narrator(way.name)
        with contextlib.suppress(NoAgentError):  # it ended with its last session
            async for _, event in onlooker.follow(way, session["project_id"]):
                is_new = way.name != LOCAL or event.at_s > since_s
                for told in narrator.tell(event):
                    if is_new:
                        self._show(told)

    def _show(self, event: Event) -> None:
        self._plain(event)
        self._tally(event)

    def _typed(self, line: str) -> None:
        if not line:
            self._plain.mark()
            self._ask("touched")
        elif line == "s" or line in LEAVES_ALONE:
            if not self._left.done():
                self._left.set_result(Left.DASHBOARD if line == "s" else Left.LEFT)
        elif line in keys.KEYS:
            self._ask(keys.KEYS[line])
        else:
            _say(f"no key is called {line!r}. {TIP}")

    def _ask(self, name: str) -> None:
        if self._feed is None:
            return
        self._asking.add(task := asyncio.create_task(self._answered(self._feed, name), name=f"ask for {name}"))
        task.add_done_callback(self._asking.discard)

    async def _answered(self, feed: Feed, name: str) -> None:
        """Ask for something; what it can't be is said."""
        try:
            lines = await keys.press(name, feed.ask)
        except HotloopError as error:
            _say(f"{error.message}{f' ({error.hint})' if error.hint else ''}")
        else:
            self._plain.write([Text(line) for line in lines])


def _say(text: str) -> None:
    print(f"hotloop: {text}", file=sys.stderr, flush=True)


def _is_last(event: Event) -> bool:
    """Whether the session is over with it: one that is left running goes on with its agent."""
    return isinstance(event, events.SessionEnded) and not event.is_left_running


def _say_head(way: Way, session: dict[str, Any]) -> None:
    serves = serving(session, way.name)
    print(f"{session['project']}  {serves}, revision {session['revision']}; {held(session)}", flush=True)
    if keys.is_terminal():
        print(TIP, flush=True)
