# pyright: basic
"""The agent: hotloop's process on a runner, one a user. It applies changesets and keeps runtimes; never runs user code.

``python -m hotloop.remote_runner.agent --state DIR``. It listens on a Unix socket in a 0700 folder, ends when its last
session does, and outlives clients that vanish. Basic type checks: grpc has no types.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # runtimes are executed, never forked; its handlers cost 1 ms
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

import grpc

from hotloop import __version__
from hotloop.errors import UsageError
from hotloop.remote_runner import gpus, processes, session_stream
from hotloop.remote_runner.bootstrap.source import own_source
from hotloop.remote_runner.commands import Commands
from hotloop.remote_runner.environments.store import Store
from hotloop.remote_runner.places import (
    ALREADY_RUNS_EXIT_CODE,
    agent_folder,
    make_private,
    socket_path,
    workspace_folder,
)
from hotloop.remote_runner.protocol import codec
from hotloop.remote_runner.runtimes import RUNTIME_COMMAND
from hotloop.remote_runner.service import make_handler
from hotloop.remote_runner.session_stream import Stream
from hotloop.remote_runner.sessions import IDLE_TIMEOUT_S, Session

# Clients that are gone without a word are asked, so that what they held ends: the process of a shell, a connection.
SERVER_OPTIONS = (
    *codec.CHANNEL_OPTIONS,
    ("grpc.keepalive_time_ms", 5_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),  # else a minute
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),  # clients ask too, more often than gRPC allows by itself
)
EMPTY_TIMEOUT_S = 10.0  # how long an agent without any session waits for a client


class Agent:
    """All sessions of one user on this runner, and when to end.

    Attributes:
        state: The folder where it keeps things.
        commands: What clients run beside their apps.
    """

    def __init__(self, state: Path, *, command: tuple[str, ...], idle_timeout_s: float, stay_s: float = 0.0) -> None:
        self.commands = Commands(state)
        self.state = state
        self._command = command
        self._idle_timeout_s = idle_timeout_s
        self._stay_s = stay_s
        self._environments = Store(state)
        self._sessions: dict[str, Session] = {}
        self._closing: dict[Session, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[dict[str, Any]]] = set()
        self._streams: set[Stream] = set()
        self._began_at_s = self._empty_since_s = time.monotonic()
        self._over = asyncio.Event()

    @property
    def has_sessions(self) -> bool:
        """Whether a project is open."""
        return bool(self._sessions)

    async def session(self, project_id: str, *, is_reconnect: bool) -> Session:
        """The session of a project, opened now if it is not. One that is about to end is waited for.

        Raises:
            WorkspaceError: Another agent has its workspace.
        """
        while closing := [task for session, task in self._closing.items() if session.project_id == project_id]:
            await asyncio.wait(closing)
        if project_id not in self._sessions:
            session = Session(
                workspace_folder(self.state, project_id),
                environments=self._environments,
                command=self._command,
                live_runtimes=self.child_pids,
                idle_timeout_s=self._idle_timeout_s,
            )
            if not is_reconnect:
                session.begin_anew()
            self._sessions[project_id] = session
        return self._sessions[project_id]

    def find(self, project_id: str) -> Session | None:
        """The session of a project, if it is open."""
        return self._sessions.get(project_id)

    def child_pids(self) -> list[int]:
        """The processes that sessions and clients' commands started and that are waited for: no orphans."""
        sessions = [*self._sessions.values(), *self._closing]
        return [*self.commands.pids, *(pid for session in sessions for pid in session.processes)]

    def ports_of(self, project_id: str) -> frozenset[int]:
        """Where a project's runtime listens; empty if none runs."""
        session = self.find(project_id)
        return session.runtime.ports if session is not None else frozenset()

    async def end(self, session: Session, *, is_idle: bool = False) -> dict[str, Any]:
        """End a session and all its processes; the last one ends the agent, unless it is to stay or a command still runs."""
        if session.is_closed:
            return {}
        if session not in self._closing:
            self._sessions = {name: other for name, other in self._sessions.items() if other is not session}
            self._closing[session] = asyncio.create_task(self._close(session, is_idle=is_idle), name="end a session")
        await asyncio.shield(self._closing[session])
        return {}

    async def _close(self, session: Session, *, is_idle: bool) -> None:
        try:
            if is_idle:
                await session.time_out()
            await session.close()
        finally:
            del self._closing[session]
            self._empty_since_s = time.monotonic()
            if not self._sessions and not self._closing and not self.commands.pids and not self._stay_s:
                self._over.set()

    async def answer(self, name: str, fields: dict[str, Any]) -> dict[str, Any]:
        """Do what is asked without holding a session.

        Raises:
            UsageError: It is not known, or its session is not open.
        """
        match name:
            case "status":
                return self._status(await asyncio.to_thread(gpus.memory_by_process))
            case "end":
                session = self._open_session(fields["project_id"])
                session.say_ended(fields.get("who", "someone"))
                return await self.end(session)
            case "locals":
                return await self._open_session(fields["project_id"]).command(name, {"failure": fields["failure"]})
            case "shutdown":
                if not self._over.is_set():  # it is asked again until the agent is gone
                    for session in self._sessions.values():
                        session.say_ended(fields.get("who", "someone"))
                self._over.set()
                return {}
            case _:
                msg = f"The agent can't be asked {name!r}."
                raise UsageError(msg)

    def _open_session(self, project_id: str) -> Session:
        session = self.find(project_id)
        if session is None:
            msg = "No such session is open on this runner."
            raise UsageError(msg, hint="see which are: hotloop status")
        return session

    def _status(self, gpu_bytes: dict[int, int]) -> dict[str, Any]:
        sessions = [
            {**session.status(), "gpu_bytes": gpus.memory_below(session.runtime.pid, gpu_bytes)}
            for session in self._sessions.values()
        ]
        return {
            "version": __version__,
            "source": own_source().digest,
            "pid": os.getpid(),
            "state": str(self.state),
            "up_s": time.monotonic() - self._began_at_s,
            "sessions": sessions,
        }

    def retire(self) -> None:
        """End: a client of another version is about to start its own agent."""
        self._over.set()

    def stream_began(self, stream: Stream) -> None:
        """A client connected."""
        self._streams.add(stream)

    def stream_ended(self, stream: Stream) -> None:
        """A client is gone."""
        self._streams.discard(stream)
        self._empty_since_s = time.monotonic()

    async def run(self, path: Path) -> None:
        """Listen until nothing is left to do."""
        server = grpc.aio.server(options=SERVER_OPTIONS)
        server.add_generic_rpc_handlers((make_handler(self),))
        server.add_insecure_port(f"unix:{path}")
        await server.start()
        _guard(path)
        self._watch_signals()
        try:
            await self._until_over()
        finally:
            await asyncio.gather(*(self.end(session) for session in self._sessions.values()), *self._closing.values())
            await self.commands.close()
            await server.stop(grace=0.5)

    def _watch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._over.set)
        loop.add_signal_handler(signal.SIGCHLD, lambda: processes.reap_orphans(self.child_pids()))

    async def _until_over(self) -> None:
        while not self._over.is_set():
            check_s = min(
                [session_stream.SILENT_S / 4, *(session.idle_timeout_s / 4 for session in self._sessions.values())]
            )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(check_s):
                    await self._over.wait()
            self._end_idle(time.monotonic())

    def _end_idle(self, now_s: float) -> None:
        for stream in list(self._streams):
            stream.end_if_silent(now_s)
        for session in list(self._sessions.values()):
            if not session.is_held and now_s - session.left_at_s > session.idle_timeout_s:
                self._ending.add(task := asyncio.create_task(self.end(session, is_idle=True)))
                task.add_done_callback(self._ending.discard)
        is_empty = not (self._sessions or self._closing or self._streams or self.commands.pids)
        if is_empty and now_s - self._empty_since_s > max(EMPTY_TIMEOUT_S, self._stay_s):
            self._over.set()


