"""Pinned requests: a session's on the runner, and between sessions in the project's own folder."""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING, Any, cast

from hotloop import events
from hotloop.errors import HotloopError, RunnerError

if TYPE_CHECKING:
    from pathlib import Path

    from hotloop.devloop.folder import Folder
    from hotloop.remote_runner.client import AgentSession

FILE_NAME = "pins.json"
PIN_TIMEOUT_S = 5.0


class Pins:
    """Those of one session."""

    def __init__(self, agent: AgentSession, folder: Folder) -> None:
        self._agent = agent
        self._folder = folder
        self._answer: asyncio.Future[events.Pinned | events.Notice] | None = None

    async def pinned(self) -> list[dict[str, Any]]:
        """Give the pinned requests."""
        return (await self._agent.command("status"))["pins"]

    async def pin(self, name: str = "") -> str:
        """Make the last request a probe, and run it once so that the next reload has an output to compare with.

        Returns:
            The name that it has as a probe.

        Raises:
            RunnerError: There was no request yet.
            TimeoutError: The runner does not say.
        """
        self._answer = asyncio.get_running_loop().create_future()
        await self._agent.command("pin", last=True, name=name)
        async with asyncio.timeout(PIN_TIMEOUT_S):
            answer = await self._answer
        if isinstance(answer, events.Notice):
            raise RunnerError(answer.text, hint=answer.hint)
        await self._agent.command("probe")
        return answer.name

    def answer(self, answer: events.Pinned | events.Notice) -> bool:
        """Tell whoever waits for it; gives whether somebody did."""
        if self._answer is None or self._answer.done():
            return False
        self._answer.set_result(answer)
        return True

    async def restore(self) -> None:
        """Pin what earlier sessions did, where it is not known."""
        wanted = self._folder.pinned()
        known = {request["name"] for request in await self.pinned()} if wanted else set[str]()
        for request in wanted:
            if request["name"] not in known:
                await self._agent.command("pin", request=request)

    async def keep(self) -> None:
        """Keep what is pinned for the next session."""
        self._folder.keep_pins(await self.pinned())


def load(folder: Path) -> list[dict[str, Any]]:
    """Read the pinned requests; none if there is no file.

    Raises:
        HotloopError: The file can't be read, or holds something else.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return []
    try:
        return _checked(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        msg = f"the pinned requests in {path} can't be read: {error}"
        raise HotloopError(msg, hint="move the file away and pin them again") from error


def _checked(data: Any) -> list[dict[str, Any]]:
    requests: list[Any] = cast("list[Any]", data) if isinstance(data, list) else [None]
    if not all(isinstance(item, dict) and "name" in item for item in requests):
        msg = "a list of requests was expected"
        raise ValueError(msg)
    return requests


def save(folder: Path, requests: list[dict[str, Any]]) -> None:
    """Keep the pinned requests; only this user can read them, since a request's headers may hold a key.

    Raises:
        OSError: The folder can't be written.
    """
    fresh = folder / f"{FILE_NAME}.new"
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(requests, file, indent=1)
    fresh.replace(folder / FILE_NAME)
