"""The tour of `dev demo`: it edits the chat template three times and shows what each save cost.

It knows of the loop only what `dev serve --json` says: a subprocess whose lines are events.
"""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from hotloop import events
from hotloop.devloop.words import duration, phases
from hotloop.errors import HotloopError, UsageError
from hotloop.frozen import frozen

_START_TIMEOUT_S = 600.0  # the first start reads the model from its file, on a slow machine too
_SAVE_TIMEOUT_S = 120.0
_STANDBY_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 20.0
_SERVE = "import sys; from hotloop.cli.main import main; sys.argv[0] = 'dev'; main()"


@frozen
class Save:
    """One save of the tour: in a file, one text becomes another."""

    title: str
    file: str
    before: str
    after: str


TOUR = (
    Save("the prompt", "app.py", '"You are a helpful assistant."', '"You are a pirate called Redbeard."'),
    Save("the endpoint's code", "app.py", "tokenizer)).strip()", "tokenizer)).strip().upper()"),
    Save("a mistake", "generate.py", "cache, tokens, shown = None, [], ", "cache, tokens, shown = None, [, "),
    Save("the mistake's fix", "generate.py", "cache, tokens, shown = None, [, ", "cache, tokens, shown = None, [], "),
)


@frozen
class Row:
    """What one save cost, for the summary."""

    title: str
    iteration: events.Iteration


def take(path: Path, python: str, pause_s: float, *, is_agreed: bool) -> int:
    """Take the tour; gives an exit code.

    Args:
        path: The chat project to use; made if it is not there.
        python: The interpreter that runs the app; empty for the one that is found.
        pause_s: How long to wait before each edit, to be read.
        is_agreed: Make an environment without asking.

    Raises:
        HotloopError: The project is not as the template has it, or can't be made or served.
    """
    if (path / "app.py").is_file():
        check_edits(path)
    _prepare(path, python, is_agreed=is_agreed)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ended either way, nothing of it may go on
    try:
        with _restored(path), _served(path, python) as stream:
            rows = list(_tour(path, stream, pause_s))
    except KeyboardInterrupt:
        _say("stopped; the files are as they were")
        return 130
    print_summary(rows)
    _say(f"nothing of it runs any more. Your turn: cd {path} && dev serve")
    return 0


def apply_edit(project: Path, save: Save) -> None:
    """Make one of the tour's edits.

    Raises:
        UsageError: The file is not as the template has it.
    """
    file = project / save.file
    file.write_text(_edited(file, _text_of(file), save), encoding="utf-8")


def check_edits(project: Path) -> None:
    """See that all edits of the tour can be made, before the models are loaded for it.

    Raises:
        UsageError: A file is not as the template has it.
    """
    texts: dict[Path, str] = {}
    for save in TOUR:
        file = project / save.file
        texts[file] = _edited(file, texts.get(file, _text_of(file)), save)


