"""A client of the soak: the real loop over a line, and each event it is told as a JSON line with its number.

Usage: client.py PROJECT STATE PYTHON WAY. WAY is MODULE:FUNCTION, which makes of STATE a way that can break as a `Line` can. Lines on stdin break the network: ``cut``, ``dark SECONDS``, ``freeze SECONDS``.
"""

import asyncio
import importlib
import json
import os
import sys
import time
from pathlib import Path

from hotloop import config
from hotloop.devloop import control
from hotloop.devloop.engine import Engine
from hotloop.devloop.forward import forward_for
from hotloop.devloop.ignore import Ignore
from hotloop.devloop.index import Index
from hotloop.devloop.options import ServeOptions
from hotloop.errors import RunnerError
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


async def break_as_told(way, reader):
    while command := (await reader.readline()).decode().split():
        match command:
            case ["cut"]:
                way.cut()
            case ["dark", seconds]:
                way.darken()
                await asyncio.sleep(float(seconds))
                way.mend()
            case ["freeze", seconds]:
                way.freeze()
                await asyncio.sleep(float(seconds))
                way.thaw()


def line(state):
    """The way that is taken if no other is named."""
    return Line(state, delay_s=0.01)


def make_way(name, state):
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)(state)


async def main(project, state, python, way_name):
    options = ServeOptions(
        project=project, app=config.locate_app(project, None), python=environment.find_python(project, python),
        host="127.0.0.1", port=0, port_is_fixed=False, session_id=control.project_id(project),
    )  # fmt: skip
    ignore = Ignore(project)
    index = Index(project, ignore)
    index.load(project / ".hotloop" / "index.json")
    way = make_way(way_name, state)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(os.dup(0))
    )
    async with connect(way) as session:
        numbered(session)
        sinks = [lambda event: tell(at_s=time.monotonic(), loop=to_json(event))]
        engine = Engine(options, session, index, ignore, sinks, forward_for(way, options.session_id))
        breaking = asyncio.create_task(break_as_told(way, reader))
        breaking.add_done_callback(lambda _: engine.stop("told to end", 0))
        return await engine.run()


def serve():
    """Serve until told to end. Started amid a cut, it is told that nobody is there: a person starts it again, and so does this."""
    while True:
        try:
            return asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:]))
        except RunnerError as error:
            print(f"started again: {error}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(serve())
