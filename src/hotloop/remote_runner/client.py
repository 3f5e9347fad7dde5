# pyright: basic
"""The client's end of a session: one stream to the agent, kept up across cuts, with nothing lost or done twice.

Basic type checks: grpc has no types, and what protoc generates derives from untyped classes. Longer than most files: what
is sent and what a cut does to it share one state.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import json
import os
import time
import uuid
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

import grpc

from hotloop import __version__, events
from hotloop.changes import Changeset, Put
from hotloop.errors import HotloopError, RunnerError, WorkspaceError
from hotloop.remote_runner.protocol import agent_pb2 as pb
from hotloop.remote_runner.protocol import codec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator, Sequence
    from pathlib import Path

    from hotloop.remote_runner.tree import Entry
    from hotloop.remote_runner.way import Way

MAX_WAITING_EVENTS = 20_000
RETRY_S = (0.0, 0.05, 0.2, 0.5, 1.0, 2.0)
SYNC_ATTEMPTS = 5
WRITE_TIMEOUT_S = 1.0  # of a write that nobody wants any more, on a connection that takes nothing


class RefusedError(WorkspaceError):
    """A changeset was refused; the workspace is as it was before.

    Attributes:
        path: The file that it was about, empty if it is none's.
    """

    def __init__(self, message: str, *, hint: str = "", path: str = "") -> None:
        super().__init__(message, hint=hint)
        self.path = path


class SessionTakenError(RunnerError):
    """Another client holds the session now, or this client's version is not the agent's. Reconnecting does not help."""


class _LostError(Exception):
    """The stream ended while something was waited for."""


class _ResyncError(Exception):
    """The agent can't place the changeset: the whole tree has to be compared."""


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """What the agent said when the session was opened.

    Attributes:
        revision: What the workspace holds, 0 if it is new.
        digest: Of the workspace's tree.
        is_running: Whether a runtime runs already: a client left it without `end`.
        last_event: Events up to this number happened before; they are given again.
        workspace: The tree's folder on the runner.
    """

    version: str
    revision: int
    sequence: int
    digest: str
    is_running: bool
    last_event: int
    workspace: str


@dataclass(frozen=True, slots=True)
class Applied:
    """A changeset is in the workspace.

    Attributes:
        applied_at_s: CLOCK_MONOTONIC on the runner.
    """

    revision: int
    applied_at_s: float


class SyncSource(Protocol):
    """The client's tree, for the first sync. `hotloop.devloop.index.Index` is one."""

    def entries(self) -> Sequence[Entry]:
        """All that the workspace is to hold."""
        ...

    def read(self, put: Put) -> bytes | None:
        """A file's content; None if it is another by now, in which case `entries` says so from then on."""
        ...


