"""Runs the dashboard on this process's terminal until it is closed; a crash leaves its traceback in a file."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path
    from typing import Any

    from textual.app import App

    from hotloop.tui.feed import Feed

CRASHED = 1


async def run(feed: Feed, *, project: Path, log: Path | None, crashes: Path, is_attached: bool) -> int:
    """Show a session.

    Args:
        feed: The session.
        project: The project's folder.
        log: Where the session's whole log is; None if it is not on this machine.
        crashes: The file that a traceback is added to.
        is_attached: Another process holds the session, which goes on when this dashboard is closed.

    Returns:
        An `Exit`, or 1 after a crash.
    """
    from rich.console import Console

    from hotloop.tui.app import Dashboard

    app = Dashboard(feed, project=project, log=log, is_attached=is_attached)
    crashes.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with crashes.open("a", encoding="utf-8") as file:
        # Textual prints how it crashed on the console for errors; the terminal shows plain lines by then.
        app.error_console = Console(file=file, width=120, markup=False, highlight=False)
        with _signals(app):
            try:
                await app.run_async(mouse=True)
            except Exception:  # noqa: BLE001  the outermost place of the dashboard
                _write(file.write)
                return CRASHED
        return app.return_code or 0


def guarded(work: Coroutine[Any, Any, int], crashes: Path) -> int:
    """Run a dashboard's whole life, and write down what goes wrong outside of Textual. Returns the exit code."""
    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        return 0
    except Exception:  # noqa: BLE001  the outermost place of its process
        with contextlib.suppress(OSError), crashes.open("a", encoding="utf-8") as file:
            _write(file.write)
        return CRASHED


def _write(write: Any) -> None:
    write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}\n{traceback.format_exc()}\n")


@contextlib.contextmanager
def _signals(app: App[Any]) -> Any:
    """Close the dashboard for what asks its process to end: Textual itself would leave the terminal as it is."""
    loop = asyncio.get_running_loop()
    wanted = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
    for number in wanted:
        loop.add_signal_handler(number, app.exit)
    try:
        yield
    finally:
        for number in wanted:
            loop.remove_signal_handler(number)
