"""What a project says about itself: `[tool.hotloop]` in pyproject.toml, and where its app is. Runs no user code."""

from __future__ import annotations

import ast
import math
import os
import re
import tomllib
from pathlib import Path
from typing import Any, cast

from hotloop.errors import UsageError
from hotloop.frozen import frozen

DEFAULT_PORT = 8000
MAX_SCANNED_FILES = 2000
ENVIRONMENTS = ("project", "managed")
UIS = ("auto", "tui", "plain", "json", "web")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/?#@A-Z]+")  # as browsers send it: lower case, no slash behind
_OF_A_MACHINE = frozenset({"PATH", "HOME"})

_EXAMPLE = 'write one, such as:  app = hotloop.App("search")  or make a project with: dev new PATH'


@frozen
class AppLocation:
    """Where an app is made.

    Attributes:
        file: Relative to the project.
        name: The variable; empty to take the only one in the file.
        line: Counted from 1; 0 if the file was named by the user and not scanned.
    """

    file: str
    name: str
    line: int = 0

    @property
    def option(self) -> str:
        """What to type after ``--app``."""
        return f"{self.file}:{self.name}" if self.name else self.file


@frozen
class Settings:
    """`[tool.hotloop]`, checked. None means: not said.

    Attributes:
        app: ``FILE`` or ``FILE:NAME``.
        python: Interpreter, environment's folder or command.
        grpc_port: Where to serve gRPC; it is not served otherwise.
        runner: Where to run: a runner's name or a host; ``local`` is this machine.
        runners: What the project says of runners, by name: as in the user's own settings, which it overrides.
        replicas: How many workers serve at a time.
        cors_origins: Of the pages whose scripts may read answers, such as ``http://localhost:3000``; ``*`` for all.
        idle_timeout_s: How long a session goes on without a client; then its models are freed.
        environment: Who makes the app's environment: ``project`` (you, as ``.venv``) or ``managed`` (hotloop, by uv).
        key_weights: A TOML file, from the project's folder on: how much of the machine each API key is due.
        test: A command that `dev serve` runs after each reload that went well, such as ``pytest -q tests``.
        pass_env: Names of variables that the app gets from this machine wherever it runs. On this one it gets all.
        ui: What `dev serve` shows a session with, one of `UIS`.
        theme: The dashboard's: night, paper, ansi or colorblind.
        ascii: Whether the dashboard draws with ASCII alone; None for what the terminal's locale says.
        keys: The dashboard's keys by action, where they are not the usual ones.
        price_per_hour: What the runner costs, US dollars, unless its own settings say so.
        budget: What a session may cost, US dollars.
        budget_stops: Whether a session that cost as much is ended.
    """

    app: str | None = None
    python: str | None = None
    host: str | None = None
    port: int | None = None
    grpc_port: int | None = None
    runner: str | None = None
    runners: dict[str, Any] | None = None
    replicas: int | None = None
    environment: str | None = None
    key_weights: str | None = None
    cors_origins: list[str] | None = None
    idle_timeout_s: int | None = None
    test: str | None = None
    pass_env: list[str] | None = None
    ui: str | None = None
    theme: str | None = None
    ascii: bool | None = None
    keys: dict[str, str] | None = None
    price_per_hour: float | None = None
    budget: float | None = None
    budget_stops: bool | None = None


_TYPES: dict[str, type] = {
    "app": str, "python": str, "host": str, "port": int, "grpc_port": int, "runner": str, "runners": dict,
    "environment": str, "replicas": int, "key_weights": str, "cors_origins": list, "idle_timeout_s": int,
    "test": str, "pass_env": list, "ui": str, "theme": str, "ascii": bool, "keys": dict, "price_per_hour": float,
    "budget": float, "budget_stops": bool,
}  # fmt: skip
_CHOICES = {"environment": ENVIRONMENTS, "ui": UIS}
_TYPE_NAMES = {
    str: "a string", int: "a whole number", dict: "a table", list: "a list", float: "a number", bool: "true or false",
}  # fmt: skip


def passed_variables(settings: Settings) -> dict[str, str]:
    """Take from this process what `Settings.pass_env` names and is set. Values are secrets: keep them in memory alone."""
    return {name: os.environ[name] for name in settings.pass_env or () if name in os.environ}


