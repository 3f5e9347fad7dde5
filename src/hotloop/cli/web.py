"""The dashboard in a browser, served by a process of its own beside `dev serve`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from typing import TYPE_CHECKING

from hotloop.errors import HotloopError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

START_TIMEOUT_S = 15.0
END_TIMEOUT_S = 2.0


def tab_command(project: Path, on: str | None) -> list[str]:
    """Give the command that each tab runs: a `dev attach` of its own."""
    command = [sys.executable, "-P", "-m", "hotloop.cli.main", "attach", os.fspath(project), "--ui", "tui"]
    return [*command, "--on", on] if on is not None else command


class WebServer:
    """Serves the dashboard until it is closed, or this process ends."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None

    async def open(self, tab: Sequence[str], title: str) -> str:
        """Start to serve. Gives the address to open, which holds a secret.

        Raises:
            HotloopError: It can't be served.
        """
        command = [sys.executable, "-P", "-m", "hotloop.tui.web", title, *tab]
        pipe = asyncio.subprocess.PIPE  # its stdin ends with this process, and so does it
        process = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL, start_new_session=True
        )
        self._process = process
        line = b""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_TIMEOUT_S):
                line = await process.stdout.readline() if process.stdout is not None else b""
        if not line:
            await self.close()
            msg = f"the dashboard can't be served in a browser (exit {process.returncode})"
            raise HotloopError(msg, hint="see why with: dev attach --ui web")
        return line.decode().strip()

    async def close(self) -> None:
        """End it, and the dashboards of its tabs with it."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), END_TIMEOUT_S)
        except TimeoutError:
            process.kill()
            await process.wait()
