"""The runners that a user has names for, and the way to each. Kept in the user's own settings; a project may override."""

from __future__ import annotations

import json
import math
import os
import re
import tomllib
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hotloop.errors import UsageError
from hotloop.frozen import frozen
from hotloop.remote_runner.bootstrap.progress import Report, nobody
from hotloop.remote_runner.bootstrap.request import DEFAULT_STATE, Options
from hotloop.remote_runner.docker import target as docker_target
from hotloop.remote_runner.local import LocalWay
from hotloop.remote_runner.ssh import target as ssh_target

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hotloop.remote_runner.hosted_way import HostWay
    from hotloop.remote_runner.ssh.link import Note
    from hotloop.remote_runner.ssh.questions import Questions
    from hotloop.remote_runner.way import Way

LOCAL = "local"
STAY_S = (
    60.0  # an agent on another machine waits so long for the next session: another one takes half a second to be there
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,40}")
_PYTHON = re.compile(r"3(\.\d+){0,2}|[~/A-Za-z_][^\s'\";|&$`<>]*")  # a version goes into a shell's command line
_EXAMPLE = 'write it as: target = "user@host"'


@frozen
class Runner:
    """A machine that can run apps.

    Attributes:
        name: As the user calls it.
        target: ``local``, ``user@host``, ``ssh://user@host:port`` or ``docker://IMAGE``; empty with a Dockerfile.
        python: The interpreter of hotloop's own environment there; empty for any that is new enough.
        state: Folder for workspaces and logs there; empty for the usual.
        cache: Folder for what can be made again; empty for the usual.
        dockerfile: A container's, from the project's folder on.
        engine: The Docker engine's address; empty for the one that ``docker`` uses.
        gpus: As for ``docker run --gpus``.
        provider: Whose list prices hold there; empty if its host's name tells, or nobody's do.
        price: What an hour of it costs, US dollars; None if nothing was said.
    """

    name: str
    target: str = ""
    python: str = ""
    state: str = ""
    cache: str = ""
    dockerfile: str = ""
    engine: str = ""
    gpus: str = ""
    provider: str = ""
    price: float | None = None

    @property
    def is_local(self) -> bool:
        """Whether it is this machine."""
        return self.target == LOCAL

    @property
    def is_container(self) -> bool:
        """Whether it is a container."""
        return bool(self.dockerfile) or self.target.startswith(docker_target.SCHEME)

    def told(self) -> dict[str, str | float]:
        """What was said of it, by key."""
        return {key: value for key, value in asdict(self).items() if value not in {"", None} and key != "name"}


_KEYS = tuple(field.name for field in fields(Runner) if field.name != "name")


def from_table(name: str, table: Any, where: str) -> Runner:
    """Check what a file says of a runner.

    Args:
        name: The runner's.
        table: What was read.
        where: The file and the table, for the message.

    Raises:
        UsageError: Something of it can't be.
    """
    if not _NAME.fullmatch(name) or name == LOCAL:
        msg = f"{where}: {name!r} can't be a runner's name"
        raise UsageError(msg, hint="letters, digits, - and _ make a name; local is this machine")
    if not isinstance(table, dict):
        msg = f"{where} is {table!r}, a table was expected"
        raise UsageError(msg, hint=_EXAMPLE)
    values = cast("dict[str, Any]", table)
    for key, value in values.items():
        if key not in _KEYS:
            msg = f"{where}.{key} is not a setting"
            raise UsageError(msg, hint=f"the settings are: {', '.join(_KEYS)}")
        if key == "price":
            _check_price(value, f"{where}.price")
        elif not isinstance(value, str):
            msg = f"{where}.{key} is {value!r}, a string was expected"
            raise UsageError(msg, hint=f'write it as {key} = "..."')
    runner = Runner(name, **values)
    check(runner)
    return runner


def _check_price(price: Any, where: str) -> None:
    if isinstance(price, bool) or not isinstance(price, int | float) or not 0 <= price < math.inf:
        msg = f"{where} is {price!r}, US dollars an hour were expected"
        raise UsageError(msg, hint="write it as price = 2.69")


def check(runner: Runner) -> None:
    """Refuse a runner that can't be.

    Raises:
        UsageError: Says why.
    """
    if bool(runner.target) == bool(runner.dockerfile):
        msg = f"runner {runner.name!r} needs a target or a dockerfile"
        raise UsageError(msg, hint=_EXAMPLE)
    if runner.python and not _PYTHON.fullmatch(runner.python):
        msg = f"runner {runner.name!r}: python is {runner.python!r}, a version or an interpreter was expected"
        raise UsageError(msg, hint='write it as python = "3.12", or as a path: python = "/usr/bin/python3.12"')
    if runner.target.startswith(docker_target.SCHEME):
        docker_target.parse(runner.target, host=runner.engine)
    elif runner.target and not runner.is_local:
        ssh_target.parse(runner.target)


# --- the user's own file ----------------------------------------------------------------------------------------------


