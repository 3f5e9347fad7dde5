"""`dev new`: a project from a template, and its environment."""

from __future__ import annotations

import difflib
import shlex
import shutil
import subprocess
import sys
import time
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated

import typer

from hotloop.errors import HotloopError, UsageError

DEFAULT_TEMPLATE = "chat"
PREPARE = "weights.py"  # a template's own step: unpacks its weights, once for all projects
_SKIPPED = {"__pycache__", "__init__.py"}


def new(
    path: Annotated[Path, typer.Argument(help="The folder to make.", show_default=False)],
    template: Annotated[str, typer.Option("--template", "-t", help="chat or embeddings.")] = DEFAULT_TEMPLATE,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Make .venv and install the packages without asking.")
    ] = False,
    no_env: Annotated[bool, typer.Option("--no-env", help="Only the files, no environment.")] = False,
    python: Annotated[str, typer.Option(help="The interpreter that .venv is made with.", show_default=False)] = "",
) -> None:
    """Make a project from a template, with a model that needs no account, no hub and no GPU."""
    from hotloop.devloop import history
    from hotloop.remote_runner import environment

    began_at_s = time.time()
    scaffold(template, path)
    history.note_first_use(path, began_at_s)
    _say(f"made {path} from the template {template}")
    declared = environment.declared_packages(path / "app.py")
    base = python or environment.some_python()
    steps = [
        environment.make_command(path, base),
        *environment.install_command(path / ".venv" / "bin" / "python", declared.packages, declared.data_packages),
    ]
    if (path / PREPARE).is_file():
        steps.append([str(path / ".venv" / "bin" / "python"), str(path / PREPARE)])
    wanted = list(declared.packages + declared.data_packages)
    is_made = not no_env and (yes or is_agreed(wanted))
    if is_made:
        build(path, steps)
    _print_next(path, [] if is_made else _as_typed(path, base))


def template_names() -> list[str]:
    """List the templates: the folders that come with hotloop and hold an app."""
    return sorted(entry.name for entry in _templates().iterdir() if entry.joinpath("app.py").is_file())


def scaffold(template: str, path: Path) -> None:
    """Copy a template to a folder that is not there yet, or empty.

    Raises:
        UsageError: There is no such template, or something would be overwritten.
    """
    names = template_names()
    if template not in names:
        msg = f"no template is called {template!r}: there are {' and '.join(names)}"
        (nearest,) = difflib.get_close_matches(template, names, n=1, cutoff=0)
        raise UsageError(msg, hint=f"dev new {path} -t {nearest}")
    if path.exists() and not path.is_dir():
        msg = f"{path} is a file: expected a new or empty folder"
        raise UsageError(msg, hint="give another path")
    if path.is_dir() and any(path.iterdir()):
        count = sum(1 for _ in path.iterdir())
        msg = f"{path} is not empty ({count} entries): expected a new or empty folder"
        raise UsageError(msg, hint="give another path; nothing was changed")
    path.mkdir(parents=True, exist_ok=True)
    _copy(_templates() / template, path)


def build(path: Path, steps: list[list[str]]) -> None:
    """Run the commands that make a project's environment, and say how it goes.

    Raises:
        HotloopError: One failed. Its whole output is in the log that the message names.
    """
    log = path / ".venv" / "install.log"
    for step in steps:
        began = time.monotonic()
        shown = _shown(step)
        _say(f"{shown} …")
        output, code = _run(step)
        if log.parent.is_dir():
            with log.open("a", encoding="utf-8") as file:
                file.write(f"$ {shlex.join(step)}\n{output}\n")
        if code:
            raise HotloopError(_failure(shown, output, code), hint=f"all of its output: {log}")
        _say(f"{shown}: done in {time.monotonic() - began:.1f} s")


def is_agreed(packages: list[str]) -> bool:
    """Ask on a terminal whether to make the environment; without one the answer is no."""
    if not sys.stdin.isatty():
        return False
    return typer.confirm(f"make .venv there and install {', '.join(packages)}?", default=True, err=True)


def _templates() -> Traversable:
    return resources.files("hotloop.templates")


def _copy(source: Traversable, target: Path) -> None:
    for entry in source.iterdir():
        if entry.name in _SKIPPED:
            continue
        if entry.is_dir():
            (target / entry.name).mkdir()
            _copy(entry, target / entry.name)
        else:
            (target / entry.name).write_bytes(entry.read_bytes())


def _run(step: list[str]) -> tuple[str, int]:
    """Run one command; on a terminal its last line is shown as it goes."""
    lines: list[str] = []
    is_shown = sys.stderr.isatty()
    try:
        process = subprocess.Popen(step, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    except OSError as error:
        return f"{step[0]}: {error.strerror}", 127
    with process:
        for line in process.stdout or ():
            lines.append(line)
            if is_shown:
                width = shutil.get_terminal_size().columns - 3
                sys.stderr.write(f"\r\033[K  {line.strip()[:width]}")
                sys.stderr.flush()
    if is_shown:
        sys.stderr.write("\r\033[K")
    return "".join(lines), process.returncode


def _failure(shown: str, output: str, code: int) -> str:
    errors = [line.strip() for line in output.splitlines() if line.strip().lower().startswith("error")]
    last = [line.strip() for line in output.splitlines() if line.strip()][-1:]
    cause = (errors or last or ["it printed nothing"])[0]
    return f"{shown} failed (exit {code}): {cause}"


def _shown(step: list[str]) -> str:
    """Name a step for people: the interpreter's path is noise."""
    return " ".join(step[step.index("-m") + 1 :] if "-m" in step else [Path(step[1]).name])


def _as_typed(path: Path, base: str) -> list[str]:
    from hotloop.remote_runner import environment

    declared = environment.declared_packages(path / "app.py")
    python = Path(".venv/bin/python")
    installs = environment.install_command(python, declared.packages, declared.data_packages)
    prepare = [[str(python), PREPARE]] if (path / PREPARE).is_file() else []
    return [shlex.join(step) for step in [environment.make_command(Path(), base), *installs, *prepare]]


def _print_next(path: Path, environment_commands: list[str]) -> None:
    for command in [f"cd {shlex.quote(str(path))}", *environment_commands, "dev serve"]:
        typer.echo(f"  {command}")
    _say('then change the line that says "change this line and save" in app.py')


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