def _text_of(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""


def _edited(file: Path, text: str, save: Save) -> str:
    if text.count(save.before) != 1:
        msg = f"{file} is not as the chat template has it: expected {save.before} once, found {text.count(save.before)}"
        raise UsageError(msg, hint="take the tour in a new folder: dev demo PATH")
    return text.replace(save.before, save.after)


class Stream:
    """The events of a served project, read from its lines.

    Attributes:
        has_standby: Whether a worker waits for the next save.
    """

    def __init__(self, lines: IO[str]) -> None:
        self.has_standby = False
        self._queue: queue.Queue[events.Event | None] = queue.Queue()
        threading.Thread(target=self._read, args=(lines,), daemon=True).start()

    def next(self, deadline_s: float) -> events.Event | None:
        """Wait for the next event until a time of time.monotonic(); None if there is none.

        Raises:
            HotloopError: The stream ended.
        """
        try:
            event = self._queue.get(timeout=max(0.0, deadline_s - time.monotonic()))
        except queue.Empty:
            return None
        if event is None or isinstance(event, events.RuntimeStopped):
            problem = event.problem if event else None
            msg = f"dev serve stopped: {problem.message if problem else 'it gave no reason'}"
            raise HotloopError(msg, hint=problem.hint if problem else "run dev serve there to see why")
        if isinstance(event, events.StandbyReady | events.ReloadStarted):
            self.has_standby = isinstance(event, events.StandbyReady)
        return event

    def iteration(self, timeout_s: float) -> events.Iteration:
        """Wait for the next iteration that no newer save overtook.

        Raises:
            HotloopError: The stream ended, or none finished in time.
        """
        deadline_s = time.monotonic() + timeout_s
        while event := self.next(deadline_s):
            if isinstance(event, events.IterationFinished) and event.iteration.outcome != "superseded":
                return event.iteration
        msg = f"no save was answered within {timeout_s:.0f} s"
        raise HotloopError(msg, hint="run dev serve there to see what it does")

    def standby(self, timeout_s: float) -> bool:
        """Wait until a standby is ready, as it is long before a person has made the next edit."""
        deadline_s = time.monotonic() + timeout_s
        while not self.has_standby and self.next(deadline_s):
            pass
        return self.has_standby

    def _read(self, lines: IO[str]) -> None:
        for line in lines:
            self._queue.put(events.from_json(json.loads(line)))
        self._queue.put(None)


def _prepare(path: Path, python: str, *, is_agreed: bool) -> None:
    from hotloop.cli import new
    from hotloop.remote_runner import environment

    if not (path / "app.py").is_file():
        new.scaffold("chat", path)
        _say(f"made {path} from the template chat")
    if python or (path / ".venv").is_dir():
        return
    declared = environment.declared_packages(path / "app.py")
    interpreter = path / ".venv" / "bin" / "python"
    steps = [
        environment.make_command(path, environment.some_python()),
        *environment.install_command(interpreter, declared.packages, declared.data_packages),
    ]
    if is_agreed or new.is_agreed(list(declared.packages + declared.data_packages)):
        new.build(path, steps)


@contextmanager
def _restored(project: Path) -> Generator[None]:
    files = sorted({project / save.file for save in TOUR})
    texts = {file: file.read_bytes() for file in files if file.is_file()}
    try:
        yield
    finally:
        for file, text in texts.items():
            file.write_bytes(text)


@contextmanager
def _served(project: Path, python: str) -> Generator[Stream]:
    command = [sys.executable, "-P", "-c", _SERVE, "serve", "--json", *(["--python", python] if python else [])]
    with tempfile.TemporaryFile("w+") as complaints:
        process = subprocess.Popen(
            command,
            cwd=project,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
            start_new_session=True,  # Ctrl-C reaches it once, from here, and not from the terminal as well
        )
        assert process.stdout is not None  # noqa: S101 - it was asked for two lines above
        try:
            yield Stream(process.stdout)
        except HotloopError as error:
            complaints.seek(0)
            said = [line.strip() for line in complaints if line.strip()]
            raise HotloopError("; ".join([error.message, *said[:3]]), hint=error.hint) from error
        finally:
            _stop(process)


def _stop(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _tour(project: Path, stream: Stream, pause_s: float) -> Iterator[Row]:
    _say(f"dev serve in {project}: the models are loaded, once …")
    first = _shown(Row("first start", stream.iteration(_START_TIMEOUT_S)))
    if first.iteration.outcome == "failed":
        msg = "the app did not start, so there is nothing to edit"
        raise HotloopError(msg, hint=f"cd {project} && dev serve shows the whole error")
    yield first
    for number, save in enumerate(TOUR, 1):
        stream.standby(_STANDBY_TIMEOUT_S)
        time.sleep(pause_s)
        _say(f"\n{number}. {save.title}: in {save.file}, {save.before}  becomes  {save.after}")
        apply_edit(project, save)
        yield _shown(Row(save.title, stream.iteration(_SAVE_TIMEOUT_S)))


def _shown(row: Row) -> Row:
    for line in describe(row.iteration):
        print(f"   {line}", flush=True)
    return row


def describe(iteration: events.Iteration) -> Iterator[str]:
    """Say what an iteration cost and did, line by line."""
    if iteration.problem:
        place = iteration.problem.where
        where = f" at {place.file}:{place.line}" if place else ""
        yield f"{iteration.problem.type}{where}: {iteration.problem.message} (after {duration(iteration.feedback_s)})"
        if iteration.number:
            yield "the generation before it still answers"
        return
    ready = "" if iteration.ready_s is None else f"; new code ready after {duration(iteration.ready_s)}"
    yield f"feedback after {duration(iteration.feedback_s)}{ready}"
    yield f"of that: {phases(iteration.phases_s)}"
    for model in iteration.models:
        yield f"{model.name}: {model.action} in {duration(model.took_s)} ({model.why})"
    for probe in iteration.probes:
        shown = list(probe.diff) if probe.diff else [f"  {probe.output}"]
        yield f"{probe.name}, {duration(probe.compute_s)} in the endpoint:"
        yield from (f"  {line}" for line in shown)


def print_summary(rows: list[Row]) -> None:
    """Print the table of all saves."""
    from rich.console import Console
    from rich.table import Table

    table = Table("save", "feedback", "new code ready", "models", title="What each save cost", title_justify="left")
    for row in rows:
        iteration = row.iteration
        ready = "old code serves" if iteration.ready_s is None else duration(iteration.ready_s)
        models = ", ".join(f"{model.name} {model.action}" for model in iteration.models) or "untouched"
        table.add_row(row.title, duration(iteration.feedback_s), ready, models)
    Console().print(table)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