def find_project(path: Path) -> Path:
    """Make the project's path absolute.

    Raises:
        UsageError: It is no folder.
    """
    try:
        project = path.expanduser().resolve()
    except FileNotFoundError:
        msg = f"{path} can't be found: the folder that this terminal is in is gone"
        raise UsageError(msg, hint="cd to one that is there") from None
    except (RuntimeError, OSError) as error:  # a user that is not there, a link to itself
        msg = f"{path} can't be found: {error}"
        raise UsageError(msg, hint="give the project's folder: dev serve PATH") from error
    if project.is_file():
        msg = f"{path} is a file, a project's folder was expected"
        raise UsageError(msg, hint=f"dev serve {path.parent} --app {path.name}")
    if not project.is_dir():
        msg = f"{path} is not there, a project's folder was expected"
        raise UsageError(msg, hint=f"make one with: dev new {path}")
    if not is_utf8(project):
        msg = f"{project} is a path that is not UTF-8, and what hotloop writes and sends is"
        raise UsageError(msg, hint="rename the folder")
    return project


def is_utf8(path: Path | str) -> bool:
    """Whether a path can be written as text; Linux allows any bytes in it."""
    try:
        os.fspath(path).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def load(project: Path) -> Settings:
    """Read the project's settings.

    Raises:
        UsageError: The file can't be read, or holds what is not known; names file and key.
    """
    file = project / "pyproject.toml"
    if not file.exists():
        return Settings()
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        msg = f"pyproject.toml can't be read: {error.strerror}"
        raise UsageError(msg, hint="look at its owner and permissions") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        msg = f"pyproject.toml can't be read: {error}"
        raise UsageError(msg, hint="correct that line of the file") from error
    tools: Any = data.get("tool")
    return check(cast("dict[str, Any]", tools).get("hotloop", {})) if isinstance(tools, dict) else Settings()


def check(table: Any) -> Settings:
    """Check the table's keys and values.

    Raises:
        UsageError: One of them is wrong.
    """
    if not isinstance(table, dict):
        msg = f"pyproject.toml: tool.hotloop is {table!r}, a table was expected"
        raise UsageError(msg, hint='write it as a table: [tool.hotloop], then a line such as: app = "app.py"')
    values = cast("dict[str, Any]", table)
    for key, value in values.items():
        _check_one(key, value)
    return Settings(**values)


def _check_one(key: str, value: Any) -> None:
    wanted = _TYPES.get(key)
    if wanted is None:
        msg = f"pyproject.toml: tool.hotloop.{key} is not a setting"
        raise UsageError(msg, hint=f"the settings are: {', '.join(_TYPES)}")
    if type(value) is not wanted and not (wanted is float and type(value) is int):
        msg = f"pyproject.toml: tool.hotloop.{key} is {value!r}, {_TYPE_NAMES[wanted]} was expected"
        raise UsageError(msg, hint=f"write it as {_example_of(key)}")
    if key in {"port", "grpc_port"}:
        check_port(value, f"pyproject.toml: tool.hotloop.{key}", f"write it as {_example_of(key)}")
    if key == "idle_timeout_s" and value < 1:
        msg = f"pyproject.toml: tool.hotloop.idle_timeout_s is {value}, a number of seconds above 0 was expected"
        raise UsageError(msg, hint=f"write it as {_example_of(key)}")
    if value not in _CHOICES.get(key, (value,)):
        msg = f"pyproject.toml: tool.hotloop.{key} is {value!r}, one of {', '.join(_CHOICES[key])} was expected"
        raise UsageError(msg, hint=f"write it as {_example_of(key)}, or leave it out")
    if key == "pass_env":
        _check_names(cast("list[Any]", value))
    if key == "cors_origins":
        _check_origins(cast("list[Any]", value))
    if key == "keys":
        check_keys(cast("dict[str, Any]", value), "pyproject.toml: tool.hotloop.keys")
    if wanted is float:
        _check_amount(key, float(value))


def _check_amount(key: str, amount: float) -> None:
    least = math.ulp(0) if key == "budget" else 0.0
    if not least <= amount < math.inf:
        msg = f"pyproject.toml: tool.hotloop.{key} is {amount:g}, US dollars were expected"
        raise UsageError(msg, hint=f"write it as {_example_of(key)}")


