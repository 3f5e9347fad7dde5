"""Make the environment that a request asks for, or find it made: resolve, once; then install, once.

What a request was resolved to is kept, so that the same request gives the same environment tomorrow. Two that ask for the
same at once make it once; a process that is killed in between leaves nothing that could be taken for whole.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import platform
import shutil
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

from hotloop.errors import RunnerError
from hotloop.events import Problem
from hotloop.frozen import frozen
from hotloop.remote_runner.environments import failures
from hotloop.remote_runner.environments.commands import CommandError, Commands, find_uv
from hotloop.remote_runner.environments.interpreter import Interpreter, find_interpreter
from hotloop.remote_runner.environments.output import Progress, heard
from hotloop.remote_runner.environments.store import About, Lock, Store, size_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hotloop.remote_runner.environments.request import Request

WAIT_S = 0.1
MAX_WAIT_S = 3600.0  # for another that makes the same: torch over a slow line takes long
# Lists of versions with hashes; a lock with URLs where those would not do. uv 0.13 downloads what such a lock names again
# for each environment, whatever is in its cache: 850 MB for torch.
LOCK, DATA_LOCK, URL_LOCK = "requirements.txt", "data-requirements.txt", "pylock.toml"
_DATA, _OVERRIDES = "hotloop-data.in", "hotloop-overrides.txt"
# The agent's own copy is what the app imports as hotloop, whatever it asks for.
_OVERRIDE = b"hotloop ; python_version < '0'\n"


class NotMadeError(RunnerError):
    """An environment could not be made.

    Attributes:
        problem: Why.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message, hint=problem.hint)
        self.problem = problem


@frozen
class Made:
    """An environment that is whole, and stays as long as it is held.

    Attributes:
        was_cached: It was there before.
        took_s: How long it took to make or to find.
        hold: Keeps it from being removed.
    """

    about: About
    python: Path
    was_cached: bool
    took_s: float
    hold: Lock

    @property
    def digest(self) -> str:
        """Its name."""
        return self.about.digest


async def make(store: Store, request: Request, commands: Commands, tell: Callable[[Progress], None]) -> Made:
    """Give the environment that a request asks for; cancelled, it leaves nothing half.

    Raises:
        NotMadeError: It can't be made.
    """
    began_s = time.monotonic()
    try:
        store.open()
        return await _Making(store, request, commands, tell, began_s).make()
    except CommandError as error:
        raise NotMadeError(failures.problem_of(error.lines, request, error.exit_code)) from error
    except OSError as error:
        kind = "NoSpace" if error.errno in {errno.ENOSPC, errno.EDQUOT} else "EnvironmentFailed"
        problem = Problem(kind, f"{store.folder} can't be written: {error}", hint="free some space on the runner")
        raise NotMadeError(problem) from error


