# pyright: basic
"""One client's connections: its stream, which reads what comes up and writes what goes down in one task each, and its lanes.

Basic type checks: grpc has no types, and what protoc generates derives from untyped classes.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from typing import TYPE_CHECKING, Any

import grpc

from hotloop import __version__, clock
from hotloop.errors import HotloopError
from hotloop.remote_runner.bootstrap.source import own_source
from hotloop.remote_runner.following import since
from hotloop.remote_runner.holding import HeldError, Holder
from hotloop.remote_runner.places import PROJECT_ID
from hotloop.remote_runner.protocol import agent_pb2 as pb
from hotloop.remote_runner.protocol import codec
from hotloop.remote_runner.sessions import READ
from hotloop.remote_runner.tree_sync import Received, TreeSync, offered, take_parts

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

    from hotloop.remote_runner.agent import Agent
    from hotloop.remote_runner.sessions import Session

MAX_UNDONE = 1024  # messages that wait for those before them; a client that sends more is not read meanwhile
SILENT_S = 20.0  # clients ping every 10 s at least: one that does not say anything for so long is gone


class Stream:
    """A connection of one client. It holds its session until it ends or another stream takes it.

    Attributes:
        tree: What the client says of its tree, by this connection or a lane.
    """

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._client_id = ""
        self._heard_at_s = time.monotonic()
        self._session: Session | None = None
        self._out: deque[pb.Down] = deque()
        self._wake = asyncio.Event()
        self._is_over = False
        self._next_event = 0
        self.tree = TreeSync()
        self._received = Received()
        self._commands: set[asyncio.Task[None]] = set()
        self._undone: asyncio.Queue[pb.Up] = asyncio.Queue(MAX_UNDONE)

    async def run(self, requests: AsyncIterator[pb.Up]) -> AsyncGenerator[pb.Down, None]:
        """Give what goes down until the client is gone."""
        reader = asyncio.create_task(self._read(requests), name="stream reader")
        doer = asyncio.create_task(self._do_all(), name="stream doer")
        try:
            while not (self._is_over and not self._out):
                while self._out:
                    yield self._out.popleft()
                for number, event in self._events():
                    self._next_event = number
                    yield pb.Down(event=pb.Event(number=number, json=event))
                if not self._out and not self._has_events():
                    self._wake.clear()
                    if not self._is_over:
                        await self._wake.wait()
        finally:
            reader.cancel()
            doer.cancel()
            await asyncio.gather(reader, doer, return_exceptions=True)
            if self._session is not None:
                self._session.leave(self)
            self._agent.stream_ended(self)

    def wake(self) -> None:
        """There are events to send."""
        self._wake.set()

    def end(self) -> None:
        """Send what waits, then end: the same client has another stream."""
        self._end()

    def supersede(self, by: Holder) -> None:
        """Another client holds the session from now on."""
        hint = "start again with --take to take it back"
        self._refuse(pb.Refused.STALE, "Another client took over this session.", hint, holder=by)
        self._end()

    def end_if_silent(self, now_s: float) -> None:
        """End if the client said nothing for too long: its network is gone, or its machine."""
        if now_s - self._heard_at_s > SILENT_S:
            self._end()
            self._out.clear()

    # --- down

    def _send(self, message: pb.Down) -> None:
        self._out.append(message)
        self._wake.set()

    def _end(self) -> None:
        self._is_over = True
        self._wake.set()

    def _refuse(
        self,
        reason: Any,
        message: str,
        hint: str = "",
        *,
        sequence: int = 0,
        path: str = "",
        holder: Holder | None = None,
    ) -> None:
        refused = pb.Refused(reason=reason, message=message, hint=hint, sequence=sequence, path=path)
        if holder is not None:
            held_s = time.monotonic() - holder.since_s
            refused.holder.CopyFrom(pb.Holder(who=holder.who, pid=holder.pid, held_s=held_s))
        self._send(pb.Down(refused=refused))

    def _events(self) -> list[tuple[int, bytes]]:
        if self._session is None:
            return []
        found = since(self._session.journal, self._next_event)
        if not found:  # what came in between is forgotten: asking for it again would never end
            self._next_event = self._session.journal.last
        return found

    def _has_events(self) -> bool:
        return self._session is not None and self._next_event < self._session.journal.last

    # --- up

    async def _read(self, requests: AsyncIterator[pb.Up]) -> None:
        try:
            async for message in requests:
                if self._is_over:
                    return
                self._heard_at_s = time.monotonic()
                if message.HasField("ping"):  # at once: comparing a large tree takes seconds, and the link lives
                    self._pong(message.ping)
                else:
                    await self._undone.put(message)
            await self._undone.join()
        except grpc.RpcError:
            pass  # the client is gone, which is what the end of the stream says too
        finally:
            self._end()

    def _pong(self, ping: pb.Ping) -> None:
        if self._session is not None:
            self._session.journal.note_seen(ping.last_event)
        self._send(pb.Down(pong=pb.Pong(number=ping.number, at_s=time.monotonic())))

    async def _do_all(self) -> None:
        """Do what came, in order."""
        try:
            while not self._is_over:
                message = await self._undone.get()
                await self._take(message)
                self._undone.task_done()
        finally:
            self._end()

    async def _take(self, message: pb.Up) -> None:
        kind = message.WhichOneof("body")
        if kind == "hello":
            await self._hello(message.hello)
        elif self._session is None or not self._session.is_held_by(self):
            self._refuse(pb.Refused.HELLO, "The first message of a stream must be a Hello.")
            self._end()
        elif kind == "command":
            # A command may take long (a stop drains); changesets do not wait for it.
            task = asyncio.create_task(self._command(self._session, message.command))
            self._commands.add(task)
            task.add_done_callback(self._commands.discard)
        else:
            await self._write(self._session, kind, message)

    async def _write(self, session: Session, kind: str | None, message: pb.Up) -> None:
        if kind == "parts":  # not behind what holds the lock: they change no tree
            for answer in await take_parts(session, message.parts, self._received):
                self._send(answer)
            return
        async with session.lock:
            if session.is_closed or not session.is_held_by(self):  # ended or taken over while this waited
                return
            if kind == "changeset":
                self._send(self.tree.changeset(session, message.changeset))
            elif kind == "manifest":
                if (answer := await self.tree.manifest(session, message.manifest)) is not None:
                    self._send(answer)
            elif kind == "become":
                self._send(await self.tree.become(session, message.become.sequence))
            elif kind == "offer":
                self._send(offered(session, message.offer))

    async def _hello(self, hello: pb.Hello) -> None:
        if not _is_alike(hello):
            self._refuse_version(hello)
        elif not PROJECT_ID.fullmatch(hello.project_id) or self._session is not None:
            self._refuse(pb.Refused.HELLO, f"Project id {hello.project_id!r} is not 8 to 64 hexadecimal digits.")
            self._end()
        else:
            await self._open(hello)

    def _refuse_version(self, hello: pb.Hello) -> None:
        other = hello.version if hello.version != __version__ else f"{hello.version} too, but of other source"
        message = f"The agent is hotloop {__version__}, this client is {other}."
        if self._agent.has_sessions:
            hint = "hotloop status shows its sessions; hotloop stop ends one, hotloop runner upgrade local (or its name) all"
            self._refuse(pb.Refused.VERSION, message, hint)
        elif hello.resumes:  # the agent that it knew is gone, and the next one would be as this one is
            self._refuse(pb.Refused.VERSION, message, "start again")
        else:
            self._refuse(pb.Refused.RETIRING, message)
            self._agent.retire()
        self._end()

    async def _open(self, hello: pb.Hello) -> None:
        try:
            session = await self._agent.session(hello.project_id, is_reconnect=hello.resumes)
            holder = Holder(hello.client_id, hello.who, hello.pid, hello.epoch)
            session.take(self, holder, resumes=hello.resumes, is_taking=hello.take)
        except HotloopError as error:
            self._refuse_hello(error)
            return
        self._client_id = hello.client_id
        session.shown_root = hello.shown_root
        session.idle_timeout_s = hello.idle_timeout_s or session.idle_timeout_s
        session.journal.go_on_from(hello.last_event)
        self._next_event = hello.last_event if hello.resumes or hello.last_event else session.journal.seen
        async with session.lock:
            self._send(pb.Down(hello_ok=self._greeting(session)))
        self._session = session
        self._wake.set()
        session.runtime.anticipate()

    def _refuse_hello(self, error: HotloopError) -> None:
        holder = error.holder if isinstance(error, HeldError) else None
        reason = pb.Refused.HELD if isinstance(error, HeldError) and error.is_held else pb.Refused.STALE
        self._refuse(reason, error.message, error.hint, holder=holder)
        self._end()

    @staticmethod
    def _greeting(session: Session) -> pb.HelloOk:
        workspace = session.workspace
        partials = [pb.Partial(digest=name, size_bytes=size) for name, size in workspace.stage.partials().items()]
        return pb.HelloOk(
            version=__version__,
            sequence=workspace.sequence,
            revision=workspace.revision,
            digest=workspace.digest(),
            partials=partials,
            is_running=session.runtime.is_running,
            last_event=session.journal.last,
            at_s=time.monotonic(),
            workspace=str(workspace.root),
            seen_event=session.journal.seen,
            boot_id=clock.boot_id(),
            is_empty=workspace.is_empty,
        )

    async def _command(self, session: Session, command: pb.Command) -> None:
        async def done(fields: dict[str, Any]) -> dict[str, Any]:
            if command.name == "end":
                session.end_told()
                return await self._agent.end(session)
            if command.name in READ:
                return await session.command(command.name, fields)
            return await session.command_once(self._client_id, command.id, command.name, fields)

        self._send(pb.Down(reply=await reply_to(command, done)))


class Lane:
    """Another connection of the client that holds a session, for bulk and for copies of small changesets."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._received = Received()

    async def run(self, requests: AsyncIterator[pb.Up]) -> AsyncGenerator[pb.Down, None]:
        """Answer each message until the client is gone, or its session's stream is not this one's any more."""
        try:
            hello = (await anext(requests)).hello
            session = self._agent.find(hello.project_id)
            stream = session.client if session is not None else None
            if session is None or not isinstance(stream, Stream) or not _is_of(session, hello):
                message = "This lane belongs to no connection that holds its session."
                yield pb.Down(refused=pb.Refused(reason=pb.Refused.STALE, message=message))
                return
            yield pb.Down(hello_ok=pb.HelloOk(version=__version__))
            async for message in requests:
                if not session.is_held_by(stream):
                    return
                for answer in await self._answer(session, stream, message):
                    yield answer
        except (grpc.RpcError, StopAsyncIteration):
            return  # the client is gone

    async def _answer(self, session: Session, stream: Stream, message: pb.Up) -> list[pb.Down]:
        kind = message.WhichOneof("body")
        if kind == "parts":
            return await take_parts(session, message.parts, self._received)
        if kind != "changeset":
            return [pb.Down(refused=pb.Refused(reason=pb.Refused.HELLO, message=f"A lane takes no {kind}."))]
        async with session.lock:
            is_over = session.is_closed or not session.is_held_by(stream)
            return [] if is_over else [stream.tree.changeset(session, message.changeset)]


def _is_of(session: Session, hello: pb.Hello) -> bool:
    holder = session.holder
    is_same = holder is not None and (holder.client_id, holder.epoch) == (hello.client_id, hello.epoch)
    return is_same and _is_alike(hello)


def _is_alike(hello: pb.Hello) -> bool:
    """Whether client and agent are the same hotloop."""
    is_same = (hello.protocol, hello.version) == (codec.PROTOCOL, __version__)
    return is_same and hello.source in {"", own_source().digest}


async def reply_to(command: pb.Command, do: Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]) -> pb.Reply:
    """Do a command with its fields; what goes wrong is in the reply."""
    try:
        result = await do(json.loads(command.json or b"{}"))
    except (HotloopError, OSError, KeyError, ValueError) as error:
        message, hint = (error.message, error.hint) if isinstance(error, HotloopError) else (repr(error), "")
        return pb.Reply(id=command.id, error=message, hint=hint)
    return pb.Reply(id=command.id, json=json.dumps(result).encode())