def check_keys(keys: dict[str, Any], where: str) -> None:
    """Refuse a map of keys whose values are not keys' names; which actions there are, the dashboard knows.

    Raises:
        UsageError: One is something else.
    """
    for name, value in keys.items():
        if not isinstance(value, str):
            msg = f"{where}.{name} is {value!r}, a string was expected"
            raise UsageError(
                msg, hint=f'write it as {name} = "x"; an action\'s name with a dot is quoted: "log.filter"'
            )


def _check_names(names: list[Any]) -> None:
    """Refuse what names no variable, without repeating it: it may be a value that someone wrote there by mistake."""
    for number, name in enumerate(names, 1):
        if not isinstance(name, str) or not _VARIABLE.fullmatch(name):
            msg = f"pyproject.toml: item {number} of tool.hotloop.pass_env is no variable's name"
            raise UsageError(
                msg, hint=f"write names alone, values are taken from your shell: {_example_of('pass_env')}"
            )
        if name in _OF_A_MACHINE:
            msg = f"pyproject.toml: tool.hotloop.pass_env names {name}, which is about this machine alone"
            raise UsageError(msg, hint="set it in the profile of the login there")


def _check_origins(origins: list[Any]) -> None:
    for number, origin in enumerate(origins, 1):
        if origin != "*" and not (isinstance(origin, str) and _ORIGIN.fullmatch(origin)):
            msg = (
                f"pyproject.toml: item {number} of tool.hotloop.cors_origins is {origin!r}, a page's scheme, host and port "
                "were expected"
            )
            raise UsageError(msg, hint=f'write it as {_example_of("cors_origins")}, or ["*"] for the pages of all')


def check_port(port: int, what: str, hint: str) -> None:
    """Refuse a number that is no port.

    Raises:
        UsageError: It is below 0 or above 65535.
    """
    if not 0 <= port <= 65535:
        msg = f"{what} is {port}, a port from 0 (any free one) to 65535 was expected"
        raise UsageError(msg, hint=hint)


def _example_of(key: str) -> str:
    values = {
        "app": '"app.py"', "python": '".venv/bin/python"', "host": '"127.0.0.1"', "port": "8000", "grpc_port": "9000",
        "runner": '"gpu1"', "runners": '{ gpu1 = { target = "user@host" } }', "environment": '"managed"',
        "replicas": "2", "key_weights": '"../keys.toml"', "cors_origins": '["http://localhost:3000"]', "idle_timeout_s": "1800",
        "test": '"pytest -q tests"', "pass_env": '["HF_TOKEN"]', "ui": '"plain"', "theme": '"night"', "ascii": "true",
        "keys": '{ restart = "ctrl+r" }', "price_per_hour": "2.69", "budget": "5.0", "budget_stops": "true",
    }  # fmt: skip
    return f"{key} = {values[key]}"