def main(arguments: list[str] | None = None) -> int:
    """Run an agent until it is not needed. Exit code 3: another one runs already."""
    options = _parse(arguments)
    own_source()  # as this process has it: the files of an editable installation change
    os.umask(0o022)
    folder = make_private(agent_folder(options.state))
    lock_fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return ALREADY_RUNS_EXIT_CODE
    (folder / "pid").write_text(str(os.getpid()))
    processes.adopt_orphans()
    path = socket_path(options.state)
    path.unlink(missing_ok=True)  # a crash left it: the lock says that nobody listens
    try:
        asyncio.run(_run(options, path))
    finally:
        path.unlink(missing_ok=True)
    return 0


def _guard(path: Path) -> None:
    """Have the kernel refuse everyone else; the folder is one that only this user can enter."""
    path.chmod(0o600)


async def _run(options: argparse.Namespace, path: Path) -> None:
    command = tuple(json.loads(options.runtime_command)) if options.runtime_command else RUNTIME_COMMAND
    agent = Agent(options.state, command=command, idle_timeout_s=options.idle_timeout_s, stay_s=options.stay_s)
    await agent.run(path)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="hotloop-agent", description="hotloop's process on a runner")
    parser.add_argument("--state", type=Path, required=True, help="folder for workspaces, logs and the socket")
    parser.add_argument("--idle-timeout-s", type=float, default=IDLE_TIMEOUT_S, help="end a session left this long")
    parser.add_argument("--stay-s", type=float, default=0.0, help="wait this long for a client after the last session")
    parser.add_argument("--runtime-command", default="", help="JSON list; {fd} is the control socket (for tests)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
