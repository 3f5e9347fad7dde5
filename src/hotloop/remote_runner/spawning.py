"""Start a command in a session's workspace, with the app's environment first on its path."""

from __future__ import annotations

import fcntl
import os
import pwd
import secrets
import struct
import subprocess
import sys
import termios
from typing import TYPE_CHECKING

from hotloop.errors import RunnerError
from hotloop.frozen import frozen
from hotloop.remote_runner.places import noted_python, runtime_folder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_OURS = frozenset({"GRPC_VERBOSITY", "GRPC_ENABLE_FORK_SUPPORT", "PYTHONHOME", "VIRTUAL_ENV"})  # of the agent's process
_MARK = "HOTLOOP_COMMAND"
# Only a process of its own can make a terminal its own; what Python ignores must not be ignored by what it becomes.
_TAKE_TERMINAL = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
for number in (signal.SIGPIPE, signal.SIGXFSZ):
    signal.signal(number, signal.SIG_DFL)
try:
    os.execvp(sys.argv[1], sys.argv[1:])
except OSError as error:
    print(f"hotloop: {sys.argv[1]}: {error.strerror}", file=sys.stderr)
    sys.exit(127 if isinstance(error, FileNotFoundError) else 126)
"""
# The user's own file may put other environments first, as conda's does.
_BASH_RC = '[ -f ~/.bashrc ] && . ~/.bashrc\nPATH="$HOTLOOP_PATH:$PATH"\nunset HOTLOOP_PATH\n'


@frozen
class Size:
    """A terminal's."""

    rows: int
    columns: int


@frozen
class Spawned:
    """A process that leads a session of its own, and our ends of its streams; the owner closes them.

    Attributes:
        mark: ``NAME=VALUE`` of its environment that no other command has.
        stdin: The same descriptor as ``stdout`` if it has a terminal.
        stderr: None if it has a terminal.
    """

    process: subprocess.Popen[bytes]
    mark: str
    stdin: int
    stdout: int
    stderr: int | None

    @property
    def has_terminal(self) -> bool:
        """Whether it has one."""
        return self.stderr is None


def spawn(session: Path, arguments: Sequence[str], environment: Mapping[str, str], size: Size | None) -> Spawned:
    """Start a command.

    Args:
        session: The session's folder.
        arguments: The command; none for the user's shell.
        environment: Variables beside this process's own.
        size: Of the terminal to give it; None for pipes.

    Raises:
        RunnerError: There is no workspace.
        OSError: The command can't be started.
    """
    workspace = session / "tree"
    if not workspace.is_dir():
        msg = "nothing was synced yet for this project"
        raise RunnerError(msg, hint="dev serve first")
    variables = {name: value for name, value in {**os.environ, **environment}.items() if name not in _OURS}
    _activate(variables, noted_python(runtime_folder(session)))
    _lead_to_hotloop(variables, runtime_folder(session) / "bridge")
    variables[_MARK] = secrets.token_hex(8)
    command = list(arguments) or _shell(runtime_folder(session), variables)
    if size is None:
        process = subprocess.Popen(
            command, cwd=workspace, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, start_new_session=True, bufsize=0,
        )  # fmt: skip
        return _with_pipes(process, f"{_MARK}={variables[_MARK]}")
    return _with_terminal(command, workspace, variables, size)


def resize(terminal: int, size: Size) -> None:
    """Tell a terminal, and through it whoever runs in it, how large it is."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", size.rows, size.columns, 0, 0))


def _activate(variables: dict[str, str], python: Path | None) -> None:
    if python is None:
        return
    variables["PATH"] = f"{python.parent}:{variables.get('PATH', os.defpath)}"
    if (python.parent.parent / "pyvenv.cfg").exists():
        variables["VIRTUAL_ENV"] = str(python.parent.parent)


def _lead_to_hotloop(variables: dict[str, str], bridge: Path) -> None:
    """Have the app's modules find the hotloop that serves them: no environment has it unless its owner put it there."""
    if bridge.is_dir():
        given = variables.get("PYTHONPATH", "")
        variables["PYTHONPATH"] = f"{given}{os.pathsep}{bridge}" if given else str(bridge)


def _shell(folder: Path, variables: dict[str, str]) -> list[str]:
    shell = pwd.getpwuid(os.getuid()).pw_shell or "/bin/sh"
    if not shell.endswith("/bash"):
        return [shell, "-i"]
    rc = folder / "bashrc"
    rc.write_text(_BASH_RC, encoding="utf-8")
    variables["HOTLOOP_PATH"] = variables.get("PATH", os.defpath).partition(":")[0]
    return [shell, "--rcfile", str(rc), "-i"]


def _with_pipes(process: subprocess.Popen[bytes], mark: str) -> Spawned:
    ends: list[int] = []
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is None:
            raise AssertionError
        ends.append(os.dup(stream.fileno()))
        stream.close()
        os.set_blocking(ends[-1], False)
    return Spawned(process, mark, *ends)


def _with_terminal(command: list[str], workspace: Path, variables: dict[str, str], size: Size) -> Spawned:
    ours, theirs = os.openpty()
    try:
        resize(ours, size)
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _TAKE_TERMINAL, *command], cwd=workspace, env=variables,
            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        )  # fmt: skip
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    os.set_blocking(ours, False)
    return Spawned(process, f"{_MARK}={variables[_MARK]}", ours, ours, None)
