"""A client of the soak: the real loop over a line, and each event it is told as a JSON line with its number.

Usage: client.py PROJECT STATE PYTHON. Lines on stdin break the network: ``cut``, ``dark SECONDS``, ``freeze SECONDS``.
"""

import asyncio
import json
import sys
import time
from pathlib import Path

from hotloop import config
from hotloop.devloop import control
from hotloop.devloop.engine import Engine, ServeOptions
from hotloop.devloop.ignore import Ignore
from hotloop.devloop.index import Index
from hotloop.events import to_json
from hotloop.remote_runner import environment
from hotloop.remote_runner.client import connect
from tests.remote_runner.line import Line


def tell(**what):
    print(json.dumps(what), flush=True)


def numbered(session):
    """Have a session tell the number of each event before it gives it."""
    events = session.events

    async def tell_and_give():
        async for number, event in events():
            if number:
                tell(number=number, **to_json(event))
            yield number, event

    session.events = tell_and_give


async def break_as_told(line, reader):
    while command := (await reader.readline()).decode().split():
        match command:
            case ["cut"]:
                line.cut()
            case ["dark", seconds]:
                line.darken()
                await asyncio.sleep(float(seconds))
                line.mend()
            case ["freeze", seconds]:
                line.freeze()
                await asyncio.sleep(float(seconds))
                line.thaw()


async def main(project, state, python):
    options = ServeOptions(
        project=project, app=config.locate_app(project, None), python=environment.find_python(project, python),
        host="127.0.0.1", port=0, port_is_fixed=False, session_id=control.project_id(project),
    )  # fmt: skip
    ignore = Ignore(project)
    index = Index(project, ignore)
    index.load(project / ".hotloop" / "index.json")
    line = Line(state, delay_s=0.01)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with connect(line) as session:
        numbered(session)
        engine = Engine(
            options, session, index, ignore, [lambda event: tell(at_s=time.monotonic(), loop=to_json(event))]
        )
        breaking = asyncio.create_task(break_as_told(line, reader))
        breaking.add_done_callback(lambda _: engine.stop("told to end", 0))
        return await engine.run()


if __name__ == "__main__":
    sys.exit(asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])))