class _Making:
    def __init__(
        self, store: Store, request: Request, commands: Commands, tell: Callable[[Progress], None], began_s: float
    ) -> None:
        self._store = store
        self._request = request
        self._commands = commands
        self._tell = tell
        self._began_s = began_s
        self._key = hashlib.sha256(f"{request.digest} {_host()}".encode()).hexdigest()
        self._uv = ""
        self._progress = Progress("python")

    async def make(self) -> Made:
        found = self._found()
        if found is not None:
            return found
        resolving = await self._alone(self._key)
        try:
            while True:
                made = self._found() or await self._make(resolving)
                if self._store.about(made.digest) is not None:  # it could be removed in the instant before it was held
                    return made
                made.hold.release()
        finally:
            resolving.release()

    def _found(self) -> Made | None:
        """What this request led to before, if it is still there."""
        try:
            digest = (self._store.resolved(self._key) / "environment").read_text("utf-8")
        except OSError:
            return None
        about = self._store.about(digest)
        hold = self._store.lock(digest, is_shared=True) if about is not None else None
        if about is None or hold is None:
            return None
        return self._made(about, hold, was_cached=True)

    def _made(self, about: About, hold: Lock, *, was_cached: bool) -> Made:
        self._store.touch(about.digest)
        return Made(about, self._store.python(about.digest), was_cached, time.monotonic() - self._began_s, hold)

    async def _alone(self, name: str) -> Lock:
        until_s = time.monotonic() + MAX_WAIT_S
        while (lock := self._store.lock(name)) is None:
            if time.monotonic() > until_s:
                msg = f"Another process has been making the same environment for {MAX_WAIT_S / 60:.0f} minutes."
                raise NotMadeError(Problem("EnvironmentFailed", msg, hint="end it, then save again"))
            if self._progress.phase != "wait":
                self._say(Progress("wait"))
            await asyncio.sleep(WAIT_S)
        return lock

    async def _make(self, resolving: Lock) -> Made:
        self._uv = find_uv()
        self._say(Progress("python"))
        interpreter = await find_interpreter(self._commands, self._uv, self._request.python, self._store.folder)
        folder = await self._resolve(interpreter, resolving)
        digest = _digest(folder, self._request, interpreter)
        lock = await self._alone(digest)
        try:
            about = self._store.about(digest)
            was_cached = about is not None
            about = about or await self._install(folder, digest, interpreter, lock)
            self._store.share(lock)
        except BaseException:
            lock.release()
            raise
        _write(folder / "environment", digest)
        return self._made(about, lock, was_cached=was_cached)

    # --- resolve

    async def _resolve(self, interpreter: Interpreter, resolving: Lock) -> Path:
        """Give the folder with the locks, made now unless it was before."""
        folder = self._store.resolved(self._key)
        if folder.exists():
            return folder
        self._say(Progress("resolve"))
        fresh = folder.with_name(f"{folder.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)  # what a process that was killed left
        try:
            self._write_project(fresh / "project")
            for command in self._locks(fresh, interpreter.path):
                await self._run(command, fresh, resolving)
            fresh.rename(folder)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
        return folder

    def _write_project(self, project: Path) -> None:
        project.mkdir(parents=True)
        data = "".join(f"{each.text}\n" for each in self._request.data_packages)
        for path, content in {**self._request.files, _DATA: data.encode(), _OVERRIDES: _OVERRIDE}.items():
            (project / path).parent.mkdir(parents=True, exist_ok=True)
            (project / path).write_bytes(content)

    def _locks(self, fresh: Path, python: str) -> list[list[str]]:
        """The commands that make the locks, those that the project has itself left out."""
        request = self._request
        compile_ = [
            self._uv,
            "pip",
            "compile",
            "--override",
            _OVERRIDES,
            "--python",
            python,
            "--no-header",
            "--no-annotate",
        ]
        listed = ["--generate-hashes", "--emit-index-url", "--emit-find-links", "--emit-build-options"]
        commands: list[list[str]] = []
        if request.kind == "uv.lock":
            export = [
                self._uv, "export", "--frozen", "--no-emit-workspace", "--no-emit-package", "hotloop", "--no-default-groups",
                "--no-header", "--no-annotate", "--format", "requirements.txt",
            ]  # fmt: skip
            commands.append([*export, "-o", str(fresh / LOCK)])
        elif request.has_sources:
            commands.append([*compile_, "--format", "pylock.toml", "-o", str(fresh / URL_LOCK), *request.inputs])
        elif request.kind == "resolved":
            commands.append([*compile_, *listed, "-o", str(fresh / LOCK), *request.inputs])
        if request.data_packages:
            commands.append([*compile_, *listed, "--no-deps", "-o", str(fresh / DATA_LOCK), _DATA])
        return commands

    # --- install

    async def _install(self, folder: Path, digest: str, interpreter: Interpreter, lock: Lock) -> About:
        store, target = self._store, self._store.path(digest)
        await asyncio.to_thread(store.remove, digest)  # what a build that was killed left
        try:
            self._say(Progress("download"))
            for command in self._installs(folder, target, interpreter.path):
                await self._run(command, folder, lock)
            size_bytes = await asyncio.to_thread(size_of, target)
            about = About(digest, self._request.source, interpreter.version, installed(target), size_bytes)
            store.finish(about)
        except BaseException:
            store.remove(digest)
            raise
        return about

    def _installs(self, folder: Path, target: Path, base: str) -> list[list[str]]:
        """The commands that make the environment: what the lock names and nothing else, then data without dependencies."""
        request, python = self._request, ["--python", str(target / "bin" / "python")]
        sync = [self._uv, "pip", "sync", "--allow-empty-requirements", *python]
        locks = [str(folder / name) for name in (LOCK, URL_LOCK) if (folder / name).exists()]
        hashes = ["--require-hashes"] if request.kind == "hashed" else []
        commands = [
            [self._uv, "venv", "--no-project", "--python", base, str(target)],
            [*sync, *hashes, *(locks or request.inputs)],
        ]
        if request.data_packages:
            commands.append([self._uv, "pip", "install", "--no-deps", *python, "-r", str(folder / DATA_LOCK)])
        return commands

    # --- small things

    async def _run(self, command: list[str], folder: Path, lock: Lock) -> None:
        await self._commands.run(command, folder / "project", lock_fd=lock.fd, on_line=self._heard)

    def _heard(self, line: str) -> None:
        progress = heard(self._progress, line)
        if progress != self._progress:
            self._say(progress)

    def _say(self, progress: Progress) -> None:
        self._progress = progress
        self._tell(progress)


def installed(environment: Path) -> dict[str, str]:
    """List what is installed: versions by name, read off the folders' names."""
    found: dict[str, str] = {}
    for folder in sorted(environment.glob("lib/python*/site-packages/*.dist-info")):
        name, _, version = folder.name.removesuffix(".dist-info").rpartition("-")
        found[name.replace("_", "-").lower()] = version
    return found


def _digest(folder: Path, request: Request, interpreter: Interpreter) -> str:
    """Name an environment: all that decides what is in it."""
    told = {**request.files} if request.kind in {"pylock", "hashed"} else dict[str, bytes]()
    told |= {name: (folder / name).read_bytes() for name in (LOCK, DATA_LOCK, URL_LOCK) if (folder / name).exists()}
    contents = {name: hashlib.sha256(content).hexdigest() for name, content in told.items()}
    said = json.dumps([contents, request.settings, asdict(interpreter)], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()


def _host() -> str:
    """What a lock depends on beside the request: a state folder may be shared by machines that differ."""
    return f"{sys.platform} {platform.machine()} {'-'.join(platform.libc_ver())}"


def _write(path: Path, text: str) -> None:
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(text, "utf-8")
    fresh.replace(path)
