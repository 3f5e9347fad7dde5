"""How `dev serve` and `dev run` begin: the runner is being reached while all that serves is imported and the project is read."""

from __future__ import annotations

import asyncio
import threading
from importlib import import_module
from typing import TYPE_CHECKING

from hotloop import config
from hotloop.cli.on import reach, way_for
from hotloop.frozen import frozen

if TYPE_CHECKING:
    from pathlib import Path

    from hotloop.cli.serving import Served
    from hotloop.cli.ui import Ui


@frozen
class Choice:
    """What was typed. None: not said, so the project's settings or the default hold."""

    path: Path
    app: str | None
    python: str | None
    host: str | None
    port: int | None
    is_json: bool
    is_watching: bool = True
    is_once: bool = False
    grpc_port: int | None = None
    bench: str = ""
    bench_data: str = ""
    bench_duration_s: float = 2.0
    test: str | None = None
    replicas: int | None = None
    on: str | None = None
    is_port_strict: bool = False
    is_taking: bool = False
    is_detaching: bool = False
    ui: Ui | None = None
    budget: float | None = None


def serve(choice: Choice) -> int:
    """Serve until stopped. Returns the exit code.

    Raises:
        HotloopError: It can't be served.
    """
    project = config.find_project(choice.path)
    served = asyncio.run(_serve(choice, project))
    if served.moment is not None:
        from hotloop.cli.pulse import ask_on_quit

        ask_on_quit(project, served.moment)
    return served.code


async def _serve(choice: Choice, project: Path) -> Served:
    is_checked = threading.Event()
    way = way_for(project, choice.on, before_asking=is_checked.wait)
    reaching = asyncio.create_task(reach(way), name="reach the runner")
    await asyncio.sleep(0)  # what connecting needs is imported before all else
    try:
        serving = await asyncio.to_thread(import_module, "hotloop.cli.serving")
        return await serving.serve(choice, way, reaching, is_checked.set)
    finally:
        reaching.cancel()
        await asyncio.gather(reaching, return_exceptions=True)
        await way.close()
