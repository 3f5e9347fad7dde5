# pyright: basic
# (the app that it imports is like a user's)
"""Go through a reload with a made-up app, so that the real one runs on warm code.

The first import after a fork takes three times as long as the second: pages that it writes to are copied one by one, and the
interpreter specialises code only after it ran. The rehearsal pays for that while nobody waits. It runs no code of the
user's, and leaves nothing behind that an import could see.
"""

from __future__ import annotations

import linecache
import os
import socket
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hotloop.gpu_runtime.user_env import resolve, start, wire
from hotloop.gpu_runtime.user_env.call import Caller
from hotloop.gpu_runtime.user_env.client.address import parse
from hotloop.gpu_runtime.user_env.client.connection import Pool
from hotloop.gpu_runtime.user_env.fingerprint.compare import Present
from hotloop.gpu_runtime.user_env.fingerprint.record import Record, record
from hotloop.gpu_runtime.user_env.probe import ProbeRunner
from hotloop.gpu_runtime.user_env.source import Project

_FOLDER = str((Path(__file__).parent / "rehearsal").resolve())
_ENTRY = "hotloop_rehearsal"
_REQUEST = b'{"text": "x", "number": 1}'
_RESPONSE = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-hotloop-revision: 1\r\nx-hotloop-generation: 1\r\n"
    b'x-hotloop-compute-ms: 1.000\r\ndate: Tue, 24 Nov 2026 00:00:00 GMT\r\ncontent-length: 4\r\n\r\n"x!"'
)


def record_model() -> Record:
    """Load the made-up app's model under trace, for `rehearse` to compare with."""
    with _made_up_app() as (project, imported):
        return record(imported.plan.models[0].loader, {}, {}, project).record


def rehearse(recorded: Record | None = None) -> list[wire.Message]:
    """Import the made-up app, compare its model, answer a request and run its probe as if it were served; forget it.

    Returns:
        The frames that a worker would have sent.
    """
    sent: list[wire.Message] = []

    def send(header: dict[str, Any], payload: bytes = b"") -> None:
        sent.extend(wire.FrameReader().feed(wire.pack(header, payload)))

    with _made_up_app() as (project, imported):
        plan = imported.plan
        if recorded is not None:
            Present(project).first_difference(recorded, {}, plan.models[0].loader)
        models: dict[str, Any] = dict.fromkeys(plan.app.models)
        send({"kind": "ready", "shapes": resolve.shapes(plan)})
        caller = Caller(plan, models, send, project)
        item = {"id": 1, "size": len(_REQUEST), "type": "application/json"}
        caller.handle(wire.Message({"kind": "call", "id": 1, "endpoint": "plain", "items": [item]}, _REQUEST))
        with _answered() as pool:
            ProbeRunner(plan, models, send, lambda _: {}, "").run(pool)
    return sent


@contextmanager
def _answered() -> Generator[Pool]:
    """A connection to nobody: the answer lies there before it is asked for."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(_RESPONSE)
        yield Pool(parse("http://127.0.0.1:1"), ours)


@contextmanager
def _made_up_app() -> Generator[tuple[Project, start.Imported]]:
    arguments, path, hooks = sys.argv, list(sys.path), list(sys.path_hooks)
    folder = Path.cwd()
    try:
        boot = {"root": _FOLDER, "manifest": {}, "entry": f"{_ENTRY}.py", "app_name": ""}
        project = start.prepare(boot)
        yield project, start.import_app(project, boot)
    finally:
        os.chdir(folder)
        sys.argv, sys.path[:], sys.path_hooks[:] = arguments, path, hooks
        sys.path_importer_cache.clear()
        for name in [name for name in sys.modules if name.startswith(_ENTRY)]:
            del sys.modules[name]
        for file in [file for file in linecache.cache if file.startswith(_FOLDER)]:
            del linecache.cache[file]
