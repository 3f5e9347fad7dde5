"""Connect to a runner, copy a project there once, end the session: what a first `dev serve` does before it serves.

python -m benchmarks.sync_once RUNNER PROJECT STATE
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from hotloop.cli.on import way_for
from hotloop.devloop.ignore import Ignore
from hotloop.devloop.index import Index
from hotloop.remote_runner.client import connect


async def main(runner: str, root: Path) -> None:
    """Do it."""
    index = Index(root, Ignore(root))
    async with connect(way_for(root, runner)) as session:
        opening = asyncio.create_task(session.open(root, "0123456789abcdef"))
        await asyncio.to_thread(index.refresh)
        await opening
        await session.sync(index)
        await session.end()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
