"""One project's session on this runner: its workspace, its runtime, its events, and which client holds it."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any, Protocol

from hotloop import events
from hotloop.errors import RunnerError, UsageError
from hotloop.remote_runner.environments.keeper import Keeper, Spec
from hotloop.remote_runner.holding import Holder, Holding
from hotloop.remote_runner.journal import Journal
from hotloop.remote_runner.outcome import Applied
from hotloop.remote_runner.places import runtime_folder
from hotloop.remote_runner.runtimes import RUNTIME_COMMAND, RuntimeSupervisor
from hotloop.remote_runner.threads import finished
from hotloop.remote_runner.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from hotloop.changes import Changeset
    from hotloop.events import JsonObject
    from hotloop.remote_runner.environments.build import Made
    from hotloop.remote_runner.environments.store import Store
    from hotloop.remote_runner.tree import Tree

_PASSED_ON = ("pin", "unpin", "reload", "probe")
READ = frozenset({"locals"})  # answered by the runtime; asking again changes nothing, so that no answer is kept
IDLE_TIMEOUT_S = 30 * 60.0
_PASSING = frozenset({"runtime_sampled", "model_progress"})  # of the moment: not kept for who was not there
MAX_ANSWERS = 64
MAX_RETOLD = 2000  # events of an agent that was killed that the next client is told; the log has more
MAX_REPLIES = 64  # of commands that a client may ask for again after a cut


class Client(Protocol):
    """The stream of the client that holds a session."""

    def wake(self) -> None:
        """There are events to send."""
        ...

    def end(self) -> None:
        """The same client has another stream; end."""
        ...

    def supersede(self, by: Holder) -> None:
        """Another client holds the session from now on; say so and end."""
        ...


class Session:
    """Outlives its client's connection. One writer: the newest stream of the client that holds it.

    Attributes:
        project_id: Names it.
        shown_root: The project's folder as its user knows it.
        idle_timeout_s: How long it goes on without a client.
        left_at_s: When its last client left.
        reload_event: The number of the event that began the newest reload; before the first, of the session's first event.
        is_closed: Whether it ended: there will be no more events.
        answers: To the newest changesets, by number: a copy of one may come by another connection, or after a cut.
    """

    def __init__(
        self,
        folder: Path,
        *,
        environments: Store,
        command: tuple[str, ...] = RUNTIME_COMMAND,
        live_runtimes: Callable[[], Iterable[int]] = tuple,
        idle_timeout_s: float = IDLE_TIMEOUT_S,
    ) -> None:
        self.project_id = folder.name
        self.shown_root = ""
        self.idle_timeout_s = idle_timeout_s
        self.left_at_s = time.monotonic()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.workspace = Workspace(folder)
        runtime = runtime_folder(folder)
        runtime.mkdir(mode=0o700, exist_ok=True)
        self.journal = Journal(folder)
        self.reload_event = self.journal.last + 1
        self.runtime = RuntimeSupervisor(
            self.workspace, runtime, self._emit, command=command, live_runtimes=live_runtimes
        )
        self.environment = Keeper(environments, self.workspace.root, self._emit, self.runtime.switch)
        self.lock = asyncio.Lock()
        self.is_closed = False
        self._is_end_told = False
        self._holding = Holding(folder)
        self._client: Client | None = None
        self._followers: set[Callable[[], None]] = set()
        self._newest: dict[str, JsonObject] = {}  # by kind: what a client that comes later has to know
        self.answers: dict[int, Any] = {}
        self._replies: dict[tuple[str, int], asyncio.Task[dict[str, Any]]] = {}

    @property
    def is_held(self) -> bool:
        """Whether a client is connected."""
        return self._client is not None

    @property
    def processes(self) -> list[int]:
        """The processes that this session started itself and waits for."""
        return [pid for pid in (self.runtime.pid, self.environment.pid) if pid is not None]

    @property
    def environment_python(self) -> str:
        """The interpreter that the app runs with; empty if nobody said so yet. Its environment is two folders up."""
        return self.environment.python or self.runtime.python

    @property
    def client(self) -> Client | None:
        """The stream of the client that is connected."""
        return self._client

    @property
    def holder(self) -> Holder | None:
        """Who has it, or had it last."""
        return self._holding.holder

    def begin_anew(self) -> None:
        """Forget what happened before this agent, unless some of it is new to every client: an agent may have been killed."""
        if self.journal.seen == self.journal.last:
            self.journal.clear()
        if (count := self.journal.last - MAX_RETOLD - self.journal.seen) > 0:
            self.journal.note_seen(self.journal.seen + count)
            self._emit(events.to_json(events.EventsDropped(time.monotonic(), count)))

    def take(self, client: Client, holder: Holder, *, resumes: bool, is_taking: bool) -> None:
        """Give the session to a stream.

        Args:
            client: The stream.
            holder: Whose it is.
            resumes: That client had it before.
            is_taking: Take it from another client that holds it.

        Raises:
            HeldError: Another client holds it, or has had it since.
        """
        is_same = self._holding.take(holder, is_held=self.is_held, resumes=resumes, is_taking=is_taking)
        previous, self._client = self._client, client
        if previous is not None:
            previous.end() if is_same else previous.supersede(holder)
        if not is_same:
            self._replies.clear()
            self.answers.clear()

    def leave(self, client: Client) -> None:
        """Note that a stream ended; the session goes on without."""
        if self._client is client:
            self._client = None
            self.left_at_s = time.monotonic()
            self.runtime.hurry()

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

    def keep_answer(self, sequence: int, answer: object) -> None:
        """Remember what was said of a changeset."""
        self.answers[sequence] = answer
        if len(self.answers) > MAX_ANSWERS:
            del self.answers[next(iter(self.answers))]

    async def become(self, sequence: int, target: Tree) -> Applied:
        """Make the workspace equal to the client's tree and tell the runtime. Raises as `Workspace.become`.

        Whoever holds `lock` for it has it until that is done, also if its client is gone meanwhile.
        """

        async def become() -> Applied:
            applied = await asyncio.to_thread(self.workspace.become, sequence, target)
            self._announce(applied)
            return applied

        return await finished(become())

    def _announce(self, applied: Applied) -> None:
        is_held = self.environment.follow(applied.changed, applied.revision)
        self.runtime.announce(applied, is_held=is_held)
        for kept in applied.kept:
            text = f"{kept.path} was written on the runner; the save replaced it, a copy is at {kept.copy}"
            self._emit(events.to_json(events.Notice(time.monotonic(), f"kept:{kept.copy.name}", text)))

    # --- commands

    async def command_once(self, client_id: str, number: int, name: str, fields: dict[str, Any]) -> dict[str, Any]:
        """Do a command, unless the client asked for it already: then give what came of it. Raises as `command`."""
        key = (client_id, number)
        if key not in self._replies:
            self._replies[key] = asyncio.create_task(self.command(name, fields), name=name)
            if len(self._replies) > MAX_REPLIES:
                del self._replies[next(iter(self._replies))]
        return await asyncio.shield(self._replies[key])

    async def command(self, name: str, fields: dict[str, Any]) -> dict[str, Any]:
        """Do what a client asks, save ``end``, which is the agent's.

        Raises:
            HotloopError: It can't be done.
        """
        if name == "environment":
            made = await self._ensure(fields)
            return {"python": str(made.python), "digest": made.digest, "version": made.about.python}
        if name == "start":
            return await self._start(fields["config"])
        if name == "stop":
            await self.runtime.stop()
            return {}
        if name == "status":
            return {**self.status(), "pins": self.runtime.pins}
        if name not in _PASSED_ON and name not in READ:
            msg = f"The agent knows no command {name!r}."
            raise UsageError(msg)
        if name == "reload" and self.environment.retry(self.workspace.revision):
            return {}
        if not self.runtime.is_running:
            msg = f"{name!r} needs a runtime, and none runs."
            raise RunnerError(msg, hint="save a file to start again")
        if name in READ:
            return await self.runtime.ask(name, **fields)
        self.runtime.send({"kind": name, **fields})
        return {}

    async def _ensure(self, wanted: dict[str, str]) -> Made:
        return await self.environment.ensure(Spec(wanted["entry"], wanted.get("python", "")), self.workspace.revision)

    async def _start(self, config: dict[str, Any]) -> dict[str, Any]:
        """Start the runtime, with the environment that is made for the app if ``managed`` asks for one.

        An agent that took the place of one that was killed is only told to start, so it must find out by itself.
        """
        managed = config.get("managed")
        if managed is not None:
            config = {**config, "python": str((await self._ensure(managed)).python)}
        was_running = await self.runtime.start(config)
        newest = self._newest if was_running else {}
        return {
            "was_running": was_running,
            "last_event": self.journal.last,
            "ready": newest.get("ready"),
            "failed": newest.get("reload_failed"),
            "started": newest.get("runtime_started"),
        }

    def status(self) -> dict[str, Any]:
        """What the session is, for people; no content of requests, which pins hold."""
        holder = self.holder
        ready = self._newest.get("ready", {})
        started = self._newest.get("runtime_started", {})
        now_s = time.monotonic()
        return {
            "project_id": self.project_id,
            "project": self.shown_root,
            "revision": self.workspace.revision,
            "sequence": self.workspace.sequence,
            "generation": ready.get("generation", 0),
            "address": started.get("address", ""),
            "models": ready.get("models", []),
            "workspace": str(self.workspace.root),
            "runtime_pid": self.runtime.pid,
            "is_held": self.is_held,
            "holder": holder.who if holder is not None else "",
            "holder_pid": holder.pid if holder is not None else 0,
            "held_s": now_s - holder.since_s if holder is not None and self.is_held else None,
            "idle_s": None if self.is_held else now_s - self.left_at_s,
            "idle_timeout_s": self.idle_timeout_s,
            "python": self.environment_python,
            "environment": self.environment.digest,
            "sample": self._newest.get("runtime_sampled"),
        }

    def say_ended(self, who: str) -> None:
        """Tell those who look on that somebody ends it."""
        self.end_told()
        self._emit(events.to_json(events.Notice(time.monotonic(), "ended", f"the session was ended by {who}")))

    def end_told(self) -> None:
        """Have `close` take all events for seen: whoever ends the session does not wait for what it still says."""
        self._is_end_told = True

    async def time_out(self) -> None:
        """End what runs and say why: nobody came back in time."""
        await self.runtime.stop()
        self.journal.note_seen(self.journal.last)  # what nobody waited for; how it ended is still to be told
        now_s = time.monotonic()
        self._emit(events.to_json(events.SessionTimedOut(now_s, time.time(), now_s - self.left_at_s)))

    async def close(self) -> None:
        """End the runtime and let go of the files."""
        for task in self._replies.values():
            task.cancel()
        await self.environment.close()
        await self.runtime.close()
        self.is_closed = True
        self._wake()
        async with self.lock:  # a thread may be amid a tree: its descriptors would be another file's by then
            self.workspace.close()
        if self._is_end_told:
            self.journal.note_seen(self.journal.last)
        self.journal.close()

    def _emit(self, event: JsonObject) -> None:
        if event.get("kind") == "runtime_sampled":
            self._newest["runtime_sampled"] = event
        if event.get("kind") in _PASSING and self._client is None and not self._followers:
            return
        stamped = {**event, "wall_s": round(time.time(), 3)}  # people ask by the time of day
        number = self.journal.append(json.dumps(stamped, separators=(",", ":")).encode("utf-8", "surrogateescape"))
        match event.get("kind", ""):
            case "reload_started":
                self.reload_event = number
            case "runtime_started" | "reload_failed" as kind:
                self._newest[kind] = event
            case "ready":
                self._newest.pop("reload_failed", None)
                self._newest["ready"] = event
            case "runtime_stopped":
                self._newest.clear()
            case _:
                pass
        self._wake()

    def _wake(self) -> None:
        if self._client is not None:
            self._client.wake()
        for wake in list(self._followers):
            wake()
