"""A session that no `dev serve` on this machine holds, seen through its agent: what a loop tells of it, and the little it can be asked."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hotloop.devloop import logs, machine
from hotloop.devloop.machine_events import Happened
from hotloop.devloop.machine_state import Emit, State
from hotloop.errors import RunnerError
from hotloop.events import (
    ModelOutcome,
    RuntimeStarted,
    SessionEnded,
    SessionResumed,
    SessionStarted,
    record_from_json,
)
from hotloop.remote_runner import onlooker, runners
from hotloop.remote_runner.way import NoAgentError
from hotloop.remote_runner.who import who_am_i

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hotloop.events import Event
    from hotloop.remote_runner.way import Way


def place(address: str, runner: str) -> str:
    """Say where an address holds: a runtime's own one is no good anywhere but on its runner."""
    return address if runner == runners.LOCAL else f"{address} on {runner}"


class Narrator:
    """Adds to a runner's events what a loop adds, such as the diffs of probes."""

    def __init__(self, runner: str) -> None:
        """Prepare.

        Args:
            runner: The name of where they are from.
        """
        self._runner = runner
        self._state = State()

    def tell(self, event: Event) -> list[Event]:
        """Give what one event comes to."""
        if isinstance(event, RuntimeStarted):
            grpc_address = place(event.grpc_address, self._runner) if event.grpc_address else ""
            event = replace(event, address=place(event.address, self._runner), grpc_address=grpc_address)
        self._state, actions = machine.step(self._state, Happened(event.at_s, event))
        return [action.event for action in actions if isinstance(action, Emit)]


def _standing(session: dict[str, Any], runner: str) -> list[Event]:
    """Say what was so before the last reload, as the agent tells it."""
    now_s, python = time.monotonic(), session["python"]
    facts: list[Event] = [SessionStarted(now_s, "", session["project"], runner, python, 0)]
    if session["address"]:
        facts.append(RuntimeStarted(now_s, place(session["address"], runner), session["runtime_pid"], python))
    if session["generation"]:
        models = tuple(record_from_json(ModelOutcome, model) for model in session["models"])
        facts.append(SessionResumed(now_s, session["revision"], session["generation"], models, {}))
    return facts


class OnlookerFeed:
    """The events of a session from its last reload on. As `tui.feed.Feed`."""

    def __init__(self, way: Way, session: dict[str, Any]) -> None:
        """Prepare.

        Args:
            way: To its agent.
            session: What the agent says of it.
        """
        self._way = way
        self._session = session

    async def events(self) -> AsyncIterator[Event]:
        """Give what happened from the last reload on, then each event as it happens; ends with the session."""
        name, narrator = self._way.name, Narrator(self._way.name)
        for event in _standing(self._session, name):
            yield event
        try:
            async for _, event in onlooker.follow(self._way, self._session["project_id"]):
                # Another machine's clock is no good here: what is new happened now, within the way's length.
                seen = event if name == runners.LOCAL else replace(event, at_s=time.monotonic())
                for told in narrator.tell(seen):
                    yield told
        except NoAgentError:
            pass  # it ended with its last session
        yield SessionEnded(time.monotonic(), "the session ended")

    async def ask(self, name: str, /, **fields: Any) -> dict[str, Any]:
        """Ask what an agent can answer: `status`, `lines`, `locals` and `stop`.

        Raises:
            RunnerError: It refuses, or needs a loop.
        """
        match name:
            case "status":
                return await onlooker.ask(self._way, "status")
            case "stop":
                return await onlooker.ask(self._way, "end", project_id=self._session["project_id"], who=who_am_i())
            case "locals":
                failure = fields.get("failure", "")
                return await onlooker.ask(self._way, "locals", project_id=self._session["project_id"], failure=failure)
            case "lines":
                return await logs.kept(self._way, self._session["project_id"])
            case "shown" | "touched":
                return {}  # who holds the session measures it
            case _:
                msg = f"{name} needs a dev serve on this machine that holds the session; this is only a look at it"
                raise RunnerError(msg, hint="dev serve goes on with a session that nobody holds")
