"""Connect to a runner, copy a project there once, end the session: what a first `dev serve` does before it serves.

python -m benchmarks.sync_once RUNNER PROJECT STATE: prints when the runner said that all is there, seconds of CLOCK_MONOTONIC.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from hotloop.cli.on import reach, way_for


async def main(runner: str, root: Path) -> None:
    """Do it: connect first, and do meanwhile what takes time here."""
    way = way_for(root, runner)
    reaching = asyncio.create_task(reach(way))
    await asyncio.sleep(0)  # the connection is being made while this imports the rest
    from hotloop.devloop.ignore import Ignore
    from hotloop.devloop.index import Index
    from hotloop.remote_runner.client import connect

    index = Index(root, Ignore(root))
    async with connect(way) as session:
        await asyncio.gather(reaching, asyncio.to_thread(index.refresh))
        await session.open(root, "0123456789abcdef")
        await session.sync(index)
        print(time.monotonic(), flush=True)
        await session.end()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
