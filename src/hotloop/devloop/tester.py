# pyright: basic
"""Carries a run of tests out: on the runner, in the app's environment; a newer save ends it there.

Basic type checks: what protoc generates derives from untyped classes.
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import json
import os
import shlex
import time
from collections import deque
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from hotloop import events
from hotloop.devloop import junit
from hotloop.devloop.tests_on_save import Result
from hotloop.errors import HotloopError, RunnerError, UsageError
from hotloop.remote_runner.calls import CallLostError, open_call
from hotloop.remote_runner.protocol import agent_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable

    from hotloop.devloop.tests_on_save import Begin
    from hotloop.remote_runner.channels import Channels

MAX_FIRST_LINES = 500
MAX_LAST_LINES = 500  # a summary comes at the end
MAX_LINE_CHARACTERS = 4_000
_CAN_NOT_RUN = (126, 127)
_OK, _SOME_FAILED = 0, 1  # of pytest; 2 and up: it was interrupted, misused, or found no test
_SHELL = frozenset({"&&", "||", "|", ";", "&", ">", ">>", "<"})
_SCRIPT = Path(__file__).parent / "on_runner" / "run_tests.py"


def parse(command: str, what: str) -> list[str]:
    """Split a command as a shell does.

    Args:
        command: As it was typed.
        what: The option or setting that it is from.

    Raises:
        UsageError: It can't be split, or needs a shell.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        msg = f"{what} is {command!r}, which can't be split into words: {error}"
        raise UsageError(msg, hint='write it as "pytest -q tests"') from error
    if not words:
        msg = f"{what} is empty, a command was expected"
        raise UsageError(msg, hint='write it as "pytest -q tests"')
    if _SHELL & set(words):
        msg = f"{what} is {command!r}, which needs a shell"
        raise UsageError(msg, hint=f"write it as: sh -c {shlex.quote(command)}")
    return words


def is_pytest(words: list[str]) -> bool:
    """Whether a command is pytest, as itself or as a module of some Python."""
    name = os.path.basename(words[0])  # noqa: PTH119
    is_module = name.startswith("python") and ("-m", "pytest") in pairwise(words)
    return name in {"pytest", "py.test"} or is_module


def arranged(words: list[str]) -> list[str]:
    """Have pytest run those first that failed last time."""
    keeps_no_cache = any("no:cacheprovider" in word for word in words)
    return words if keeps_no_cache or not is_pytest(words) else [*words, "--failed-first"]


class Tester:
    """Runs one session's tests, one run at a time.

    Args:
        channels: Of the runner; closed with it.
        project_id: Whose workspace it is.
        command: What runs, split into words.
        environment: Variables to give it.
        project: The project's folder here, in whose place the workspace's is shown.
    """

    def __init__(
        self, channels: Channels, project_id: str, command: list[str], environment: dict[str, str], project: Path
    ) -> None:
        self._channels = channels
        self._project_id = project_id
        self._command = command
        self._environment = {**environment, "PYTHONDONTWRITEBYTECODE": "1"}  # a stale .pyc would be tested
        self._project = project
        self._began_s = 0.0
        self._task: asyncio.Task[None] | None = None

    def begin(
        self,
        begin: Begin,
        python: str,
        workspace: str,
        say: Callable[[events.Event], None],
        done: Callable[[Result | None], None],
    ) -> asyncio.Task[None]:
        """Run the tests; cancelling the task leaves no process.

        Args:
            begin: Which run.
            python: The app's interpreter, on the runner.
            workspace: The project's tree there.
            say: Told each line of their output.
            done: Told the result, unless `stop` comes first; None if the connection was lost.
        """
        self._began_s = time.monotonic()
        output = _Output(workspace, self._project, say)

        async def run() -> None:
            try:
                code, report = await self._run(python, output)
            except CallLostError:
                done(None)
                return
            except HotloopError as error:
                output.line(f"hotloop: {error.message}")
                code, report = None, b""
            output.close()
            done(self._result(code, report))

        self._task = asyncio.create_task(run(), name=f"tests {begin.number}")
        return self._task

    def stop(self, iteration: int, command: str) -> events.TestsFinished:
        """End the run under way, at once; gives what to say of it."""
        if self._task is not None:
            self._task.cancel()
        now_s = time.monotonic()
        return events.TestsFinished(now_s, iteration, command, "superseded", now_s - self._began_s)

    async def close(self) -> None:
        """End the run under way and close the connection."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._channels.close()

    async def _run(self, python: str, output: _Output) -> tuple[int, bytes]:
        wanted = {"command": arranged(self._command), "is_pytest": is_pytest(self._command)}
        arguments = [python, "-I", "-S", "-c", _SCRIPT.read_text(encoding="utf-8"), json.dumps(wanted)]
        start = pb.ProcessStart(project_id=self._project_id, arguments=arguments, environment=self._environment)
        report = bytearray()
        async with open_call(self._channels, 0, "Process", pb.ProcessUp, pb.ProcessDown) as call:
            await call.write(pb.ProcessUp(start=start))
            while (message := await call.read()) is not None:
                match message.WhichOneof("body"):
                    case "output":
                        output.write(message.output)
                    case "errors":
                        report += message.errors
                    case "exit_code":
                        return message.exit_code if message.exit_code >= 0 else 128 - message.exit_code, bytes(report)
                    case "refused":
                        raise RunnerError(message.refused.message, hint=message.refused.hint)
                    case _:
                        pass
        msg = "The agent ended before the tests did."
        raise RunnerError(msg)

    def _result(self, code: int | None, text: bytes) -> Result:
        took_s = time.monotonic() - self._began_s
        if code is None or not is_pytest(self._command):
            outcome = "broken" if code is None or code in _CAN_NOT_RUN else "failed" if code else "ok"
            return Result(outcome, took_s, code)
        report = junit.read(text) if text else None
        if report is None:
            return Result(
                "ok" if code == _OK else "failed" if code == _SOME_FAILED and text else "broken", took_s, code
            )
        outcome = "ok" if code == _OK else "failed" if report.num_failed else "broken"
        return Result(outcome, took_s, code, report.num_passed, report.num_failed, report.failed)


class _Output:
    """What a command writes, as lines of the log: the first and the last ones, and how many were between."""

    def __init__(self, workspace: str, project: Path, say: Callable[[events.Event], None]) -> None:
        self._there, self._here = f"{workspace}/", f"{project}/"
        self._say = say
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""
        self._num_lines = 0
        self._last: deque[str] = deque(maxlen=MAX_LAST_LINES)

    def write(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + self._decoder.decode(data)).split("\n")
        self._rest = self._rest[-MAX_LINE_CHARACTERS:]
        for line in lines:
            self.line(line)

    def line(self, text: str) -> None:
        self._num_lines += 1
        shown = text.removesuffix("\r")[:MAX_LINE_CHARACTERS].replace(self._there, self._here)
        if self._num_lines <= MAX_FIRST_LINES:
            self._tell(shown)
        else:
            self._last.append(shown)

    def close(self) -> None:
        if self._rest:
            self.line(self._rest)
        left_out = self._num_lines - MAX_FIRST_LINES - len(self._last)
        if left_out > 0:
            self._tell(f"… {left_out:,} lines of the tests' output are left out")
        for shown in self._last:
            self._tell(shown)

    def _tell(self, text: str) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._say(events.Log(time.monotonic(), 0, "stdout", text, "tests"))
