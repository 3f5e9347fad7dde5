# pyright: basic
"""The client's end of a session: what is asked of an agent and what it answers, with nothing lost or done twice.

Basic type checks: what protoc generates derives from untyped classes.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import getpass
import itertools
import json
import os
import socket
import time
import uuid
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from hotloop import __version__, events
from hotloop.changes import Changeset, Put
from hotloop.errors import HotloopError, RunnerError, WorkspaceError
from hotloop.remote_runner.connection import Connection
from hotloop.remote_runner.heartbeat import fail, settle
from hotloop.remote_runner.protocol import agent_pb2 as pb
from hotloop.remote_runner.protocol import codec
from hotloop.remote_runner.stream import LostError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
    from pathlib import Path

    from hotloop.remote_runner.tree import Entry
    from hotloop.remote_runner.way import Way

MAX_WAITING_EVENTS = 20_000
SYNC_ATTEMPTS = 5


class RefusedError(WorkspaceError):
    """A changeset was refused; the workspace is as it was before.

    Attributes:
        path: The file that it was about, empty if it is none's.
    """

    def __init__(self, message: str, *, hint: str = "", path: str = "") -> None:
        super().__init__(message, hint=hint)
        self.path = path


class _ResyncError(Exception):
    """The agent can't place the changeset: the whole tree has to be compared."""


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """What the agent said when the session was opened.

    Attributes:
        revision: What the workspace holds, 0 if it is new.
        digest: Of the workspace's tree.
        is_running: Whether a runtime runs already: a client left it without `end`.
        last_event: Events up to this number happened before.
        workspace: The tree's folder on the runner.
        seen_event: A client has the events up to this number; without ``after_event`` they are not sent again.
    """

    version: str
    revision: int
    sequence: int
    digest: str
    is_running: bool
    last_event: int
    workspace: str
    seen_event: int


@dataclass(frozen=True, slots=True)
class Applied:
    """A changeset is in the workspace.

    Attributes:
        applied_at_s: On this machine's CLOCK_MONOTONIC.
    """

    revision: int
    applied_at_s: float


@dataclass(frozen=True, slots=True)
class Started:
    """A runtime runs.

    Attributes:
        was_running: It ran before with this configuration, and goes on.
        last_event: Events up to this number are of a runtime before it.
        ready: Its newest `events.Ready`; None if none was told up to `last_event`.
        failed: The `events.ReloadFailed` after it, likewise.
        started: Its `events.RuntimeStarted`, likewise.
    """

    was_running: bool
    last_event: int
    ready: events.Ready | None = None
    failed: events.ReloadFailed | None = None
    started: events.RuntimeStarted | None = None

    def is_of(self, revision: int) -> bool:
        """Whether this revision serves."""
        return self.ready is not None and self.ready.revision == revision and self.failed is None


