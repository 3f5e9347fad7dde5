"""Which servers `dev bench` measures: the one that runs, another address, or a revision that is served for the time of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hotloop import config
from hotloop.cli import beside
from hotloop.devloop import checkout, control
from hotloop.errors import RunnerError, UsageError
from hotloop.frozen import frozen
from hotloop.remote_runner import environment

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack


@frozen
class Session:
    """What serves a project already.

    Attributes:
        app: As ``--app`` has it.
        python: The app's interpreter.
    """

    address: str
    app: str
    python: Path


def running(path: Path) -> Session | None:
    """Find the project's `dev serve`, or its `dev run`; None if there is neither.

    Raises:
        RunnerError: It serves nothing yet.
    """
    project, state = config.find_project(path), control.state_folder()
    for role in ("serve", "run"):
        answer = control.ask(control.control_path(state, control.project_id(project, role=role)), {"name": "status"})
        if answer is not None and answer.get("address"):
            return Session(answer["address"], answer["app"], Path(answer["python"]))
        if answer is not None:
            msg = f"dev {role} for {project} serves nothing yet"
            raise RunnerError(msg, hint="look at its terminal; it may still be starting")
    return None


def must_run(path: Path, hint: str) -> str:
    """Give the address of what serves the project.

    Raises:
        UsageError: Nothing does.
        RunnerError: It serves nothing yet.
    """
    session = running(path)
    if session is None:
        msg = f"no dev serve runs for {config.find_project(path)}"
        raise UsageError(msg, hint=hint)
    return session.address


def is_address(compared_with: str) -> bool:
    """Whether a server is meant, and no revision."""
    return "://" in compared_with


@frozen
class Revisions:
    """A project as it is now, and as one of its commits has it.

    Attributes:
        commit: The whole name.
        python: Runs both.
        app: As ``--app`` has it; empty: the only one.
        address: Where the project is served as it is now; empty if it is not.
    """

    project: Path
    revision: str
    commit: str
    python: Path
    app: str
    address: str

    @property
    def name(self) -> str:
        """As people read it."""
        short = self.commit[:10]
        return short if self.commit.startswith(self.revision) else f"{self.revision} ({short})"

    def serve(self, stack: ExitStack, say: Callable[[str], None], url: str = "") -> tuple[str, str]:
        """Give the addresses of the project as it is now, and as the commit has it; what is not served yet is, at once.

        Args:
            stack: Ends what was begun.
            say: Told what takes its time.
            url: Of the project as it is now, if that is not to be looked for.

        Raises:
            HotloopError: One of them can't be served.
        """
        begun: list[beside.Served] = []
        now = url or self.address
        if not now:
            say(f"serving {self.project} as it is now")
            begun.append(stack.enter_context(beside.served(self.project, self.python, self.app)))
        folder = stack.enter_context(checkout.checked_out(self.project, self.commit))
        say(f"serving the revision {self.name}")
        is_there = (folder / self.app.partition(":")[0]).is_file()
        begun.append(stack.enter_context(beside.served(folder, self.python, self.app if is_there else "")))
        *first, then = [each.address(say) for each in begun]
        beside.wait_until_at_rest(begun, say)
        return now or first[0], then


def find_revisions(path: Path, revision: str) -> Revisions:
    """Find a revision of a project, and what both sides are served with.

    Raises:
        UsageError: There is no such revision, or no interpreter.
    """
    project = config.find_project(path)
    commit = checkout.resolve(project, revision)
    session = running(project)
    if session is not None:
        return Revisions(project, revision, commit, session.python, session.app, session.address)
    settings = config.load(project)
    python = environment.find_python(project, settings.python).path
    return Revisions(project, revision, commit, python, settings.app or "", "")