def read_key_weights(project: Path, name: str | None) -> dict[str, float]:
    """Read how much of the machine API keys are due, beside 1 for every other.

    Args:
        project: What ``name`` is relative to.
        name: The file's; None gives no weights.

    Raises:
        UsageError: It can't be read, or a weight is no number above 0. The text holds no key.
    """
    if name is None:
        return {}
    hint = 'write a line a key: "the-key" = 4'
    try:
        weights: dict[str, Any] = tomllib.loads((project / name).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        msg = f"{name} can't be read: {why} (pyproject.toml: tool.hotloop.key_weights)"
        raise UsageError(msg, hint=hint) from error
    for number, weight in enumerate(weights.values(), 1):
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < float("inf"):
            msg = f"{name}: the weight of key {number} is {weight!r}, a number above 0 was expected"
            raise UsageError(msg, hint=hint)
    return {key: float(weight) for key, weight in weights.items()}


def locate_app(project: Path, wanted: str | None) -> AppLocation:
    """Find the app: as it was named, else the only one in the project's own files.

    Raises:
        UsageError: There is none, or more than one.
    """
    return _named(project, wanted) if wanted else _only(project, find_apps(project))


def _named(project: Path, wanted: str) -> AppLocation:
    file, _, name = wanted.partition(":")
    path = (project / file).resolve()
    if not path.is_file():
        msg = f"--app {wanted}: there is no file {file} in {project}"
        raise UsageError(msg, hint=_suggestion(project))
    if path.suffix != ".py":
        msg = f"--app {wanted}: {file} is no Python file"
        convert = (
            f"jupyter nbconvert --to script {file}" if path.suffix == ".ipynb" else "give one whose name ends in .py"
        )
        raise UsageError(msg, hint=convert)
    if not path.is_relative_to(project):
        msg = f"--app {wanted}: {path} is outside of the project {project}"
        raise UsageError(msg, hint="give the project's folder: dev serve PATH --app FILE")
    if name and not name.isidentifier():
        msg = f"--app {wanted}: {name!r} can't be a variable's name"
        raise UsageError(msg, hint=f"write FILE:NAME, such as {file}:app")
    return AppLocation(path.relative_to(project).as_posix(), name)


def _suggestion(project: Path) -> str:
    apps = find_apps(project) or _deeper_apps(project)
    return f"there is --app {apps[0].option}" if apps else _EXAMPLE


def _only(project: Path, apps: list[AppLocation]) -> AppLocation:
    if not apps:
        msg = f"no app in {project}: no hotloop.App(...) in *.py or src/**/*.py"
        raise UsageError(msg, hint=_suggestion(project))
    if len(apps) > 1:
        places = ", ".join(f"{app.file}:{app.line} ({app.name})" for app in apps)
        msg = f"{len(apps)} apps in {project}: {places}"
        raise UsageError(msg, hint=f"choose one, such as: --app {apps[0].option}")
    return apps[0]


def find_apps(project: Path) -> list[AppLocation]:
    """Find each ``NAME = hotloop.App(...)`` in the project's own files, without running them."""
    return _apps_of(project, sorted(project.glob("*.py")) + sorted((project / "src").rglob("*.py")))


def _deeper_apps(project: Path) -> list[AppLocation]:
    """Find apps that only an option can mean, to name one: what lies in other folders may be anybody's."""
    files: list[Path] = []
    for folder, names, inside in os.walk(project):
        names[:] = sorted(n for n in names if not n.startswith((".", "__")) and not _is_of_packages(Path(folder, n)))
        files += [Path(folder, name) for name in sorted(inside) if name.endswith(".py")]
        if len(files) > MAX_SCANNED_FILES:
            break
    return _apps_of(project, files)


def _is_of_packages(folder: Path) -> bool:
    return folder.name in {"site-packages", "node_modules"} or (folder / "pyvenv.cfg").exists()


def _apps_of(project: Path, files: list[Path]) -> list[AppLocation]:
    found = (_apps_in(file, file.relative_to(project).as_posix()) for file in files[:MAX_SCANNED_FILES])
    return [app for apps in found for app in apps]


def _apps_in(file: Path, shown: str) -> list[AppLocation]:
    if not file.is_file():  # to read a pipe would wait for whoever writes to it
        return []
    try:
        text = file.read_bytes()
        tree = ast.parse(text) if b"hotloop" in text else ast.Module([], [])
    except (OSError, SyntaxError, ValueError):
        return _apps_in_broken(file, shown)
    makers = _names_of_app(tree)
    apps: list[AppLocation] = []
    for node in tree.body:
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        if isinstance(value, ast.Call) and ast.unparse(value.func) in makers:
            targets = node.targets if isinstance(node, ast.Assign) else [cast("ast.AnnAssign", node).target]
            apps += [AppLocation(shown, t.id, node.lineno) for t in targets if isinstance(t, ast.Name)]
    return apps


def _apps_in_broken(file: Path, shown: str) -> list[AppLocation]:
    """A file with a syntax error may still be the app: the runtime then shows the error, with its line."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    for number, line in enumerate(lines, 1):
        name, equals, value = line.partition("=")
        is_call = value.strip().startswith(("hotloop.App(", "App("))
        if equals and is_call and name.strip().isidentifier():
            return [AppLocation(shown, name.strip(), number)]
    return []


def _names_of_app(tree: ast.Module) -> set[str]:
    """The expressions that mean `hotloop.App` in a module."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {f"{a.asname or a.name}.App" for a in node.names if a.name == "hotloop"}
        elif isinstance(node, ast.ImportFrom) and node.module == "hotloop":
            names |= {a.asname or a.name for a in node.names if a.name == "App"}
    return names