class LinkChanged(Protocol):
    """Told of the connection to the agent."""

    def __call__(self, *, is_up: bool) -> None:
        """It was lost, or is there again."""
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
        self._way = way
        self._hello = pb.Hello()
        self._epochs = itertools.count(time.time_ns())
        self._call: Any = None
        self._connected = asyncio.Event()
        self._fatal: HotloopError | None = None
        self._is_closed = False
        self._task: asyncio.Task[None] | None = None
        self._write_lock = asyncio.Lock()
        self._push_lock = asyncio.Lock()
        self._sequence = 0
        self._info: SessionInfo | None = None
        self._partials: dict[str, int] = {}
        self._answer: asyncio.Future[pb.Down] | None = None  # to the manifest or changeset that is under way
        self._replies: dict[int, asyncio.Future[pb.Reply]] = {}
        self._command_ids = itertools.count(1)
        self._pongs: dict[int, asyncio.Future[pb.Pong]] = {}
        self._events: deque[tuple[int, events.Event]] = deque(maxlen=MAX_WAITING_EVENTS)
        self._event_came = asyncio.Event()
        self._source: SyncSource | None = None
        self._start_fields: dict[str, Any] | None = None
        self._link_changed: LinkChanged | None = None

    # --- the session

    def watch_link(self, changed: LinkChanged) -> None:
        """Have it called whenever the connection is lost, and when it is there again."""
        self._link_changed = changed

    async def open(self, project_root: Path, project_id: str, *, after_event: int = 0) -> SessionInfo:
        """Connect and take the session; another client that has it loses it.

        Args:
            project_root: As the user knows it.
            project_id: 8 to 64 hexadecimal digits, the same for the same project.
            after_event: Events up to this number are not wanted.

        Raises:
            SessionTakenError: The agent is of another version and has sessions, or a newer client came meanwhile.
            RunnerError: The agent can't be reached.
        """
        self._hello = pb.Hello(
            protocol=codec.PROTOCOL,
            version=__version__,
            project_id=project_id,
            client_id=uuid.uuid4().hex,
            last_event=after_event,
            shown_root=str(project_root),
        )
        self._task = asyncio.create_task(self._stay_connected(), name="agent session")
        await self._until_connected()
        if self._info is None:
            msg = "The agent closed the connection."
            raise RunnerError(msg)
        return self._info

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
                except _LostError:
                    await self._until_connected()
                    if self._sequence >= numbered.sequence:  # the cut came after it was applied
                        return Applied(self._known.revision, time.monotonic())
                except _ResyncError as error:
                    if self._source is None:
                        raise RefusedError(str(error)) from error
                    return await self._sync(self._source)

    async def start(self, config: dict[str, Any]) -> bool:
        """Start the runtime, and start it again if the agent is lost and comes back.

        Returns:
            Whether it ran already with this configuration.
        """
        reply = await self.command("start", config=config)
        return bool(reply.get("was_running"))

    async def command(self, name: str, /, **fields: Any) -> dict[str, Any]:
        """Have the agent (or through it the runtime) do something: start, stop, pin, unpin, reload, probe, status.

        Raises:
            RunnerError: It was refused.
        """
        if name == "start":
            self._start_fields = fields
        elif name in {"stop", "end"}:
            self._start_fields = None
        while True:
            await self._until_connected()
            try:
                return await self._command_once(name, fields)
            except _LostError:
                if name == "end" or self._is_closed:
                    return {}

    async def end(self) -> None:
        """End the session: its runtime and all processes; the agent too if it was the last."""
        await self.command("end")
        await self.close()

    async def ping(self) -> float:
        """Measure a round trip to the agent, seconds."""
        await self._until_connected()
        started_s = time.monotonic()
        number = next(self._command_ids)
        future = self._pongs[number] = asyncio.get_running_loop().create_future()
        await self._send(pb.Up(ping=pb.Ping(number=number)))
        await future
        return time.monotonic() - started_s

    async def events(self) -> AsyncIterator[tuple[int, events.Event]]:
        """Give each event once, in order. Number 0 is what this side found itself, such as a lost connection.

        Raises:
            RunnerError: The session is lost for good.
        """
        while True:
            while self._events:
                yield self._events.popleft()
            if self._fatal is not None:
                raise self._fatal
            if self._is_closed:
                return
            self._event_came.clear()
            await self._event_came.wait()

    async def close(self) -> None:
        """Close the connection; the session goes on without this client."""
        self._is_closed = True
        self._event_came.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._fail_waiting(_LostError())

    @property
    def _known(self) -> SessionInfo:
        if self._info is None:
            msg = "The session is not open."
            raise RunnerError(msg)
        return self._info

    # --- one exchange

    async def _sync(self, source: SyncSource) -> Applied:
        for _ in range(SYNC_ATTEMPTS):
            await self._until_connected()
            try:
                applied = await self._sync_once(source)
            except (_LostError, _ResyncError):
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
        await self._until_connected()
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
                await self._send(frame)
                if future.done():
                    break
            return await future
        finally:
            self._answer = None

    async def _command_once(self, name: str, fields: dict[str, Any]) -> dict[str, Any]:
        number = next(self._command_ids)
        future = self._replies[number] = asyncio.get_running_loop().create_future()
        try:
            await self._send(pb.Up(command=pb.Command(id=number, name=name, json=json.dumps(fields).encode())))
            reply = await future
        finally:
            self._replies.pop(number, None)
        if reply.error:
            raise RunnerError(reply.error, hint=reply.hint)
        return json.loads(reply.json)

    async def _send(self, message: pb.Up) -> None:
        call = self._call
        if call is None:
            raise _LostError
        try:
            async with self._write_lock:  # gRPC allows one write at a time
                await _finish(call.write(message))
        except (grpc.RpcError, asyncio.InvalidStateError, grpc.aio.UsageError, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and _is_being_cancelled():
                raise
            if call is self._call:  # the reader has not found out yet: nobody is to try again before it has
                self._connected.clear()
            raise _LostError from error

    # --- the connection

    async def _until_connected(self) -> None:
        await self._connected.wait()
        if self._fatal is not None:
            raise self._fatal
        if self._is_closed:
            msg = "The session is closed."
            raise RunnerError(msg)

    async def _stay_connected(self) -> None:
        failures = 0
        while True:
            try:
                await self._hold_stream()
                failures = 0
            except HotloopError as error:
                self._die(error)
                return
            except (grpc.RpcError, _LostError, OSError, asyncio.InvalidStateError, grpc.aio.UsageError):
                failures = 0 if self._call is not None else failures + 1
            except asyncio.CancelledError:
                if self._is_closed or _is_being_cancelled():
                    raise
                failures = 0
            self._lose()
            if failures >= len(RETRY_S):
                self._die(RunnerError("The agent can't be reached.", hint="look at the agent's log, then start again"))
                return
            await asyncio.sleep(RETRY_S[failures])

    async def _hold_stream(self) -> None:
        address = await self._way.dial()
        async with grpc.aio.insecure_channel(address, options=codec.CHANNEL_OPTIONS) as channel:
            method = channel.stream_stream(
                codec.METHOD, request_serializer=pb.Up.SerializeToString, response_deserializer=pb.Down.FromString
            )
            call = method()
            self._hello.epoch = next(self._epochs)
            await call.write(pb.Up(hello=self._hello))
            first = await call.read()
            if not isinstance(first, pb.Down):
                raise _LostError
            self._greet(first)
            self._call = call
            self._connected.set()
            self._tell_link(is_up=True)
            restart = asyncio.create_task(self._start_again(), name="start again")
            try:
                while isinstance(message := await call.read(), pb.Down):
                    self._take(message)
            finally:
                restart.cancel()
                call.cancel()

    def _greet(self, message: pb.Down) -> None:
        if message.WhichOneof("body") == "refused":
            self._refuse_stream(message.refused)
        ok = message.hello_ok
        self._info = SessionInfo(
            ok.version, ok.revision, ok.sequence, ok.digest, ok.is_running, ok.last_event, ok.workspace
        )
        self._sequence = ok.sequence
        self._partials = {partial.digest: partial.size_bytes for partial in ok.partials}

    @staticmethod
    def _refuse_stream(refused: pb.Refused) -> None:
        if refused.reason == pb.Refused.RETIRING:  # it ends; the next attempt starts an agent of this version
            raise _LostError
        raise SessionTakenError(refused.message, hint=refused.hint)

    async def _start_again(self) -> None:
        """Start the runtime that was lost with its agent."""
        if self._start_fields is not None and not self._known.is_running:
            with contextlib.suppress(_LostError, RunnerError):
                await self._command_once("start", self._start_fields)

    def _take(self, message: pb.Down) -> None:
        match message.WhichOneof("body"):
            case "ack" | "need":
                self._resolve(message)
            case "refused":
                if message.refused.reason in (pb.Refused.STALE, pb.Refused.VERSION, pb.Refused.HELLO):
                    self._refuse_stream(message.refused)
                self._resolve(message)
            case "event":
                self._take_event(message.event)
            case "reply":
                _settle(self._replies.get(message.reply.id), message.reply)
            case "pong":
                _settle(self._pongs.pop(message.pong.number, None), message.pong)
            case _:
                pass

    def _resolve(self, message: pb.Down) -> None:
        _settle(self._answer, message)

    def _take_event(self, message: pb.Event) -> None:
        if message.number <= self._hello.last_event:
            return
        self._hello.last_event = message.number
        with contextlib.suppress(ValueError, TypeError):  # an agent of another patch may know more events
            self._events.append((message.number, events.from_json(json.loads(message.json))))
            self._event_came.set()

    def _tell_link(self, *, is_up: bool) -> None:
        if self._link_changed is not None:
            self._link_changed(is_up=is_up)

    def _lose(self) -> None:
        was_connected = self._call is not None
        self._tell_link(is_up=False)
        self._connected.clear()
        self._call = None
        self._fail_waiting(_LostError())
        if was_connected and not self._is_closed:
            self._events.append(
                (0, events.Held(time.monotonic(), "lost the connection to the agent; connecting again"))
            )
            self._event_came.set()

    def _die(self, error: HotloopError) -> None:
        self._fatal = error
        self._call = None
        self._connected.set()  # whoever waits finds out
        self._event_came.set()
        self._fail_waiting(error)

    def _fail_waiting(self, error: Exception) -> None:
        for future in [self._answer, *self._replies.values(), *self._pongs.values()]:
            if future is not None and not future.done():
                future.set_exception(error)
                future.exception()  # seen: it may have nobody who waits
        self._pongs.clear()


class _ChangedError(Exception):
    """A file is not what the manifest said any more."""


async def _finish(write: Awaitable[None]) -> None:
    """Write to the end, also if whoever wants it is cancelled meanwhile: gRPC would end the whole stream."""
    writing = asyncio.ensure_future(write)
    try:
        await asyncio.shield(writing)
    except asyncio.CancelledError:
        await asyncio.wait([writing], timeout=WRITE_TIMEOUT_S)
        raise


def _is_being_cancelled() -> bool:
    """Whether this task is; if not, a cancellation is gRPC's own: the call was cancelled, not its caller."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _settle(future: asyncio.Future[Any] | None, value: Any) -> None:
    if future is not None and not future.done():
        future.set_result(value)
