"""Load a model, edit the project, and see in fresh processes: what the fingerprint says, and what is true."""

from __future__ import annotations

import atexit
import functools
import os
import pickle
import subprocess
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from hotloop.gpu_runtime.user_env.fingerprint import ambient
from hotloop.gpu_runtime.user_env.fingerprint.compare import Present
from hotloop.gpu_runtime.user_env.fingerprint.record import Record
from hotloop.gpu_runtime.user_env.fingerprint.record import record as recorded
from hotloop.gpu_runtime.user_env.fingerprint.values import digest
from hotloop.gpu_runtime.user_env.source import Project
from hotloop.gpu_runtime.user_env.vault.attaching import attach
from hotloop.gpu_runtime.user_env.vault.packing import pack
from hotloop.gpu_runtime.user_env.vault.reducers import CannotAttach
from hotloop.gpu_runtime.user_env.vault.sharing import Shared

ROOT = Path(__file__).parents[4]


@dataclass(frozen=True)
class Seen:
    """What an edit did.

    Attributes:
        difference: What the fingerprint says; empty: keep the model.
        is_same: Whether the kept model, with the new code, answers as one that is loaded anew.
        cannot_stay: Why the model could not be kept from the start.
    """

    difference: str
    is_same: bool
    cannot_stay: str = ""


def forked(work: Callable[..., Any], *arguments: Any) -> Any:
    """Do something of this module in a fresh process, with this one's environment, and pass on what comes of it.

    The process is forked from one that holds nothing else: what a test run has imported by now would all be looked at.
    """
    server = _server()
    pickle.dump((dict(os.environ), work.__name__, arguments), server.stdin)
    server.stdin.flush()
    kind, value = pickle.load(server.stdout)
    if kind == "error":
        raise RuntimeError(value)
    return value


@functools.cache
def _server() -> Any:
    pipe = subprocess.PIPE
    server = subprocess.Popen([sys.executable, "-m", __name__], cwd=ROOT, stdin=pipe, stdout=pipe)
    atexit.register(server.communicate)
    return server


def _serve() -> None:
    answers = os.dup(1)
    os.dup2(2, 1)
    while True:
        try:
            environment, name, arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        child = os.fork()
        if child == 0:
            _answer(answers, environment, name, arguments)
        os.waitpid(child, 0)


def _answer(answers: int, environment: dict[str, str], name: str, arguments: Any) -> NoReturn:
    try:
        os.environ.clear()
        os.environ.update(environment)
        result = "ok", globals()[name](*arguments)
    except BaseException as error:  # noqa: BLE001
        result = "error", f"{error!r}\n{traceback.format_exc()}"
    with os.fdopen(answers, "wb") as file:
        pickle.dump(result, file)
    os._exit(0)


def _import(root: Path) -> tuple[Any, Project]:
    project = Project(str(root))
    sys.path.insert(0, str(root))
    os.chdir(root)
    project.install()
    with ambient.noting_seeds():
        import app  # type: ignore[import-not-found]

    return app, project


def _load(root: Path) -> tuple[Any, ...]:
    app, project = _import(root)
    recording = recorded(app.load, {}, {}, project)
    if recording.cannot_stay:
        return recording.record.to_json(), None, recording.cannot_stay
    packed = pack(recording.value, project, Shared({}, project))
    # The pickled header travels to the next process in this test; the memory does by a file.
    memory = os.pread(packed.fds[0], os.fstat(packed.fds[0]).st_size, 0)
    return recording.record.to_json(), (packed.header, memory), ""


def _observed(app: Any, model: Any) -> Any:
    answers = app.handler(model) if hasattr(app, "handler") else None
    return digest(model), answers


def _cold(root: Path) -> Any:
    app, _ = _import(root)
    return _observed(app, app.load())


def _kept(root: Path, record: Any, packed: Any) -> tuple[str, Any]:
    app, project = _import(root)
    difference = Present(project).first_difference(Record.from_json(record), {}, app.load)
    if difference:
        return difference, None
    header, memory = packed
    fd = os.memfd_create("model")
    os.write(fd, memory)
    try:
        model = attach(header, [fd], project)
    except CannotAttach as error:
        return f"CannotAttach: {error}", None
    return "", _observed(app, model)


def observe(root: Path, *edits: Callable[[Path], None]) -> Seen:
    """Record a load of ``app.load`` in a project, make edits, and compare keeping with loading after the last."""
    return observe_each(root, *edits)[-1]


def observe_each(root: Path, *edits: Callable[[Path], None]) -> list[Seen]:
    """The same after each edit."""
    record, packed, cannot_stay = forked(_load, root)
    if cannot_stay:
        return [Seen("", is_same=True, cannot_stay=cannot_stay)]
    return [_after(edit, root, record, packed) for edit in edits]


def _after(edit: Callable[[Path], None], root: Path, record: Any, packed: Any) -> Seen:
    edit(root)
    difference, kept = forked(_kept, root, record, packed)
    return Seen(difference, is_same=not difference and kept == forked(_cold, root))


def write(root: Path, files: dict[str, str]) -> None:
    """Write a project's files."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def replacing(file: str, old: str, new: str) -> Callable[[Path], None]:
    """An edit that replaces one text by another, the way a synced file arrives: by renaming a new one over it."""

    def edit(root: Path) -> None:
        path = root / file
        text = path.read_text()
        assert old in text, f"{old!r} is not in {file}"
        fresh = root / ".fresh"
        fresh.write_text(text.replace(old, new, 1))
        fresh.replace(path)

    return edit


if __name__ == "__main__":
    _serve()