class SyncSource(Protocol):
    """The client's tree, for the first sync. `hotloop.devloop.index.Index` is one."""

    def entries(self) -> Sequence[Entry]:
        """All that the workspace is to hold."""
        ...

    def read(self, put: Put) -> bytes | None:
        """A file's content; None if it is another by now, in which case `entries` says so from then on."""
        ...


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
        self._connection = Connection(way, self)
        self._push_lock = asyncio.Lock()
        self._sequence = 0
        self._info: SessionInfo | None = None
        self._partials: dict[str, int] = {}
        self._answer: asyncio.Future[pb.Down] | None = None  # to the manifest or changeset that is under way
        self._replies: dict[int, asyncio.Future[pb.Reply]] = {}
        self._command_ids = itertools.count(1)
        self._events: deque[tuple[int, events.Event]] = deque(maxlen=MAX_WAITING_EVENTS)
        self._event_came = asyncio.Event()
        self._source: SyncSource | None = None
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
        """Connect and hold the session.

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
            project_id=project_id,
            client_id=uuid.uuid4().hex,
            last_event=after_event,
            shown_root=str(project_root),
            take=take,
            who=who_am_i(),
            pid=os.getpid(),
            idle_timeout_s=idle_timeout_s,
        )
        await self._connection.open(hello)
        return self._known

    async def sync(self, source: SyncSource) -> Applied:
        """Make the workspace equal to the client's tree; only contents that the runner lacks are sent.

        Raises:
            RefusedError: The agent can't make it.
        """
        self._source = source
        async with self._push_lock:
            return await self._sync(source)

    async def push(self, changeset: Changeset) -> Applied:
        """Apply a changeset, whatever its sequence says: numbers are given here. Returns when it is applied.

        Raises:
            RefusedError: It can't be applied; the workspace is as it was before.
            SessionTakenError: Another client holds the session.
        """
        async with self._push_lock:
            numbered = dataclasses.replace(changeset, sequence=self._sequence + 1)
            while True:
                try:
                    return await self._push_once(numbered)
                except LostError:
                    await self._connection.until_connected()
                    if self._sequence >= numbered.sequence:  # the cut came after it was applied
                        return Applied(self._known.revision, time.monotonic())
                except _ResyncError as error:
                    if self._source is None:
                        raise RefusedError(str(error)) from error
                    return await self._sync(self._source)

    async def start(self, config: dict[str, Any]) -> Started:
        """Start the runtime, and start it again if the agent is lost and comes back. One with this configuration goes on."""
        reply = await self.command("start", config=config)
        told = {name: self._event(reply[name]) for name in ("ready", "failed", "started")}
        return Started(bool(reply["was_running"]), reply["last_event"], **told)

    def _event(self, data: dict[str, Any] | None) -> Any:
        return events.from_json(events.with_times(data, self._connection.here)) if data is not None else None

    async def command(self, name: str, /, **fields: Any) -> dict[str, Any]:
        """Have the agent (or through it the runtime) do something: start, stop, pin, unpin, reload, probe, status.

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
        """Measure a round trip to the agent, seconds."""
        return await self._connection.ping()

    @property
    def clock_error_s(self) -> float:
        """How far the times of events and of `Applied` may be off: half the quickest round trip, 0 on this machine."""
        return self._connection.clock_error_s

    async def events(self) -> AsyncIterator[tuple[int, events.Event]]:
        """Give each event once, in order. Number 0 is what this side found itself, such as a lost connection.

        Raises:
            RunnerError: The session is lost for good.
        """
        while True:
            while self._events:
                yield self._events.popleft()
            if self._connection.fatal is not None:
                raise self._connection.fatal
            if self._connection.is_closed:
                return
            self._event_came.clear()
            await self._event_came.wait()

    async def close(self) -> None:
        """Close the connection; the session goes on without this client."""
        await self._connection.close()
        self._event_came.set()
        self._fail_waiting(LostError())

    @property
    def _known(self) -> SessionInfo:
        if self._info is None:
            msg = "The session is not open."
            raise RunnerError(msg)
        return self._info

    # --- one exchange

    async def _sync(self, source: SyncSource) -> Applied:
        for _ in range(SYNC_ATTEMPTS):
            await self._connection.until_connected()
            try:
                applied = await self._sync_once(source)
            except (LostError, _ResyncError):
                continue
            if applied is not None:
                return applied
        msg = "The project's files changed during each of {SYNC_ATTEMPTS} attempts to copy them."
        raise RefusedError(msg.format(SYNC_ATTEMPTS=SYNC_ATTEMPTS), hint="stop what writes there, or ignore it")

    async def _sync_once(self, source: SyncSource) -> Applied | None:
        """Compare and send once; None if a file changed meanwhile."""
        entries = source.entries()
        answer = await self._exchange(codec.manifest_frames(self._sequence + 1, entries))
        if answer.WhichOneof("body") == "need":
            by_digest = {entry.digest: entry for entry in entries if isinstance(entry, Put)}
            frames = self._contents(source, [by_digest[item.hex()] for item in answer.need.digests])
            try:
                answer = await self._exchange(frames)
            except _ChangedError:
                return None
        return self._take_ack(answer)

    def _contents(self, source: SyncSource, puts: Iterable[Put]) -> Iterator[pb.Up]:
        waiting: list[pb.Part] = []
        size_bytes = 0
        for put in puts:
            content = source.read(put)
            if content is None:
                raise _ChangedError
            for part in self._parts_of(put.digest, content):
                waiting.append(part)
                size_bytes += len(part.data) + 100
                if size_bytes >= codec.PART_BYTES or len(waiting) >= 500:
                    yield pb.Up(parts=pb.Parts(parts=waiting))
                    waiting, size_bytes = [], 0
        if waiting:
            yield pb.Up(parts=pb.Parts(parts=waiting))

    def _parts_of(self, digest: str, content: bytes) -> Iterator[pb.Part]:
        """Cut a content; what the agent has of it from before a cut is left out."""
        size = len(content)
        start = min(self._partials.pop(digest, 0), max(size - 1, 0))
        for offset in range(start, max(size, 1), codec.PART_BYTES):
            yield codec.part(digest, offset, size, content[offset : offset + codec.PART_BYTES])

    async def _push_once(self, changeset: Changeset) -> Applied:
        await self._connection.until_connected()
        if self._sequence >= changeset.sequence:
            return Applied(self._known.revision, time.monotonic())
        is_inline = sum(map(len, changeset.contents.values())) <= codec.INLINE_BYTES
        frames = [codec.encode_changeset(changeset, is_inline=is_inline)]
        if is_inline:
            return self._take_ack(await self._exchange(frames))
        parts = (
            pb.Up(parts=pb.Parts(parts=[part]))
            for digest, content in changeset.contents.items()
            for part in self._parts_of(digest, content)
        )
        return self._take_ack(await self._exchange(itertools.chain(parts, frames)))

    def _take_ack(self, answer: pb.Down) -> Applied:
        if answer.WhichOneof("body") == "refused":
            refused = answer.refused
            if refused.reason in (pb.Refused.GAP, pb.Refused.CONTENT):
                raise _ResyncError(refused.message)
            raise RefusedError(refused.message, hint=refused.hint, path=refused.path)
        ack = answer.ack
        self._sequence = ack.sequence
        self._info = dataclasses.replace(self._known, revision=ack.revision, sequence=ack.sequence)
        return Applied(ack.revision, ack.applied_at_s)

    async def _exchange(self, frames: Iterable[pb.Up]) -> pb.Down:
        """Send frames and wait for the one answer."""
        future = self._answer = asyncio.get_running_loop().create_future()
        try:
            for frame in frames:
                await self._connection.send(frame)
                if future.done():
                    break
            return await future
        finally:
            self._answer = None

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
        return self._answer is not None or bool(self._replies)

    def greeted(self, ok: pb.HelloOk) -> None:
        """As `connection.Listener.greeted`."""
        self._info = SessionInfo(
            ok.version, ok.revision, ok.sequence, ok.digest, ok.is_running, ok.last_event, ok.workspace, ok.seen_event
        )
        hello = self._connection.hello
        if not hello.resumes and not hello.last_event:
            hello.last_event = ok.seen_event
        self._sequence = ok.sequence
        self._partials = {partial.digest: partial.size_bytes for partial in ok.partials}

    async def resume(self) -> None:
        """Start the runtime that was lost with its agent."""
        if self._start_fields is not None and not self._known.is_running:
            with contextlib.suppress(LostError, RunnerError):
                await self._command_once(next(self._command_ids), "start", self._start_fields)

    def received(self, message: pb.Down) -> None:
        """As `connection.Listener.received`."""
        match message.WhichOneof("body"):
            case "ack":
                message.ack.applied_at_s = self._connection.here(message.ack.applied_at_s)
                settle(self._answer, message)
            case "need" | "refused":
                settle(self._answer, message)
            case "event":
                self._take_event(message.event)
            case "reply":
                settle(self._replies.get(message.reply.id), message.reply)
            case _:
                pass

    def lost(self) -> None:
        """As `connection.Listener.lost`."""
        self._fail_waiting(LostError())

    def went_offline(self, why: str) -> None:
        """As `connection.Listener.went_offline`."""
        self._say(0, events.Offline(time.monotonic(), 0, why))

    def came_online(self, offline_s: float) -> None:
        """As `connection.Listener.came_online`."""
        self._say(0, events.Online(time.monotonic(), offline_s))

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
        self._events.append((number, event))
        self._event_came.set()

    def _fail_waiting(self, error: Exception) -> None:
        fail([self._answer, *self._replies.values()], error)


def who_am_i() -> str:
    """Name this user and machine to others who want the session."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        user = f"uid{os.getuid()}"
    return f"{user}@{socket.gethostname()}"


class _ChangedError(Exception):
    """A file is not what the manifest said any more."""
