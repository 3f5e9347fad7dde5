"""The dashboard's own process: `python -m hotloop.tui SOCKET`, started by `dev serve` on its terminal."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from hotloop.devloop.attached import attached
from hotloop.tui import running


def main() -> int:
    """Run it. Returns an `exits.Exit`, or 1 after a crash."""
    parser = argparse.ArgumentParser(prog="python -m hotloop.tui", description="The dashboard of a running dev serve.")
    parser.add_argument("socket", type=Path, help="its control socket")
    parser.add_argument("--project", type=Path, required=True, help="the project's folder")
    parser.add_argument("--log", type=Path, help="the session's log")
    parser.add_argument("--crashes", type=Path, required=True, help="where a traceback is written")
    parser.add_argument("--attached", action="store_true", help="the session goes on when the dashboard is closed")
    given = parser.parse_args()
    # Until the terminal is raw, Ctrl-C reaches this process too; its parent ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    async def show() -> int:
        async with attached(given.socket) as feed:
            return await running.run(
                feed, project=given.project, log=given.log, crashes=given.crashes, is_attached=given.attached
            )

    return running.guarded(show(), given.crashes)


if __name__ == "__main__":
    sys.exit(main())
