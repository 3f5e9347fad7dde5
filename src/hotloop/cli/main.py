"""The program `hotloop`, also called `dev`: chooses the command, and tells failures in two lines."""

from __future__ import annotations

import errno
import os
import sys
import time
import traceback
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hotloop.errors import HotloopError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

INTERRUPTED = 130
_ROOM, _PERMISSIONS = (
    "free some space there, or write elsewhere",
    "look at the folder's owner and permissions, or take another",
)
_NOT_OURS = {
    errno.ENOSPC: _ROOM, errno.EDQUOT: _ROOM, errno.EACCES: _PERMISSIONS, errno.EPERM: _PERMISSIONS, errno.EROFS: _PERMISSIONS,
}  # fmt: skip

COMMANDS = (
    "new", "serve", "run", "attach", "status", "stop", "logs", "shell", "pin", "bench", "stats", "explain", "report", "pulse",
    "sync", "wait", "demo", "version", "runner", "env", "data", "exec",
)  # fmt: skip


def parser(words: Sequence[str]) -> typer.Typer:
    """Make the parser of what was typed: of one command if that is named first, which takes a third of the time of all."""
    app = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        epilog="Exit codes: 0 fine, 1 the app or the run failed, 2 wrong use, 130 interrupted; dev wait has more.",
    )
    app.callback()(about)
    for name in words[:1] if words and words[0] in COMMANDS else COMMANDS:
        module = import_module(f"hotloop.cli.{name}")
        if name == "exec":  # its options end where the command that it runs begins
            app.command(name, context_settings={"allow_interspersed_args": False})(module.exec_)
        elif isinstance(command := getattr(module, name), typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command()(command)
    return app


def _print_version(is_asked: bool) -> None:
    if is_asked:
        import_module("hotloop.cli.version").version()
        raise typer.Exit


def about(
    _version: Annotated[
        bool,
        typer.Option("--version", "-V", is_eager=True, callback=_print_version, help="Print the version and exit."),
    ] = False,
) -> None:
    """A dev loop for GPU apps: each save is live in milliseconds, because the models stay in memory.

    Start with: dev new search && cd search && dev serve
    """


def main() -> None:
    """Run the program."""
    _open_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a narrow locale is no reason to fail
    sys.exit(_let_go_of_stdout(execute(sys.argv[1:])))


def _open_streams() -> None:
    """Lead a stream that was closed (``dev ... >&-``) nowhere: another file or socket would get its number."""
    for name, flags in (("stdin", os.O_RDONLY), ("stdout", os.O_WRONLY), ("stderr", os.O_WRONLY)):
        if getattr(sys, name) is None:
            fd = os.open(os.devnull, flags)
            setattr(sys, name, os.fdopen(fd, "r" if flags == os.O_RDONLY else "w"))


def _let_go_of_stdout(code: int) -> int:
    """Write what waits; if that can't be done, the interpreter must not try, and complain, once more."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError) as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return code or (0 if isinstance(error, BrokenPipeError) else tell_unexpected(error))
    return code


def execute(arguments: Sequence[str]) -> int:
    """Run one command and give its exit code; whatever goes wrong is told on stderr."""
    try:
        code: Any = parser(arguments)(list(arguments), standalone_mode=False, prog_name="dev")
    except HotloopError as error:
        return _tell(error.message, error.hint, error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        return 1
    except Exception as error:  # noqa: BLE001  the outermost place: no traceback of ours reaches the user
        return tell_unexpected(error)
    return code if isinstance(code, int) else 0


def _tell(message: str, hint: str, code: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    if hint:
        print(f"hint: {hint}", file=sys.stderr)
    return code


def tell_unexpected(error: Exception) -> int:
    """Tell an exception that no code of ours expected: wrong use if the parser raised it, else a bug of ours."""
    shown = getattr(error, "format_message", None)
    if shown is not None:  # the parser's own: what was typed is wrong
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "dev"
        said = str(shown()).replace(": Value error, ", ": ")  # the validator's own words
        if said.startswith("Usage:"):  # a group without a command
            print(said, file=sys.stderr)
            return 2
        return _tell(said, f"see {command} --help", 2)
    if isinstance(error, FileNotFoundError) and not _is_somewhere():
        return _tell("the folder that this terminal is in is gone", "cd to one that is there", 1)
    if isinstance(error, OSError) and error.errno in _NOT_OURS:
        what = f"{error.filename}: " if error.filename else ""
        return _tell(f"{what}{error.strerror}", _NOT_OURS[error.errno], 1)
    log = _write_log(error)
    where = f"; its traceback is in {log}" if log is not None else ""
    return _tell(
        f"hotloop failed, which is a bug of ours: {type(error).__name__}: {error}{where}", "please report it", 1
    )


def _is_somewhere() -> bool:
    try:
        os.getcwd()  # noqa: PTH109
    except FileNotFoundError:
        return False
    return True


def _write_log(error: Exception) -> Path | None:
    from hotloop.devloop.control import state_folder

    try:
        folder = state_folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        log = folder / "client.log"
        with log.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {' '.join(sys.argv[1:])}\n")
            traceback.print_exception(error, file=file)
    except OSError:
        return None
    return log


if __name__ == "__main__":
    main()
