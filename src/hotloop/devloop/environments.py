"""The app's environment, as the loop sees it: the project's own, or one that the runner makes and changes by itself."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from hotloop.errors import RunnerError

if TYPE_CHECKING:
    from hotloop import events
    from hotloop.devloop.options import ServeOptions
    from hotloop.remote_runner.client import AgentSession

_VERSION = re.compile(r"\d+(\.\d+){1,2}")


def is_made_by_runner(wanted: str | None, python: str | None, *, is_local: bool) -> bool:
    """Whether the runner makes the app's environment.

    Args:
        wanted: What the project's setting ``environment`` says.
        python: What ``--python`` says: a version is one for such an environment, a path is an environment of the user's.
        is_local: The runner is this machine.
    """
    if python is not None and not is_version(python):
        return False
    return wanted == "managed" or not is_local


def is_version(python: str) -> bool:
    """Whether an option names a version of Python, such as ``3.12``, and no interpreter."""
    return _VERSION.fullmatch(python) is not None


def told(options: ServeOptions) -> dict[str, Any]:
    """What the runtime's configuration says about it; the agent fills in the interpreter of one that it makes."""
    if options.python is not None:
        return {"python": str(options.python.path)}
    return {"managed": {"entry": options.app.file, "python": options.python_version}}


def described(options: ServeOptions) -> str:
    """Say which it is, for the session's first line."""
    if options.python is not None:
        return f"{options.python.version} ({options.python.source})"
    return "in an environment of the app's own"


class Environment:
    """Follows which environment one session's app has.

    Attributes:
        python: The interpreter, on the runner; empty until there is one.
    """

    def __init__(self, options: ServeOptions, agent: AgentSession) -> None:
        self._options = options
        self._agent = agent
        self._is_missing = False
        self.python = str(options.python.path) if options.python is not None else ""

    async def is_there(self) -> bool:
        """Have it made if it is the runner's to make; why it can't be made is told by an event."""
        if self._options.python is not None:
            return True
        self._is_missing = False
        try:
            made = await self._agent.command("environment", **told(self._options)["managed"])
        except RunnerError:
            self._is_missing = True
            return False
        self.python = made["python"]
        return True

    def take(self, event: events.EnvironmentReady) -> bool:
        """Note that there is another; whether it is the first, so that the app can be started."""
        self.python = event.python
        return self._is_missing
