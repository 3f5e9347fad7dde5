# pyright: basic
"""One client's stream: reads what comes up, writes what goes down, in one task each.

Basic type checks: grpc has no types, and what protoc generates derives from untyped classes.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from typing import TYPE_CHECKING, Any

import grpc

from hotloop import __version__
from hotloop.errors import HotloopError, WorkspaceError
from hotloop.remote_runner.logs import make_logs
from hotloop.remote_runner.places import PROJECT_ID
from hotloop.remote_runner.protocol import agent_pb2 as pb
from hotloop.remote_runner.protocol import codec
from hotloop.remote_runner.tree import Tree
from hotloop.remote_runner.tunnels import make_tunnel
from hotloop.remote_runner.workspace import Applied, ContentMissingError, GapError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hotloop.remote_runner.agent import Agent
    from hotloop.remote_runner.sessions import Session


class Stream:
    """A connection of one client. It holds its session until it ends or another stream takes it."""

    def __init__(self, agent: Agent) -> None:
        self.client_id = ""
        self._agent = agent
        self._session: Session | None = None
        self._out: deque[pb.Down] = deque()
        self._wake = asyncio.Event()
        self._is_over = False
        self._next_event = 0
        self._target: list[Any] = []
        self._pending: pb.Manifest | None = None
        self._pending_tree = Tree()
        self._needed: set[str] = set()
        self._commands: set[asyncio.Task[None]] = set()

    async def run(self, requests: AsyncIterator[pb.Up]) -> AsyncIterator[pb.Down]:
        """Give what goes down until the client is gone."""
        reader = asyncio.create_task(self._read(requests), name="stream reader")
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
            await asyncio.gather(reader, return_exceptions=True)
            if self._session is not None:
                self._session.leave(self)
            self._agent.stream_ended()

    def wake(self) -> None:
        """There are events to send."""
        self._wake.set()

    def supersede(self) -> None:
        """Another stream holds the session from now on."""
        self._refuse(pb.Refused.STALE, "Another client took over this session.", "only one client can hold a project")
        self._end()

    # --- down

    def _send(self, message: pb.Down) -> None:
        self._out.append(message)
        self._wake.set()

    def _end(self) -> None:
        self._is_over = True
        self._wake.set()

    def _refuse(self, reason: Any, message: str, hint: str = "", *, sequence: int = 0, path: str = "") -> None:
        refused = pb.Refused(reason=reason, message=message, hint=hint, sequence=sequence, path=path)
        self._send(pb.Down(refused=refused))

    def _events(self) -> list[tuple[int, bytes]]:
        if self._session is None:
            return []
        found = self._session.journal.since(self._next_event)
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
                await self._take(message)
        except grpc.RpcError:
            pass  # the client is gone, which is what the end of the stream says too
        finally:
            self._end()

    async def _take(self, message: pb.Up) -> None:
        kind = message.WhichOneof("body")
        if kind == "ping":
            self._send(pb.Down(pong=pb.Pong(number=message.ping.number, at_s=time.monotonic())))
        elif kind == "hello":
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
        async with session.lock:
            if not session.is_held_by(self):  # taken over while this waited
                return
            if kind == "changeset":
                self._changeset(session, message.changeset)
            elif kind == "manifest":
                await self._manifest(session, message.manifest)
            elif kind == "parts":
                await self._parts(session, message.parts)

    async def _hello(self, hello: pb.Hello) -> None:
        if hello.protocol != codec.PROTOCOL or hello.version != __version__:
            self._refuse_version(hello)
        elif not PROJECT_ID.fullmatch(hello.project_id) or self._session is not None:
            self._refuse(pb.Refused.HELLO, f"Project id {hello.project_id!r} is not 8 to 64 hexadecimal digits.")
            self._end()
        else:
            await self._open(hello)

    def _refuse_version(self, hello: pb.Hello) -> None:
        message = f"The agent is hotloop {__version__}, this client is {hello.version}."
        if self._agent.has_sessions:
            hint = "end the sessions that run with the other version, then start again"
            self._refuse(pb.Refused.VERSION, message, hint)
        else:
            self._refuse(pb.Refused.RETIRING, message)
            self._agent.retire()
        self._end()

    async def _open(self, hello: pb.Hello) -> None:
        try:
            session = await self._agent.session(hello.project_id, is_reconnect=hello.last_event > 0)
            self.client_id = hello.client_id
            session.take(self, hello.epoch)
        except HotloopError as error:
            self._refuse(pb.Refused.STALE, error.message, error.hint)
            self._end()
            return
        self._next_event = min(hello.last_event, session.journal.last)
        async with session.lock:
            self._send(pb.Down(hello_ok=self._greeting(session)))
        self._session = session
        self._wake.set()

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
        )

    # --- the tree

    def _changeset(self, session: Session, message: pb.Changeset) -> None:
        try:
            applied = session.apply(codec.decode_changeset(message))
        except (HotloopError, OSError) as error:
            self._refuse_changeset(message.sequence, error)
        else:
            self._acknowledge(applied)

    def _acknowledge(self, applied: Applied) -> None:
        ack = pb.Ack(sequence=applied.sequence, revision=applied.revision, applied_at_s=applied.applied_at_s)
        self._send(pb.Down(ack=ack))

    def _refuse_changeset(self, sequence: int, error: HotloopError | OSError) -> None:
        reason = pb.Refused.CHANGESET
        if isinstance(error, GapError):
            reason = pb.Refused.GAP
        elif isinstance(error, ContentMissingError):
            reason = pb.Refused.CONTENT
        hint = error.hint if isinstance(error, HotloopError) else "look at the runner's disk and permissions"
        self._refuse(reason, str(error), hint, sequence=sequence, path=getattr(error, "path", ""))

    async def _manifest(self, session: Session, manifest: pb.Manifest) -> None:
        self._target += [codec.decode_operation(entry) for entry in manifest.entries]
        if not manifest.is_last:
            return
        target, self._target = Tree(self._target), []
        self._pending, self._pending_tree = manifest, target
        self._needed = await asyncio.to_thread(session.workspace.missing, target)
        if self._needed:
            digests = [bytes.fromhex(digest) for digest in sorted(self._needed)]
            self._send(pb.Down(need=pb.Need(sequence=manifest.sequence, digests=digests)))
        else:
            await self._become(session)

    async def _parts(self, session: Session, parts: pb.Parts) -> None:
        for part in parts.parts:
            digest = part.digest.hex()
            try:
                is_whole = session.workspace.stage.add_part(digest, part.offset, part.size_bytes, part.data)
            except (WorkspaceError, OSError) as error:
                self._refuse_changeset(self._pending.sequence if self._pending else 0, error)
                return
            if is_whole:
                self._needed.discard(digest)
        if self._pending is not None and not self._needed:
            await self._become(session)

    async def _become(self, session: Session) -> None:
        manifest, self._pending = self._pending, None
        if manifest is None:
            return
        try:
            applied = await session.become(manifest.sequence, self._pending_tree)
        except (HotloopError, OSError) as error:
            self._refuse_changeset(manifest.sequence, error)
        else:
            self._acknowledge(applied)

    # --- commands

    async def _command(self, session: Session, command: pb.Command) -> None:
        try:
            fields = json.loads(command.json or b"{}")
            if command.name == "end":
                result = await self._agent.end(session)
            else:
                result = await session.command(command.name, fields)
        except (HotloopError, OSError, KeyError) as error:
            message, hint = (error.message, error.hint) if isinstance(error, HotloopError) else (repr(error), "")
            reply = pb.Reply(id=command.id, error=message, hint=hint)
        else:
            reply = pb.Reply(id=command.id, json=json.dumps(result).encode())
        self._send(pb.Down(reply=reply))


def make_handler(agent: Agent) -> Any:
    """Make the gRPC handler of all calls."""

    async def session(requests: AsyncIterator[pb.Up], _: Any) -> AsyncIterator[pb.Down]:
        agent.stream_began()
        async for message in Stream(agent).run(requests):
            yield message

    method = grpc.stream_stream_rpc_method_handler(
        session, request_deserializer=pb.Up.FromString, response_serializer=pb.Down.SerializeToString
    )
    handlers = {
        "Session": method,
        "Tunnel": make_tunnel(agent.ports_of),
        "Process": agent.commands.handler(),
        "Logs": make_logs(agent.state, agent.find),
    }
    return grpc.method_handlers_generic_handler(codec.SERVICE, handlers)
