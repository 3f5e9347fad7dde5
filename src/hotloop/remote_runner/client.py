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
from hotloop.changes import WHOLE_BYTES, Changeset, Put
from hotloop.errors import HotloopError, RunnerError, WorkspaceError
from hotloop.remote_runner.bootstrap.source import own_source
from hotloop.remote_runner.connection import Connection
from hotloop.remote_runner.heartbeat import fail, settle
from hotloop.remote_runner.lanes import LANE, BulkLane, Flow
from hotloop.remote_runner.ordering import PathOrder
from hotloop.remote_runner.processes import is_alive
from hotloop.remote_runner.protocol import agent_pb2 as pb
from hotloop.remote_runner.protocol import codec
from hotloop.remote_runner.sending import BlockMemory, ChangedError, Content, messages
from hotloop.remote_runner.stream import LostError, SessionTakenError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence
    from pathlib import Path

    from hotloop.remote_runner.sending import ReadBlock
    from hotloop.remote_runner.tree import Entry
    from hotloop.remote_runner.way import Way

MAX_WAITING_EVENTS = 20_000
SYNC_ATTEMPTS = 8
COPIED_BYTES = 16 << 10  # a changeset up to this size goes by both lanes
UNASKED_BYTES = 64 << 20  # of a first copy: each runner keeps as much free
YIELDS_S = 2.0  # bulk leaves the line free for so long after an edit: another one may follow


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

    def read_block(self, put: Put, offset: int, num_bytes: int) -> bytes | None:
        """A piece of a file larger than `hotloop.changes.WHOLE_BYTES`; None likewise."""
        ...

    def look_again(self) -> None:
        """Have `entries` say what changed since they were made; `read` gives what they say from then on."""
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
        self._lane = BulkLane(way, self._answered, is_yielding=self._is_yielding) if way.num_lanes > LANE else None
        self._flow = Flow(self._connection.send, is_yielding=self._is_yielding)
        self._turn = asyncio.Lock()  # numbers are given, and sent, in order
        self._sync_lock = asyncio.Lock()
        self._bulk_lock = asyncio.Lock()
        self._order = PathOrder()
        self._blocks = BlockMemory()
        self._sequence = 0  # the newest that was given
        self._synced_at = 0  # the number of the last comparison of the whole tree
        self._is_empty_there = False  # nothing needs to be asked before a first copy
        self._outbox: dict[int, _Sent] = {}  # by number: not acknowledged
        self._asked: dict[int, asyncio.Future[pb.Down]] = {}  # by number: manifests and offers
        self._offer_numbers = itertools.count(1 << 62)  # none of a changeset
        self._stream_number = 0
        self._edited_at_s = -YIELDS_S
        self._info: SessionInfo | None = None
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
        self._source = source
        return await self._sync(source)

    async def push(self, changeset: Changeset) -> Applied:
        """Apply a changeset, whatever its sequence says: numbers are given here. Returns when it is applied.

        Several may be on their way. One with large contents is overtaken by those that touch other paths. Contents that
        are too large to be in it are read from what was given to `sync`, when their turn comes.

        Raises:
            RefusedError: It can't be applied; the workspace is as it was before.
            SessionTakenError: Another client holds the session.
        """
        try:
            return await self._push_numbered(changeset)
        except ChangedError:
            if self._source is None:
                raise
            return await self._sync(self._source)  # it has the file as it is by now

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
        if self._lane is not None:
            await self._lane.close()
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
        async with self._sync_lock:
            num_attempts = 0
            while num_attempts < SYNC_ATTEMPTS:
                await self._connection.until_connected()
                try:
                    return await self._sync_once(source)
                except LostError:
                    continue
                except (_ResyncError, ChangedError):
                    num_attempts += 1
                    if num_attempts > 1:  # not at once: what this finds is no edit of its own any more
                        source.look_again()
        msg = f"The project's files changed during each of {SYNC_ATTEMPTS} attempts to copy them."
        raise RefusedError(msg, hint="stop what writes there, or ignore it")

    async def _sync_once(self, source: SyncSource) -> Applied:
        """Compare, send what is needed, and have it applied. Changesets may be applied before the last step."""
        await self._send_unasked(source)
        async with self._turn:
            entries = source.entries()
            answer = await self._ask_numbered(lambda sequence: codec.manifest_frames(sequence, entries))
            synced_at = self._sequence
        if answer.WhichOneof("body") == "need":
            async with self._bulk_lock:
                await self._send_needed(answer.need, _contents_of(source, entries))
            async with self._turn:
                answer = await self._ask_numbered(lambda sequence: [pb.Up(become=pb.Become(sequence=sequence))])
        applied = self._applied(answer)
        self._begin_lane()
        self._synced_at = synced_at
        self._blocks.confirm()
        return applied

    def _begin_lane(self) -> None:
        """Have the lane, if it is not there: a first copy goes without, since connecting would take time from it."""
        if self._lane is not None and not self._lane.is_begun:
            self._lane.begin(self._connection.hello)

    async def _send_unasked(self, source: SyncSource) -> None:
        """Send all contents before the manifest, once, where nothing is there: asking takes many round trips of a new line.

        Large trees are asked for: the runner may have no room for them.
        """
        is_empty, self._is_empty_there = self._is_empty_there, False
        contents = _contents_of(source, source.entries()) if is_empty else []
        if contents and sum(content.put.size_bytes for content in contents) <= UNASKED_BYTES:
            async with self._bulk_lock:
                await self._send(contents, self._flow, is_waiting=False)
        else:
            self._begin_lane()

    async def _ask_numbered(self, frames_of: Callable[[int], list[pb.Up]]) -> pb.Down:
        """Ask for a change that takes the next number if it is made. Only in one's turn."""
        sequence = self._sequence + 1
        answer = await self._ask(sequence, frames_of(sequence))
        if answer.WhichOneof("body") == "ack":
            self._sequence = answer.ack.sequence
        return answer

    async def _send_needed(self, need: pb.Need, contents: Sequence[Content]) -> None:
        needed = {digest.hex() for digest in need.digests}
        here = {partial.digest: partial.size_bytes for partial in need.partials}
        wanted = [
            dataclasses.replace(content, here_bytes=here.get(content.put.digest, 0))
            for content in contents
            if content.put.digest in needed
        ]
        flow = self._lane.flow if self._lane is not None and self._lane.flow is not None else self._flow
        await self._send(wanted, flow)

    async def _send(self, contents: Sequence[Content], flow: Flow, *, is_waiting: bool = True) -> None:
        refused = await flow.carry(messages(contents, self._blocks), is_waiting=is_waiting)
        if refused is not None:
            self._blocks.clear()  # a copy may have been of what the runner does not have
            self._raise_refused(refused)

    async def _push_numbered(self, changeset: Changeset) -> Applied:
        self._begin_lane()
        large = _large_contents(changeset, self._source)
        if not large:  # one with large contents leaves the line free for others, not for itself
            self._edited_at_s = time.monotonic()
        async with self._order.turn(operation.path for operation in changeset.operations):
            if large:
                await self._offer(large)
            small = dataclasses.replace(changeset, contents=_without(changeset.contents, large))
            async with self._turn:
                await self._connection.until_connected()
                self._sequence = sequence = self._sequence + 1
                future = asyncio.get_running_loop().create_future()
                self._outbox[sequence] = _Sent(codec.encode_changeset(_numbered(small, sequence)), future)
                await self._flush()
        try:
            applied = self._applied(await future)
        except _ResyncError as error:
            if self._source is None:
                raise RefusedError(str(error)) from error
            if self._synced_at >= sequence:
                return Applied(self._known.revision, time.monotonic())
            return await self._sync(self._source)
        finally:
            self._outbox.pop(sequence, None)
        if large:
            self._blocks.confirm()
        return applied

    async def _offer(self, contents: Sequence[Content]) -> None:
        """Ask which large contents the runner lacks, and send those, however often the connection is lost meanwhile."""
        num_attempts = 0
        while True:
            await self._connection.until_connected()
            try:
                async with self._bulk_lock:  # another changeset may bring, or use up, the same content
                    await self._offer_once(contents)
            except LostError:
                continue
            except _ResyncError as error:
                num_attempts += 1
                if num_attempts == SYNC_ATTEMPTS:
                    raise RefusedError(str(error), hint="save the file again") from error
                continue
            return

    async def _offer_once(self, contents: Sequence[Content]) -> None:
        number = next(self._offer_numbers)
        digests = [bytes.fromhex(content.put.digest) for content in contents]
        answer = await self._ask(number, [pb.Up(offer=pb.Offer(sequence=number, digests=digests))])
        await self._send_needed(answer.need, contents)

    async def _flush(self) -> None:
        """Send what the present stream has not carried yet, oldest first. Only in one's turn."""
        for message in list(self._outbox.values()):
            if message.stream == self._stream_number:
                continue
            message.stream = self._stream_number
            try:
                sending = self._connection.send(message.frame)
                if self._lane is not None and message.frame.ByteSize() <= COPIED_BYTES:
                    self._lane.copy(message.frame)
                await sending
            except LostError:
                return

    def _is_yielding(self) -> bool:
        return bool(self._outbox) or time.monotonic() - self._edited_at_s < YIELDS_S

    def _applied(self, answer: pb.Down) -> Applied:
        if answer.WhichOneof("body") == "refused":
            self._raise_refused(answer.refused)
        ack = answer.ack
        self._info = dataclasses.replace(self._known, revision=max(ack.revision, self._known.revision))
        return Applied(ack.revision, ack.applied_at_s)

    @staticmethod
    def _raise_refused(refused: pb.Refused) -> None:
        if refused.reason in (pb.Refused.GAP, pb.Refused.CONTENT):
            raise _ResyncError(refused.message)
        raise RefusedError(refused.message, hint=refused.hint, path=refused.path)

    async def _ask(self, sequence: int, frames: Iterable[pb.Up]) -> pb.Down:
        """Send frames and wait for the one answer."""
        future = self._asked[sequence] = asyncio.get_running_loop().create_future()
        try:
            for frame in frames:
                await self._connection.send(frame)
                if future.done():
                    break
            return await future
        finally:
            self._asked.pop(sequence, None)

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
        return bool(self._asked or self._outbox or self._replies)

    def greeted(self, ok: pb.HelloOk) -> None:
        """As `connection.Listener.greeted`."""
        self._info = SessionInfo(
            ok.version, ok.revision, ok.sequence, ok.digest, ok.is_running, ok.last_event, ok.workspace, ok.seen_event
        )
        hello = self._connection.hello
        if not hello.resumes and not hello.last_event:
            hello.last_event = ok.seen_event
        self._sequence = max(self._sequence, ok.sequence) if hello.resumes else ok.sequence
        self._is_empty_there = ok.is_empty
        self._stream_number += 1
        self._flow = Flow(self._connection.send, is_yielding=self._is_yielding)
        if not ok.is_empty:
            self._begin_lane()

    async def resume(self) -> None:
        """Send again what was not acknowledged, and start the runtime that was lost with its agent."""
        async with self._turn:
            await self._flush()
        if self._start_fields is not None and not self._known.is_running:
            with contextlib.suppress(LostError, RunnerError):
                await self._command_once(next(self._command_ids), "start", self._start_fields)

    def received(self, message: pb.Down) -> None:
        """As `connection.Listener.received`."""
        match message.WhichOneof("body"):
            case "received":
                self._flow.received(message.received.num_bytes)
            case "refused" if not message.refused.sequence:
                self._flow.refused(message.refused)
            case "ack" | "need" | "refused":
                self._answered(message)
            case "event":
                self._take_event(message.event)
            case "reply":
                settle(self._replies.get(message.reply.id), message.reply)
            case _:
                pass

    def _answered(self, message: pb.Down) -> None:
        """Settle what waits for an answer. A changeset's may come by either lane."""
        kind = message.WhichOneof("body")
        sequence = getattr(message, kind).sequence if kind in {"ack", "need", "refused"} else 0
        if kind == "ack":
            message.ack.applied_at_s = self._connection.here(message.ack.applied_at_s)
        sent = self._outbox.get(sequence)
        settle(sent.answer if sent is not None else self._asked.get(sequence), message)

    def lost(self) -> None:
        """As `connection.Listener.lost`."""
        self._flow.lost(LostError())
        if self._lane is not None:
            self._lane.end()
        fail([*self._asked.values(), *self._replies.values()], LostError())

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
        self._events.append((number, event))
        self._event_came.set()

    def _fail_waiting(self, error: Exception) -> None:
        sent = [message.answer for message in self._outbox.values()]
        self._flow.lost(error)
        fail([*sent, *self._asked.values(), *self._replies.values()], error)


