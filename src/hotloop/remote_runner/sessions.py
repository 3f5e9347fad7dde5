"""One project's session on this runner: its workspace, its runtime, its events, and which client holds it."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any, Protocol

from hotloop import events
from hotloop.errors import RunnerError, UsageError
from hotloop.remote_runner.journal import Journal
from hotloop.remote_runner.places import runtime_folder
from hotloop.remote_runner.runtimes import RUNTIME_COMMAND, RuntimeSupervisor
from hotloop.remote_runner.workspace import Applied, Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from hotloop.changes import Changeset
    from hotloop.remote_runner.tree import Tree

_PASSED_ON = ("pin", "unpin", "reload", "probe")


class Client(Protocol):
    """The stream of the client that holds a session."""

    client_id: str

    def wake(self) -> None:
        """There are events to send."""
        ...

    def supersede(self) -> None:
        """Another stream holds the session from now on; end."""
        ...


class Session:
    """Outlives its client's connection. One writer: the stream that came with the highest epoch."""

    def __init__(
        self,
        folder: Path,
        *,
        command: tuple[str, ...] = RUNTIME_COMMAND,
        live_runtimes: Callable[[], Iterable[int]] = tuple,
    ) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.workspace = Workspace(folder)
        runtime = runtime_folder(folder)
        runtime.mkdir(mode=0o700, exist_ok=True)
        self.journal = Journal(folder)
        self.runtime = RuntimeSupervisor(
            self.workspace, runtime, self._emit, command=command, live_runtimes=live_runtimes
        )
        self.lock = asyncio.Lock()
        self.epoch = 0
        self.left_at_s = time.monotonic()
        self.is_closed = False
        self._client: Client | None = None
        self._followers: set[Callable[[], None]] = set()

    @property
    def is_held(self) -> bool:
        """Whether a client is connected."""
        return self._client is not None

    def take(self, client: Client, epoch: int) -> None:
        """Give the session to a stream.

        Raises:
            RunnerError: A stream with a newer epoch has, or had, it.
        """
        if epoch <= self.epoch:
            msg = "Another client took over this session."
            raise RunnerError(msg, hint="stop the other one, then start this one again")
        self.epoch = epoch
        previous, self._client = self._client, client
        if previous is not None:
            previous.supersede()

    def leave(self, client: Client) -> None:
        """Note that a stream ended; the session goes on without."""
        if self._client is client:
            self._client = None
            self.left_at_s = time.monotonic()

    def is_held_by(self, client: Client) -> bool:
        """Whether this stream may write."""
        return self._client is client

    def follow(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Have a function called at each event; gives one that ends it."""
        self._followers.add(wake)
        return lambda: self._followers.discard(wake)

    # --- the tree

    def apply(self, changeset: Changeset) -> Applied:
        """Apply a changeset and tell the runtime at once. Raises as `Workspace.apply`."""
        self.runtime.foretell(changeset)
        applied = self.workspace.apply(changeset)
        self._announce(applied)
        return applied

    async def become(self, sequence: int, target: Tree) -> Applied:
        """Make the workspace equal to the client's tree and tell the runtime. Raises as `Workspace.become`."""
        applied = await asyncio.to_thread(self.workspace.become, sequence, target)
        self._announce(applied)
        return applied

    def _announce(self, applied: Applied) -> None:
        self.runtime.announce(applied)
        for kept in applied.kept:
            text = f"{kept.path} was written on the runner; the save replaced it, a copy is at {kept.copy}"
            self._emit(events.to_json(events.Notice(time.monotonic(), f"kept:{kept.copy.name}", text)))

    # --- commands

    async def command(self, name: str, fields: dict[str, Any]) -> dict[str, Any]:
        """Do what a client asks, save ``end``, which is the agent's.

        Raises:
            HotloopError: It can't be done.
        """
        if name == "start":
            return {"was_running": await self.runtime.start(fields["config"])}
        if name == "stop":
            await self.runtime.stop()
            return {}
        if name == "status":
            return self.status()
        if name not in _PASSED_ON:
            msg = f"The agent knows no command {name!r}."
            raise UsageError(msg)
        if not self.runtime.is_running:
            msg = f"{name!r} needs a runtime, and none runs."
            raise RunnerError(msg, hint="save a file to start again")
        self.runtime.send({"kind": name, **fields})
        return {}

    def status(self) -> dict[str, Any]:
        """What the session is, for people and tests."""
        return {
            "revision": self.workspace.revision,
            "sequence": self.workspace.sequence,
            "workspace": str(self.workspace.root),
            "runtime_pid": self.runtime.pid,
            "is_held": self.is_held,
            "pins": self.runtime.pins,
        }

    async def close(self) -> None:
        """End the runtime and let go of the files."""
        await self.runtime.close()
        self.is_closed = True
        self._wake()
        self.workspace.close()
        self.journal.close()

    def _emit(self, event: dict[str, Any]) -> None:
        stamped = {**event, "wall_s": round(time.time(), 3)}  # people ask by the time of day
        self.journal.append(json.dumps(stamped, separators=(",", ":")).encode("utf-8", "surrogateescape"))
        self._wake()

    def _wake(self) -> None:
        if self._client is not None:
            self._client.wake()
        for wake in list(self._followers):
            wake()
