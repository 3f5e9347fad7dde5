"""Serve an app beside a command that measures it: `dev run` in a process of its own, on any free port."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

from hotloop.cli import rest
from hotloop.errors import HotloopError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from pathlib import Path
    from types import FrameType

END_TIMEOUT_S = 20.0
_ENDS = (signal.SIGTERM, signal.SIGHUP)
_BESIDE = "from hotloop.cli import beside; beside.main()"


class Served:
    """A project that is being served, or about to be.

    Attributes:
        pid: Of its runtime, once it serves; 0 before.
    """

    def __init__(self, process: subprocess.Popen[bytes], output: IO[bytes], errors: IO[bytes]) -> None:
        self.pid = 0
        self._process = process
        self._output = output
        self._errors = errors

    def address(self, say: Callable[[str], None]) -> str:
        """Wait until it serves, and has a worker for its next reload too: making that takes a core.

        Args:
            say: Told what takes its time.

        Raises:
            HotloopError: It can't be served.
        """
        address, problem = "", ""
        for line in self._output:
            event: dict[str, Any] = json.loads(line)
            match event["kind"]:
                case "runtime_started":
                    address, self.pid = event["address"], event["pid"]
                case "model_loading":
                    say(f"loading {event['model']}")
                case "reload_failed" | "runtime_stopped" if event["problem"]:
                    problem = _shown(event["problem"])
                case "iteration_finished":
                    break
                case _:
                    pass
        if address and not problem:
            threading.Thread(target=self._output.read, daemon=True).start()  # a full pipe would hold it up
            return address
        if not problem:
            self._process.wait()  # it has said why by then
        self._errors.seek(0)
        said = problem or self._errors.read().decode(errors="replace").strip().partition("\n")[0].removeprefix(
            "error: "
        )
        msg = f"it can't be served: {said or 'it ended without a word'}"
        raise HotloopError(msg, hint="serve it by hand to see more, and compare with its address")


@contextmanager
def served(project: Path, python: Path, app: str) -> Generator[Served]:
    """Serve a project. Nothing of it runs any more afterwards, whatever ends this process.

    Args:
        project: Its folder.
        python: The app's interpreter.
        app: Which app; empty: the only one.
    """
    command = [sys.executable, "-P", "-c", _BESIDE, "run", str(project), "--json", "--port", "0"]
    command += ["--python", str(python), *(["--app", app] if app else [])]
    pipe = subprocess.PIPE
    with tempfile.TemporaryFile() as errors, _ending_in_order():
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=errors, start_new_session=True)
        try:
            if process.stdout is None:
                msg = "dev run has no output"
                raise HotloopError(msg)
            yield Served(process, process.stdout, errors)
        finally:
            _end(process)


def wait_until_at_rest(all_served: Sequence[Served], say: Callable[[str], None]) -> None:
    """Wait until nothing goes on but what is asked for, for a while at least."""
    if not rest.wait([each.pid for each in all_served]):
        say("it is still busy by itself, which will be measured too")


def main() -> None:
    """Run the program until it ends, or whoever started it is gone, however that went: its end of stdin closes then."""
    from hotloop.cli.main import main as run

    def end_with_it() -> None:
        while os.read(sys.stdin.fileno(), 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=end_with_it, daemon=True).start()
    run()


def _shown(problem: dict[str, Any]) -> str:
    where = next((frame for frame in reversed(problem["frames"]) if frame["is_project"]), None)
    place = f" ({where['file']}:{where['line']})" if where is not None else ""
    return f"{problem['type']}: {problem['message']}{place}"


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(END_TIMEOUT_S)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.terminate()  # a second one ends it at once, and the runner what it served
        process.wait()


@contextmanager
def _ending_in_order() -> Generator[None]:
    """Have a signal to end be an exception, so that what was begun is ended."""

    def end(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, end) for number in _ENDS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