def who_am_i() -> str:
    """Name this user and machine to others who want the session."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        user = f"uid{os.getuid()}"
    return f"{user}@{socket.gethostname()}"


@dataclass(slots=True)
class _Sent:
    """A changeset that is not acknowledged; ``stream`` is the number of the newest stream that carried it."""

    frame: pb.Up
    answer: asyncio.Future[pb.Down]
    stream: int = 0


def _numbered(changeset: Changeset, sequence: int) -> Changeset:
    return dataclasses.replace(changeset, sequence=sequence)


def _large_contents(changeset: Changeset, source: SyncSource | None) -> list[Content]:
    """The contents to send as parts: those that are still to be read, and all others if they are too much for one message."""
    puts = {operation.digest: operation for operation in changeset.operations if isinstance(operation, Put)}
    held = changeset.contents
    are_inline = sum(map(len, held.values())) <= codec.INLINE_BYTES
    large = [] if are_inline else [Content(puts[digest], _reader(content)) for digest, content in held.items()]
    if source is not None:
        to_read = [put for put in puts.values() if put.size_bytes > WHOLE_BYTES and put.digest not in held]
        large += [_content_of(source, put) for put in to_read]
    return large


def _without(contents: dict[str, bytes], sent: Sequence[Content]) -> dict[str, bytes]:
    digests = {content.put.digest for content in sent}
    return {digest: content for digest, content in contents.items() if digest not in digests}


def _reader(content: bytes) -> ReadBlock:
    view = memoryview(content)
    return lambda offset, num_bytes: view[offset : offset + num_bytes]


def _contents_of(source: SyncSource, entries: Sequence[Entry]) -> list[Content]:
    by_digest = {entry.digest: entry for entry in entries if isinstance(entry, Put)}
    return [_content_of(source, put) for put in by_digest.values()]


def _content_of(source: SyncSource, put: Put) -> Content:
    whole: list[bytes | None] = []

    def read(offset: int, num_bytes: int) -> bytes | memoryview | None:
        if put.size_bytes > WHOLE_BYTES:
            return source.read_block(put, offset, num_bytes)
        if not whole:
            whole.append(source.read(put))
        content = whole[0]
        if content is not None and offset + num_bytes >= put.size_bytes:
            whole.clear()
        return content[offset : offset + num_bytes] if content is not None else None

    return Content(put, read)
