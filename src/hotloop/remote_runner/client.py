# pyright: basic
"""The client's end of a session: what is asked of an agent and what it answers, with nothing lost or done twice.

Basic type checks: what protoc generates derives from untyped classes.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import time
import uuid
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from hotloop import __version__, events
from hotloop.errors import RunnerError
from hotloop.remote_runner.bootstrap.source import own_source
from hotloop.remote_runner.connection import Connection
from hotloop.remote_runner.heartbeat import fail, settle
from hotloop.remote_runner.outgoing import Outgoing
from hotloop.remote_runner.processes import is_alive
from hotloop.remote_runner.protocol import agent_pb2 as pb
from hotloop.remote_runner.protocol import codec
from hotloop.remote_runner.stream import LostError, SessionTakenError
from hotloop.remote_runner.told import SessionInfo, Started
from hotloop.remote_runner.who import who_am_i

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from hotloop.changes import Changeset
    from hotloop.errors import HotloopError
    from hotloop.remote_runner.contents import SyncSource
    from hotloop.remote_runner.told import Applied
    from hotloop.remote_runner.way import Way

MAX_WAITING_EVENTS = 20_000


@asynccontextmanager
async def connect(way: Way) -> AsyncIterator[AgentSession]:
    """Hold a session on a runner's agent, which is started if none runs.

    Leaving the block closes the connection; the session goes on until `AgentSession.end` or its idle time-out.
    """
    session = AgentSession(way)
    try:
        yield session
    finally:
        await session.close()
        await way.close()


class AgentSession:
    """A project's session on a runner. Methods may be called from one event loop only."""

    def __init__(self, way: Way) -> None:
        """Prepare; `open` connects, and dials again after each cut."""
        self.way = way
        self._connection = Connection(way, self)
        self._outgoing = Outgoing(self._connection, way)
        self._info: SessionInfo | None = None
        self._replies: dict[int, asyncio.Future[pb.Reply]] = {}
        self._command_ids = itertools.count(1)
        self._events: deque[tuple[int, events.Event]] = deque(maxlen=MAX_WAITING_EVENTS)
        self._num_dropped = 0
        self._event_came = asyncio.Event()
        self._start_fields: dict[str, Any] | None = None

    # --- the session

    async def open(
        self,
        project_root: Path,
        project_id: str,
        *,
        after_event: int = 0,
        take: bool = False,
        idle_timeout_s: float = 0.0,
    ) -> SessionInfo:
        """Connect and hold the session. A client of this machine that is gone has it no more, noticed there or not.

        Args:
            project_root: As the user knows it.
            project_id: 8 to 64 hexadecimal digits, the same for the same project.
            after_event: Events up to this number are not wanted; 0: those that no client has are.
            take: Take it from another client that holds it, which is told and ends.
            idle_timeout_s: How long it outlives its client; 0: what the agent was started with.

        Raises:
            SessionTakenError: Another client holds it, or the agent is of another version and has sessions.
            RunnerError: The agent can't be reached.
        """
        hello = pb.Hello(
            protocol=codec.PROTOCOL,
            version=__version__,
            source=(await asyncio.to_thread(own_source)).digest,
            project_id=project_id,
            client_id=uuid.uuid4().hex,
            last_event=after_event,
            shown_root=str(project_root),
            take=take,
            who=who_am_i(),
            pid=os.getpid(),
            idle_timeout_s=idle_timeout_s,
        )
        try:
            await self._connection.open(hello)
        except SessionTakenError as error:
            if take or error.holder != hello.who or is_alive(error.holder_pid):
                raise
            hello.take = True
            await self._connection.open(hello)
        return self._known

    async def sync(self, source: SyncSource) -> Applied:
        """Make the workspace equal to the client's tree; only contents that the runner lacks are sent.

        Raises:
            RefusedError: The agent can't make it.
        """
        return await self._outgoing.sync(source)

    async def push(self, changeset: Changeset) -> Applied:
        """Apply a changeset, whatever its sequence says: numbers are given here. Returns when it is applied.

        Several may be on their way. One with large contents is overtaken by those that touch other paths. Contents that
        are too large to be in it are read from what was given to `sync`, when their turn comes.

        Raises:
            RefusedError: It can't be applied; the workspace is as it was before.
            SessionTakenError: Another client holds the session.
        """
        return await self._outgoing.push(changeset)

    async def start(self, config: dict[str, Any]) -> Started:
        """Start the runtime, and start it again if the agent is lost and comes back. One with this configuration goes on."""
        reply = await self.command("start", config=config)
        told = {name: self._event(reply[name]) for name in ("ready", "failed", "started")}
        return Started(bool(reply["was_running"]), reply["last_event"], **told)

    def _event(self, data: dict[str, Any] | None) -> Any:
        return events.from_json(events.with_times(data, self._connection.here)) if data is not None else None

    async def command(self, name: str, /, **fields: Any) -> dict[str, Any]:
        """Have the agent (or through it the runtime) do something: start, stop, pin, unpin, reload, probe, locals, status.

        Raises:
            RunnerError: It was refused.
        """
        if name == "start":
            self._start_fields = fields
        elif name in {"stop", "end"}:
            self._start_fields = None
        number = next(self._command_ids)
        while True:
            await self._connection.until_connected()
            try:
                return await self._command_once(number, name, fields)
            except LostError:
                if name == "end" or self._connection.is_closed:
                    return {}

    async def end(self) -> None:
        """End the session: its runtime and all processes; the agent too if it was the last."""
        await self.command("end")
        await self._connection.close(is_over=True)
        await self.close()

    async def ping(self) -> float:
        """Measure a round trip to the agent, seconds; once more if the connection is lost meanwhile."""
        while True:
            try:
                return await self._connection.ping()
            except LostError:
                if self._connection.is_closed:
                    raise

    @property
    def away_s(self) -> float:
        """How long the runner has not been reached, seconds; 0 while it is."""
        return self._connection.away_s

    @property
    def clock_offset_s(self) -> float:
        """The runner's monotonic clock minus this machine's, as far as that is known."""
        return self._connection.clock_offset_s

    @property
    def clock_error_s(self) -> float:
        """How far the times of events and of `Applied` may be off: half the quickest round trip, 0 on this machine."""
        return self._connection.clock_error_s

    async def events(self) -> AsyncIterator[tuple[int, events.Event]]:
        """Give each event once, in order. Number 0 is what this side found itself, such as a lost connection.

        Whoever does not take them for so long that `MAX_WAITING_EVENTS` wait is told how many were dropped.

        Raises:
            RunnerError: The session is lost for good.
        """
        while True:
            while self._events:
                if self._num_dropped:
                    count, self._num_dropped = self._num_dropped, 0
                    yield 0, events.EventsDropped(time.monotonic(), count)
                number, event = self._events.popleft()
                yield number, event
                self._connection.taken_event = max(number, self._connection.taken_event)
            if self._connection.fatal is not None:
                raise self._connection.fatal
            if self._connection.is_closed:
                return
            self._event_came.clear()
            await self._event_came.wait()

    async def close(self) -> None:
        """Close the connection; the session goes on without this client."""
        await self._connection.close()
        await self._outgoing.close()
        self._event_came.set()
        self._fail_waiting(LostError())

    @property
    def _known(self) -> SessionInfo:
        if self._info is None:
            msg = "The session is not open."
            raise RunnerError(msg)
        return self._info

    async def _command_once(self, number: int, name: str, fields: dict[str, Any]) -> dict[str, Any]:
        future = self._replies[number] = asyncio.get_running_loop().create_future()
        try:
            await self._connection.send(
                pb.Up(command=pb.Command(id=number, name=name, json=json.dumps(fields).encode()))
            )
            reply = await future
        finally:
            self._replies.pop(number, None)
        if reply.error:
            raise RunnerError(reply.error, hint=reply.hint)
        return json.loads(reply.json)

    # --- what the connection tells

    @property
    def is_waiting(self) -> bool:
        """As `connection.Listener.is_waiting`."""
        return self._outgoing.is_waiting or bool(self._replies)

    def greeted(self, ok: pb.HelloOk) -> None:
        """As `connection.Listener.greeted`."""
        self._info = SessionInfo(
            ok.version, ok.revision, ok.sequence, ok.digest, ok.is_running, ok.last_event, ok.workspace, ok.seen_event
        )
        hello = self._connection.hello
        if not hello.resumes and not hello.last_event:
            hello.last_event = ok.seen_event
        self._outgoing.greeted(ok, resumes=hello.resumes)

    async def resume(self) -> None:
        """Send again what was not acknowledged, and start the runtime that was lost with its agent."""
        await self._outgoing.resume()
        if self._start_fields is not None and not self._known.is_running:
            with contextlib.suppress(LostError, RunnerError):
                await self._command_once(next(self._command_ids), "start", self._start_fields)

    def received(self, message: pb.Down) -> None:
        """As `connection.Listener.received`."""
        match message.WhichOneof("body"):
            case "received" | "ack" | "need" | "refused":
                self._outgoing.received(message)
            case "event":
                self._take_event(message.event)
            case "reply":
                settle(self._replies.get(message.reply.id), message.reply)
            case _:
                pass

    def lost(self) -> None:
        """As `connection.Listener.lost`."""
        self._outgoing.lost()
        fail([*self._replies.values()], LostError())

    def went_offline(self, why: str) -> None:
        """As `connection.Listener.went_offline`."""
        self._say(0, events.Offline(time.monotonic(), 0, why))

    def came_online(self, offline_s: float) -> None:
        """As `connection.Listener.came_online`."""
        self._say(0, events.Online(time.monotonic(), offline_s))

    def measured(self, link: events.LinkMeasured) -> None:
        """As `connection.Listener.measured`."""
        self._say(0, link)

    def died(self, error: HotloopError) -> None:
        """As `connection.Listener.died`."""
        self._event_came.set()
        self._fail_waiting(error)

    def _take_event(self, message: pb.Event) -> None:
        if message.number <= self._connection.hello.last_event:
            return
        self._connection.hello.last_event = message.number
        with contextlib.suppress(ValueError, TypeError):  # an agent of another patch may know more events
            self._say(message.number, self._event(json.loads(message.json)))

    def _say(self, number: int, event: events.Event) -> None:
        self._num_dropped += len(self._events) == self._events.maxlen
        self._events.append((number, event))
        self._event_came.set()

    def _fail_waiting(self, error: Exception) -> None:
        self._outgoing.fail(error)
        fail([*self._replies.values()], error)
