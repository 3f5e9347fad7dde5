"""Processes that zygotes fork: what their ends tell."""

import asyncio
from pathlib import Path
from types import SimpleNamespace

from hotloop.gpu_runtime.fleet import Fleet
from hotloop.gpu_runtime.user_env import wire


class Zygote:
    """Says that what it forked failed, and ended: the process is no more than its socket."""

    learned = None
    pages = ()

    def fork(self, number, boot, theirs, out_write, err_write):
        theirs.sendall(wire.pack({"kind": "failed"}))


def test_what_a_process_said_last_is_heard_before_its_end_is_told_of(tmp_path: Path):
    said = []

    async def main():
        config = SimpleNamespace(
            root=str(tmp_path), entry="app.py", app_name="", packages=(), replicas=1, keeps_locals=True
        )
        fleet = Fleet(config, lambda *_: None)
        fleet.fork(7, Zygote(), lambda _, message: said.append(message.kind), lambda worker: said.append(worker.cause))
        fleet.exited(7, 256)  # the zygote is heard first

    asyncio.run(main())

    assert said == ["failed", "exit 1"]
