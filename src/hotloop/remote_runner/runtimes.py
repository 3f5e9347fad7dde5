"""One session's runtime process: start it, feed it revisions, bring it back after a crash, end it with all it forked.

The agent keeps a duplicate of every descriptor in the runtime's vault, so a runtime that is killed loses no model.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
import subprocess
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from hotloop import events
from hotloop.changes import Put
from hotloop.errors import RunnerError
from hotloop.gpu_runtime import oom
from hotloop.remote_runner import processes
from hotloop.remote_runner.frames import FrameSocket
from hotloop.remote_runner.places import note_python

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from hotloop.changes import Changeset
    from hotloop.gpu_runtime.user_env.wire import Message
    from hotloop.remote_runner.outcome import Applied
    from hotloop.remote_runner.workspace import Workspace

RUNTIME_COMMAND = (sys.executable, "-P", "-m", "hotloop.gpu_runtime.main", "--control-fd", "{fd}")
MAX_CRASHES = 3
CRASH_WINDOW_S = 10.0
BACK_OFF_S = (0.0, 0.5, 1.0)
ANSWER_TIMEOUT_S = 5.0
STOP_TIMEOUT_S = 35.0  # longer than the runtime's own drain


# Variables that tell terminals apart: another one is no reason to start anew.
TERMINAL_VARIABLES = frozenset({
    "_", "COLUMNS", "DBUS_SESSION_BUS_ADDRESS", "GPG_TTY", "INVOCATION_ID", "LINES", "OLDPWD", "PWD", "SHLVL", "SSH_AUTH_SOCK",
    "SSH_CLIENT", "SSH_CONNECTION", "SSH_TTY", "STY", "TERM", "TERM_SESSION_ID", "TMUX", "TMUX_PANE", "WINDOWID",
    "XDG_SESSION_ID",
})  # fmt: skip


class RuntimeSupervisor:
    """Holds at most one runtime process for a session, and what a new one needs to be told."""

    def __init__(
        self,
        workspace: Workspace,
        folder: Path,
        emit: Callable[[dict[str, Any]], None],
        *,
        command: tuple[str, ...] = RUNTIME_COMMAND,
        live_runtimes: Callable[[], Iterable[int]] = tuple,
    ) -> None:
        self._workspace = workspace
        self._folder = folder
        self._emit = emit
        self._command = command
        self._live_runtimes = live_runtimes
        self._kills = oom.Kills()
        self._config: dict[str, Any] = {}
        self._kept: dict[str, Message] = {}
        self._pins: dict[str, dict[str, Any]] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._frames: FrameSocket | None = None
        self._ahead: tuple[subprocess.Popen[bytes], FrameSocket] | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_stopping = False
        self._has_said_stopped = False
        self._ports: frozenset[int] = frozenset()
        self._asked: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._numbers = itertools.count(1)

    @property
    def ports(self) -> frozenset[int]:
        """Where the runtime listens, HTTP and gRPC; empty while it does not."""
        return self._ports

    @property
    def is_running(self) -> bool:
        """Whether a runtime runs, or is about to after a crash."""
        return self._task is not None and not self._task.done()

    @property
    def pid(self) -> int | None:
        """The process's id, None while there is none."""
        return self._process.pid if self._process is not None else None

    @property
    def python(self) -> str:
        """The interpreter that the app runs with; empty before the first start."""
        return self._config.get("python", "")

    @property
    def pins(self) -> list[dict[str, Any]]:
        """The pinned requests, as they can be pinned again."""
        return list(self._pins.values())

    def anticipate(self) -> None:
        """Have a process import what a runtime needs, which takes longer than a first sync; `start` tells it what to serve."""
        if not self.is_running and self._ahead is None:
            self._ahead = self._open()

    async def start(self, config: dict[str, Any]) -> bool:
        """Start the runtime, or another if the configuration is another.

        Args:
            config: What it is told. An ``environment`` of None stands for the variables of the user's login here, and
                those of ``passed_variables``.

        Returns:
            Whether one with this configuration ran already.
        """
        if "environment" in config and config["environment"] is None:
            config = {**config, "environment": {**_of_login(), **config.get("passed_variables", {})}}
        if self.is_running and _lasting(config) == _lasting(self._config):
            return True
        await self.stop()
        self._config = config
        note_python(self._folder, config.get("python", ""))
        self._is_stopping = False
        self._spawn()
        self._task = asyncio.create_task(self._supervise(), name="runtime")
        return False

    async def stop(self) -> None:
        """Ask the runtime to end and wait for it; it is killed when it takes too long."""
        self._is_stopping = True
        if not self.is_running or self._task is None:
            return
        self.send({"kind": "stop"})
        if self._process is None:  # waits to come back after a crash
            self._task.cancel()
        _, late = await asyncio.wait({self._task}, timeout=STOP_TIMEOUT_S)
        if late and self._process is not None:
            self._process.kill()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    def hurry(self) -> None:
        """If it is being stopped, do not wait until it has answered what is under way: whoever would see it is gone."""
        if self._is_stopping:
            self.send({"kind": "stop"})

    async def close(self) -> None:
        """Stop the runtime and let go of the models it had."""
        await self.stop()
        self._end_ahead()
        for name in list(self._kept):
            self._forget(name)
        self._pins.clear()

    def send(self, header: dict[str, Any]) -> None:
        """Pass a frame on; nothing happens while no runtime runs."""
        if header["kind"] == "unpin":
            self._pins.pop(header.get("name", ""), None)
        if self._frames is not None:
            self._frames.send(header)

    async def ask(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Have the runtime answer.

        Raises:
            RunnerError: It does not.
        """
        number = next(self._numbers)
        answer = self._asked[number] = asyncio.get_running_loop().create_future()
        self.send({"kind": kind, "number": number, **fields})
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                return await answer
        except TimeoutError as error:
            msg = f"the runtime does not answer {kind!r} within {ANSWER_TIMEOUT_S:g} s"
            raise RunnerError(msg, hint="ask again; if it goes on, start again") from error
        finally:
            del self._asked[number]

    def foretell(self, changeset: Changeset) -> None:
        """Show the runtime the modules that are about to be written, so that compiling them waits for nothing.

        It may be refused yet: what comes of it counts only once `announce` says that it was applied.
        """
        modules = [each for each in changeset.operations if isinstance(each, Put) and each.path.endswith(".py")]
        contents = [changeset.contents.get(each.digest, b"") for each in modules]
        if self._frames is not None and any(contents):
            files = [{"path": each.path, "size": len(content)} for each, content in zip(modules, contents, strict=True)]
            self._frames.send({"kind": "incoming", "files": files}, b"".join(contents))

    def announce(self, applied: Applied, *, is_held: bool = False) -> None:
        """Tell the runtime about a revision that was just applied.

        Args:
            applied: What the workspace said.
            is_held: It is not to be run before `switch`: it asks for an environment that is being made.
        """
        if self._frames is not None and applied.changed:
            revision = self._revision(changed=applied.changed, full=False, applied_at_s=applied.applied_at_s)
            self._frames.send({**revision, "is_held": is_held})

    def switch(self, python: str) -> None:
        """Have the app run with another interpreter from now on; what serves goes on until that one does."""
        self._config = {**self._config, "python": python}
        note_python(self._folder, python)
        self.send({"kind": "environment", "python": python})

    def _revision(
        self, *, changed: dict[str, str | None] | dict[str, str], full: bool, applied_at_s: float
    ) -> dict[str, Any]:
        return {
            "kind": "revision",
            "number": self._workspace.revision,
            "full": full,
            "changed": changed,
            "applied_at_s": applied_at_s,
        }

    # --- the process

    def _spawn(self) -> None:
        if self._ahead is not None and self._ahead[0].poll() is not None:
            self._end_ahead()
        (self._process, self._frames), self._ahead = self._ahead or self._open(), None
        self._has_said_stopped = False
        self._brief(self._frames)

    def _end_ahead(self) -> None:
        """End the process that was to become a runtime; it has no others, and did nothing yet."""
        if self._ahead is not None:
            (process, frames), self._ahead = self._ahead, None
            process.kill()
            process.wait()
            frames.close()

    def _open(self) -> tuple[subprocess.Popen[bytes], FrameSocket]:
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        command = [part.format(fd=theirs.fileno()) for part in self._command]
        with theirs, (self._folder / "runtime.log").open("ab") as log:
            process = subprocess.Popen(
                command, pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=self._folder, start_new_session=True,
            )  # fmt: skip
        return process, FrameSocket(ours, self._receive)

    def _brief(self, frames: FrameSocket) -> None:
        """Tell a new runtime all it has to know, models that an earlier one loaded included."""
        config = {**self._config, "root": str(self._workspace.root), "state": str(self._folder)}
        frames.send({"kind": "start", "config": config})
        for message in self._kept.values():
            header = {name: value for name, value in message.header.items() if name != "fds"}
            frames.send(header, message.payload, message.fds)
        for request in self._pins.values():
            frames.send({"kind": "pin", "request": request})
        if self._workspace.revision:
            now_s = time.monotonic()
            frames.send(self._revision(changed=self._workspace.manifest(), full=True, applied_at_s=now_s))

    async def _supervise(self) -> None:
        crashes: deque[float] = deque(maxlen=MAX_CRASHES)
        while True:
            cause = await self._until_exit()
            if self._is_stopping or self._has_said_stopped:
                break
            now_s = time.monotonic()
            crashes.append(now_s)
            hint = oom.hint(cause) if cause == oom.KILLED else ""
            self._say(events.ProcessDied(now_s, "runtime", "", cause, hint=hint))
            if len(crashes) == MAX_CRASHES and now_s - crashes[0] < CRASH_WINDOW_S:
                self._say(events.RuntimeStopped(now_s, self._crash_problem(cause)))
                break
            await asyncio.sleep(BACK_OFF_S[len(crashes) - 1])
            self._spawn()
        if not self._has_said_stopped:
            self._say(events.RuntimeStopped(time.monotonic()))

    async def _until_exit(self) -> str:
        process, frames = self._process, self._frames
        if process is None or frames is None:
            return "not started"
        code = await processes.wait_for_exit(process)
        frames.drain()
        frames.close()
        self._process = self._frames = None
        self._ports = frozenset()
        processes.end_orphans(process.pid, self._live_runtimes())
        return self._kills.explain(processes.describe_exit(code))

    def _crash_problem(self, cause: str) -> events.Problem:
        log = self._folder / "runtime.log"
        tail = log.read_text(errors="replace").strip().splitlines()[-1:] if log.exists() else []
        message = (
            f"hotloop's runtime ended {MAX_CRASHES} times in {CRASH_WINDOW_S:.0f} s ({cause}). {' '.join(tail)}".strip()
        )
        hint = oom.hint(cause) if cause == oom.KILLED else f"look at {log}, then start again"
        return events.Problem("RuntimeCrashed", message, hint=hint)

    # --- what the runtime says

    def _receive(self, message: Message) -> None:
        match message.kind:
            case "event":
                event = message.header["event"]
                self._has_said_stopped |= event.get("kind") == "runtime_stopped"
                if event.get("kind") == "runtime_started":
                    self._ports = _ports_of(event)
                elif event.get("kind") in {"process_died", "reload_failed"}:
                    self._kills.look()  # a worker's end explains no later one of the runtime's
                self._emit(event)
            case "keep":
                self._forget(message.header["model"])
                self._kept[message.header["model"]] = message
            case "forget":
                self._forget(message.header["model"])
            case "pinned":
                request = message.header["request"]
                self._pins[request["name"]] = request
            case "answer":
                self._answered(message.header)
            case _:
                for fd in message.fds:
                    os.close(fd)

    def _answered(self, header: dict[str, Any]) -> None:
        answer = self._asked.get(header["number"])
        if answer is not None and not answer.done():
            answer.set_result({name: value for name, value in header.items() if name not in {"kind", "number"}})

    def _forget(self, model: str) -> None:
        message = self._kept.pop(model, None)
        for fd in message.fds if message is not None else ():
            os.close(fd)

    def _say(self, event: events.Event) -> None:
        self._has_said_stopped |= isinstance(event, events.RuntimeStopped)
        self._emit(events.to_json(event))


def _of_login() -> dict[str, str]:
    """The variables that the agent was started with; those of gRPC are its own."""
    return {name: value for name, value in os.environ.items() if not name.startswith("GRPC_")}


def _lasting(config: dict[str, Any]) -> dict[str, Any]:
    environment: dict[str, str] = config.get("environment", {})
    kept = {name: value for name, value in environment.items() if name not in TERMINAL_VARIABLES}
    return {**config, "environment": kept}


def _ports_of(started: dict[str, Any]) -> frozenset[int]:
    addresses = (started.get("address", ""), started.get("grpc_address", ""))
    ends = (address.rpartition(":")[2] for address in addresses)
    return frozenset(int(port) for port in ends if port.isdigit())
