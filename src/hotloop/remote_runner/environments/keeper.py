"""One session's environment: follow what its app asks for, have it made beside the one in use, and say how that goes.

The environment in use changes only when the new one is whole; whatever goes wrong before that changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hotloop import events
from hotloop.errors import HotloopError, RunnerError
from hotloop.frozen import frozen
from hotloop.remote_runner.environments.build import Made, NotMadeError, make
from hotloop.remote_runner.environments.changes import changes_between
from hotloop.remote_runner.environments.commands import Commands, variables_for_uv
from hotloop.remote_runner.environments.request import WATCHED, UnreadableError, read_request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from hotloop.remote_runner.environments.output import Progress
    from hotloop.remote_runner.environments.request import Request
    from hotloop.remote_runner.environments.store import Lock, Store


@frozen
class Spec:
    """Whose environment it is.

    Attributes:
        entry: The app's file in the workspace.
        python: The version that was asked for; empty to take what the project says.
    """

    entry: str
    python: str = ""


@dataclass
class _Build:
    """One that is under way."""

    request: Request
    revision: int
    task: asyncio.Task[Made]


class Keeper:
    """Makes the environments of one session.

    Args:
        root: The workspace's tree.
        emit: Takes an event as JSON.
        switch: Called with the interpreter of an environment that takes the place of another.
        environ: The variables of this process.
    """

    def __init__(
        self,
        store: Store,
        root: Path,
        emit: Callable[[dict[str, Any]], None],
        switch: Callable[[str], None],
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._store = store
        self._root = root.resolve()
        self._emit = emit
        self._switch = switch
        self._environ = variables_for_uv(environ)
        self._commands = Commands(self._environ)
        self._spec: Spec | None = None
        self._current: Made | None = None
        self._request: Request | None = None  # what the current one was made for
        self._failed = ""  # the digest of a request that can't be had, or why it can't be read
        self._build: _Build | None = None
        self._is_closed = False
        self._holds: list[Lock] = []  # old environments too: their workers may still import from them

    @property
    def python(self) -> str:
        """The interpreter of the environment in use; empty if this session has none that was made for it."""
        return str(self._current.python) if self._current is not None else ""

    @property
    def digest(self) -> str:
        """Names the environment in use; empty if there is none."""
        return self._current.digest if self._current is not None else ""

    @property
    def pid(self) -> int | None:
        """The process that makes an environment now, None if none does."""
        return self._commands.pid

    async def ensure(self, spec: Spec, revision: int) -> Made:
        """Give the environment that the workspace asks for now, made if need be; from then on it is followed.

        Raises:
            RunnerError: It can't be made.
            UsageError: What the project asks for can't be read.
        """
        self._spec = spec
        try:
            request = self._read(spec)
            self._warn(request)
        except HotloopError as error:
            self._tell_failed(_problem_of(error), "", revision)
            raise
        if self._current is not None and self._request is not None and self._request.digest == request.digest:
            return self._current
        while True:
            build = self._begin(request, revision)
            try:
                return await asyncio.shield(build.task)
            except asyncio.CancelledError:
                if not build.task.cancelled():
                    raise  # who asks gave up, not the build
            if self._is_closed:
                msg = "The session ended before the app's environment was made."
                raise RunnerError(msg)
            request = (
                self._build.request if self._build is not None else self._read(spec)
            )  # a newer save asks for another

    def follow(self, paths: Iterable[str], revision: int) -> bool:
        """Look whether a revision asks for another environment; if so, it is made.

        Returns:
            Whether the revision has to wait for it. Later ones do not, unless they ask for another again.
        """
        spec = self._spec
        if spec is None or not self._may_matter(spec, set(paths)):
            return False
        try:
            request = self._read(spec)
            self._warn(request)
        except HotloopError as error:
            return self._take_unreadable(error, revision)
        if self._request is not None and self._current is not None and request.digest == self._request.digest:
            self._request = request  # its head is that of the app's file now
            self._abandon()
            self._failed = ""
            return False
        if self._current is not None and request.digest in {self._failed, self._wanted}:
            return False
        self._begin(request, revision)
        return True

    def _take_unreadable(self, error: HotloopError, revision: int) -> bool:
        """What is asked for can't be read: it stays as it is. The app's own syntax error is told by the reload."""
        is_known = self._failed == error.message or isinstance(error, UnreadableError)
        if self._current is not None and is_known:
            return False
        self._abandon()
        self._failed = error.message
        self._tell_failed(_problem_of(error), "", revision)
        return True

    def retry(self, revision: int) -> bool:
        """Try again what failed; whether there was anything."""
        if not self._failed or self._spec is None or self._build is not None:
            return False
        self._failed = ""
        return self.follow([self._spec.entry, *WATCHED], revision)

    async def close(self) -> None:
        """Stop what is under way, and let go of the environments."""
        self._is_closed = True
        build = self._build
        self._abandon()
        if build is not None:
            await asyncio.gather(build.task, return_exceptions=True)
        for hold in self._holds:
            hold.release()

    # --- what is asked for

    @property
    def _wanted(self) -> str:
        return self._build.request.digest if self._build is not None else ""

    def _may_matter(self, spec: Spec, paths: set[str]) -> bool:
        if self._current is None or self._request is None:
            return True  # nothing serves yet: any save may be the one that helps
        if paths & {*WATCHED, *self._request.files}:
            return True
        if spec.entry not in paths:
            return False
        # The app's file is saved all the time, and parsing it takes 3 ms and more while a reload waits: it is parsed only if
        # it says, or said, something else about packages.
        source = self._file(spec.entry) or b""
        if self._build is None and not self._failed and self._request.is_still_asked(source):
            return False
        is_of_app = self._request.source.startswith("packages=") or bool(self._request.data_packages)
        return is_of_app or b"packages" in source

    def _read(self, spec: Spec) -> Request:
        default = ".".join(map(str, sys.version_info[:2]))
        return read_request(self._file, spec.entry, python=spec.python, default_python=default, environ=self._environ)

    def _file(self, path: str) -> bytes | None:
        file = self._root / path
        try:
            if not file.resolve().is_relative_to(self._root):
                return None
            return file.read_bytes()
        except OSError:
            return None

    # --- making it

    def _begin(self, request: Request, revision: int) -> _Build:
        if self._build is not None and self._build.request.digest == request.digest:
            self._build.revision = revision
            return self._build
        previous = self._build.task if self._build is not None else None
        self._abandon()
        task = asyncio.create_task(self._make(request, previous), name="environment")
        self._build = build = _Build(request, revision, task)
        task.add_done_callback(lambda _: self._done(build))
        return build

    def _abandon(self) -> None:
        build, self._build = self._build, None
        if build is not None:
            build.task.cancel()

    async def _make(self, request: Request, previous: asyncio.Task[Made] | None) -> Made:
        if previous is not None:  # one command at a time
            await asyncio.gather(previous, return_exceptions=True)
        return await make(self._store, request, self._commands, self._tell_progress)

    def _done(self, build: _Build) -> None:
        """Take over what was made, or say why it was not."""
        if build.task.cancelled() or self._build is not build:
            if not build.task.cancelled() and build.task.exception() is None:
                build.task.result().hold.release()
            return
        self._build = None
        error = build.task.exception()
        if error is not None:
            self._failed = build.request.digest
            self._tell_failed(_problem_of(error), build.request.source, build.revision)
            return
        self._take(build.task.result(), build)

    def _take(self, made: Made, build: _Build) -> None:
        before, self._current = self._current, made
        self._request, self._failed = build.request, ""
        self._holds.append(made.hold)
        changes = changes_between(before.about.packages, made.about.packages) if before is not None else ()
        self._emit(
            events.to_json(
                events.EnvironmentReady(
                    time.monotonic(), build.revision, build.request.source, made.digest, str(made.python), made.about.python,
                    made.took_s, len(made.about.packages), made.was_cached, changes, build.request.overruled,
                )
            )
        )  # fmt: skip
        if before is not None:
            self._switch(str(made.python))
        if not made.was_cached:
            asyncio.get_running_loop().run_in_executor(None, self._prune)

    def _prune(self) -> None:
        with contextlib.suppress(OSError):
            self._store.prune()

    # --- what is told

    def _warn(self, request: Request) -> None:
        if request.not_locked:
            text = f"uv.lock does not know {', '.join(request.not_locked)} of pyproject.toml, so that is not installed."
            notice = events.Notice(time.monotonic(), f"uv.lock {text}", text, "bring it up to date with: uv lock")
            self._emit(events.to_json(notice))

    def _tell_progress(self, progress: Progress) -> None:
        build = self._build
        if build is None:
            return
        self._emit(
            events.to_json(
                events.EnvironmentProgress(
                    time.monotonic(), build.revision, build.request.source, progress.phase, progress.done, progress.total,
                    progress.size_bytes, progress.doing,
                )
            )
        )  # fmt: skip

    def _tell_failed(self, problem: events.Problem, source: str, revision: int) -> None:
        serving = self._request.source if self._request is not None and self._current is not None else ""
        failed = events.EnvironmentFailed(time.monotonic(), revision, source, problem, self.digest, serving)
        self._emit(events.to_json(failed))


def _problem_of(error: BaseException) -> events.Problem:
    if isinstance(error, NotMadeError):
        return error.problem
    if isinstance(error, RunnerError | HotloopError):
        return events.Problem("EnvironmentFailed", error.message, hint=error.hint)
    return events.Problem("EnvironmentFailed", f"hotloop itself failed: {type(error).__name__}: {error}")