def user_file() -> Path:
    """Where the user's runners are kept."""
    home = os.environ.get("XDG_CONFIG_HOME")
    return (Path(home) if home else Path.home() / ".config") / "hotloop" / "config.toml"


def load() -> dict[str, Runner]:
    """Read the user's runners, by name.

    Raises:
        UsageError: The file can't be read, or holds what is not known.
    """
    file = user_file()
    if not file.exists():
        return {}
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        msg = f"{file} can't be read: {error}"
        raise UsageError(msg, hint="correct that line of the file") from error
    unknown = data.keys() - {"runners"}
    if unknown:
        msg = f"{file}: {min(unknown)!r} is not a setting"
        raise UsageError(msg, hint="write a runner as a table: [runners.gpu1]")
    return from_tables(data.get("runners", {}), f"{file}: runners")


def from_tables(tables: Any, where: str) -> dict[str, Runner]:
    """Check a table of runners. Raises as `from_table`."""
    if not isinstance(tables, dict):
        msg = f"{where} is {tables!r}, a table a runner was expected"
        raise UsageError(msg, hint="write a runner as a table: [runners.gpu1]")
    named = cast("dict[str, Any]", tables)
    return {name: from_table(name, table, f"{where}.{name}") for name, table in named.items()}


def save(runners: Mapping[str, Runner]) -> None:
    """Write the user's runners; the file is whole at any time."""
    file = user_file()
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lines: list[str] = []
    for name, runner in sorted(runners.items()):
        lines += [f"[runners.{name}]", *(f"{key} = {json.dumps(value)}" for key, value in runner.told().items()), ""]
    fresh = file.with_suffix(".new")
    fresh.write_text("\n".join(lines), encoding="utf-8")
    fresh.replace(file)


# --- choosing ---------------------------------------------------------------------------------------------------------


def find(text: str, of_project: Mapping[str, Runner]) -> Runner:
    """Find what was meant: a name, the project's before the user's, or a target.

    Raises:
        UsageError: It is neither.
    """
    if text == LOCAL:
        return Runner(LOCAL, LOCAL)
    known = {**load(), **of_project}
    if text in known:
        return known[text]
    runner = Runner(text, text)
    try:
        check(runner)
    except UsageError as error:
        names = ", ".join([LOCAL, *sorted(known)])
        msg = f"{text!r} is neither a runner's name nor a host"
        raise UsageError(msg, hint=f"the names are: {names}; {error.hint}") from error
    return runner


def way_to(
    runner: Runner,
    *,
    state: Path,
    project: Path | None = None,
    report: Report = nobody,
    questions: Questions | None = None,
    is_starting: bool = True,
    is_renewing: bool = True,
) -> Way:
    """Make the way to a runner's agent; dialing connects.

    Args:
        runner: Which one.
        state: hotloop's folder on this machine.
        project: Whose container it is.
        report: Is told what is being done.
        questions: Whoever may accept a host's key or know a passphrase; None for nobody.
        is_starting: Start an agent if none runs; else dialing raises `NoAgentError`.
        is_renewing: Replace a container whose image changed; else one that runs is taken as it is.
    """
    if runner.is_local:
        return LocalWay(state, is_starting=is_starting)
    return hosted_way(
        runner, project=project, report=report, questions=questions, is_starting=is_starting, is_renewing=is_renewing
    )


def hosted_way(
    runner: Runner,
    *,
    project: Path | None = None,
    report: Report = nobody,
    questions: Questions | None = None,
    is_starting: bool = True,
    is_renewing: bool = True,
    note: Note | None = None,
) -> HostWay:
    """As `way_to`, for a runner that is not this machine; `note` is told of each step of an SSH connection."""
    if runner.is_container:
        from hotloop.remote_runner.docker.way import docker_way

        return docker_way(
            container_of(runner, project),
            name=runner.name,
            project=project,
            report=report,
            is_starting=is_starting,
            is_renewing=is_renewing,
        )
    from hotloop.remote_runner.ssh.link import not_noted
    from hotloop.remote_runner.ssh.way import ssh_way

    options = Options(
        python=runner.python,
        state=runner.state or DEFAULT_STATE,
        cache=runner.cache,
        agent_arguments=("--stay-s", f"{STAY_S:.0f}"),
        is_starting=is_starting,
    )
    return ssh_way(
        ssh_target.parse(runner.target),
        name=runner.name,
        options=options,
        questions=questions,
        report=report,
        note=note or not_noted,
    )


def container_of(runner: Runner, project: Path | None) -> docker_target.DockerTarget:
    """Say which container a runner is."""
    if runner.target:
        found = docker_target.parse(runner.target, host=runner.engine)
        return docker_target.DockerTarget(
            found.image, None, found.name, runner.gpus or found.gpus, found.host, runner.python or found.python
        )
    dockerfile = (project or Path()) / runner.dockerfile
    return docker_target.DockerTarget(dockerfile=dockerfile, gpus=runner.gpus, host=runner.engine, python=runner.python)
