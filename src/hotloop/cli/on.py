"""The option that says which runner a command is about, and the way there."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from hotloop.remote_runner.bootstrap.progress import Progress
    from hotloop.remote_runner.runners import Runner
    from hotloop.remote_runner.way import Way

On = Annotated[
    str | None,
    typer.Option(
        "--on",
        metavar="RUNNER",
        help="Where to run: a runner's name, user@host, ssh://user@host:port, docker://IMAGE; else the project's, or here.",
    ),
]


def runner_for(project: Path, on: str | None) -> Runner:
    """Choose where to serve: what was typed, else what the project says, else this machine.

    Raises:
        UsageError: There is no such runner.
    """
    from hotloop import config
    from hotloop.remote_runner import runners

    settings = config.load(project)
    of_project = runners.from_tables(settings.runners or {}, "pyproject.toml: tool.hotloop.runners")
    return runners.find(on or settings.runner or runners.LOCAL, of_project)


def runner_beside(project: Path, on: str | None) -> Runner:
    """Choose where a project is served: as `runner_for`, but where it was served last before this machine.

    Raises:
        UsageError: There is no such runner.
    """
    from hotloop import config
    from hotloop.errors import HotloopError

    last = ""
    if not on and not config.load(project).runner:
        with contextlib.suppress(HotloopError):  # a history that can't be read is no reason not to look here
            last = _last_runner(project)
    return runner_for(project, on or last or None)


def _last_runner(project: Path) -> str:
    from hotloop.devloop import history

    with history.reading(project) as found:
        return found.last_runner() if found is not None else ""


def way_to(
    runner: Runner,
    project: Path | None,
    *,
    is_starting: bool = True,
    is_renewing: bool = True,
    before_asking: Callable[[], object] = lambda: None,
) -> Way:
    """Make the way to a runner, which says what it does at the terminal and asks there, as `Terminal` does.

    Raises:
        UsageError: The runner's settings can't be.
    """
    from hotloop.cli.asking import Terminal
    from hotloop.devloop import control
    from hotloop.remote_runner import runners

    return runners.way_to(
        runner,
        state=control.state_folder(),
        project=project,
        report=_Shown(),
        questions=Terminal(before_asking),
        is_starting=is_starting,
        is_renewing=is_renewing,
    )


def way_to_onlook(project: Path, on: str | None) -> Way:
    """Choose a runner to look at; no agent is started for that. Raises as `runner_beside`."""
    return way_to(runner_beside(project, on), project, is_starting=False)


@contextlib.asynccontextmanager
async def onlooking(project: Path, on: str | None) -> AsyncGenerator[Way]:
    """Give the way of `way_to_onlook`, and close it behind the block. Raises as `runner_beside`."""
    way = way_to_onlook(project, on)
    try:
        yield way
    finally:
        await way.close()


def way_beside(project: Path, on: str | None) -> Way:
    """Choose a runner for a command beside the app, whose session may run: what is there is taken as it is."""
    return way_to(runner_beside(project, on), project, is_renewing=False)


async def reach(way: Way) -> None:
    """Connect to a runner while nobody else reads the terminal: what must be asked is asked now.

    Raises:
        RunnerError: It can't be reached; says why and what to do.
    """
    from hotloop.remote_runner.hosted_way import HostWay

    if isinstance(way, HostWay):
        await way.reach()


def way_for(project: Path, on: str | None, *, before_asking: Callable[[], object] = lambda: None) -> Way:
    """Choose a runner and make the way there. Raises as `runner_for`."""
    return way_to(runner_for(project, on), project, before_asking=before_asking)


class _Shown:
    """Says on stderr what takes long on the way; nothing of what is quick."""

    def __init__(self) -> None:
        self._said = ""

    def __call__(self, progress: Progress) -> None:
        from hotloop.devloop import words
        from hotloop.remote_runner.bootstrap.progress import Phase

        if not progress.text and (progress.phase is not Phase.STARTING or not self._said):
            return
        text = progress.text or "starting hotloop's agent"
        if text == self._said:  # one line a step, not one a percent
            return
        self._said = text
        size = f" ({words.size(progress.total_bytes)})" if progress.total_bytes else ""
        print(f"hotloop: {progress.runner}: {text}{size}", file=sys.stderr, flush=True)
