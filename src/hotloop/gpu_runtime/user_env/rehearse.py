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
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from hotloop.gpu_runtime.user_env import fingerprint, resolve, start
from hotloop.gpu_runtime.user_env.call import Caller
from hotloop.gpu_runtime.user_env.fingerprint import Record
from hotloop.gpu_runtime.user_env.source import Project

_FOLDER = str((Path(__file__).parent / "rehearsal").resolve())
_ENTRY = "hotloop_rehearsal"


def record_model() -> Record:
    """Load the made-up app's model under trace, for `rehearse` to compare with."""
    with _made_up_app() as (project, imported):
        return fingerprint.record(imported.plan.models[0].loader, {}, {}, project).record


def rehearse(record: Record | None = None) -> None:
    """Import the made-up app, make all that serving it would need, compare its model, and forget it."""
    with _made_up_app() as (project, imported):
        if record is not None:
            fingerprint.first_difference(record, {}, project)
        resolve.shapes(imported.plan)
        Caller(imported.plan, {}, lambda *_: None, project)


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
