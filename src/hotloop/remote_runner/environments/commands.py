"""Run uv and interpreters: pass on their lines as they come, and say how they ended. Knows no environment."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hotloop.errors import RunnerError
from hotloop.gpu_runtime.logs import LineReader
from hotloop.remote_runner import processes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_KEPT_LINES = 400

# What would point uv at another environment than the one that is meant.
_DROPPED = frozenset({
    "VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONHOME", "PYTHONPATH", "UV_PYTHON", "UV_PROJECT", "UV_PROJECT_ENVIRONMENT",
    "UV_WORKING_DIRECTORY", "UV_SYSTEM_PYTHON",
})  # fmt: skip


class CommandError(Exception):
    """A command failed.

    Attributes:
        lines: What it printed on stderr last.
        exit_code: Negative for a signal.
    """

    def __init__(self, lines: list[str], exit_code: int) -> None:
        super().__init__(f"exit code {exit_code}")
        self.lines = lines
        self.exit_code = exit_code


def find_uv() -> str:
    """Give the path of uv: the one installed beside hotloop, else the one on PATH.

    Raises:
        RunnerError: There is none.
    """
    beside = Path(sys.prefix) / "bin" / "uv"
    found = str(beside) if beside.exists() else shutil.which("uv")
    if found is None:
        msg = f"There is no uv on this runner: neither {beside} nor on PATH."
        raise RunnerError(msg, hint="hotloop comes with it: install hotloop there again, or uv itself")
    return found


def variables_for_uv(environ: Mapping[str, str]) -> dict[str, str]:
    """Give the variables that uv gets, of those that the agent has."""
    kept = {name: value for name, value in environ.items() if name not in _DROPPED}
    return {**kept, "NO_COLOR": "1", "UV_NO_PROGRESS": "1"}


class Commands:
    """Runs one command at a time.

    Args:
        environ: The variables that each gets.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = dict(environ)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The running command's, None while none runs."""
        return self._process.pid if self._process is not None else None

    async def run(
        self, command: list[str], folder: Path, *, lock_fd: int = -1, on_line: Callable[[str], None] = lambda _: None
    ) -> list[str]:
        """Run a command until it ends; cancelled, it is killed with all that it started.

        Args:
            command: The program and its arguments.
            folder: Where it runs: uv reads its settings from the pyproject.toml there.
            lock_fd: A lock that is held as long as the command lives, even if this process is killed; -1 for none.
            on_line: Called with each line of its stderr.

        Returns:
            The lines of its stdout.

        Raises:
            CommandError: It failed.
            OSError: It could not be started.
        """
        errors: list[str] = []
        output: list[str] = []

        def heard(line: str) -> None:
            errors.append(line)
            del errors[:-MAX_KEPT_LINES]
            on_line(line)

        readers = self._start(command, folder, lock_fd, output.append, heard)
        process = self._process
        if process is None:
            return output
        try:
            code = await processes.wait_for_exit(process)
        except asyncio.CancelledError:
            _kill_group(process)
            raise
        finally:
            for reader in readers:
                reader.close()
            self._process = None
        if code:
            raise CommandError(errors, code)
        return output

    def _start(
        self,
        command: list[str],
        folder: Path,
        lock_fd: int,
        on_output: Callable[[str], None],
        on_error: Callable[[str], None],
    ) -> tuple[LineReader, LineReader]:
        out_read, out_write = os.pipe()
        err_read, err_write = os.pipe()
        try:
            self._process = subprocess.Popen(
                command, cwd=folder, env=self._environ, pass_fds=(lock_fd,) if lock_fd >= 0 else (),
                stdin=subprocess.DEVNULL, stdout=out_write, stderr=err_write, start_new_session=True,
            )  # fmt: skip
        except OSError:
            os.close(out_read)
            os.close(err_read)
            raise
        finally:
            os.close(out_write)
            os.close(err_write)
        return LineReader(out_read, on_output), LineReader(err_read, on_error)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
