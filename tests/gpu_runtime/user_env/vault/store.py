"""Store each kind in one process, rebuild it in a fresh one, compare the answers; prints one JSON object.

Runs in the user's environment: ``python store.py SRC FOLDER``.
"""

import json
import os
import sys
from pathlib import Path

SRC, FOLDER = sys.argv[1:3]
sys.path[:0] = [SRC, FOLDER]

from hotloop.gpu_runtime.user_env.source import Project  # noqa: E402
from hotloop.gpu_runtime.user_env.vault.attaching import open_memory  # noqa: E402
from hotloop.gpu_runtime.user_env.vault.attaching import rebuild as rebuild_model  # noqa: E402
from hotloop.gpu_runtime.user_env.vault.packing import CannotPack, pack  # noqa: E402

if "torch" in sys.argv[3:]:
    import torch  # type: ignore[import-not-found]

    torch.set_num_threads(1)


def forked(work):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001
            result = {"error": f"{type(error).__name__}: {error}"}
        os.write(writer, json.dumps(result).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        data = file.read()
    os.waitpid(child, 0)
    return json.loads(data) if data else {"error": "the process died"}


def imported():
    project = Project(FOLDER)
    project.install()
    import kinds  # type: ignore[import-not-found]

    return kinds, project


def store(name, folder):
    kinds, project = imported()
    make, ask = kinds.KINDS[name]
    value = make()
    packed = pack(value, project)
    (folder / "header").write_bytes(packed.header)
    (folder / "memory").write_bytes(os.pread(packed.fds[0], 1 << 30, 0))
    return {"answer": repr(ask(value))}


def rebuild(name, folder):
    kinds, project = imported()
    fd = os.memfd_create("model")
    os.write(fd, (folder / "memory").read_bytes())
    value = rebuild_model(open_memory((folder / "header").read_bytes(), [fd], is_ahead=True), project)
    return {"answer": repr(kinds.KINDS[name][1](value))}


def refuse(name):
    kinds, project = imported()
    make, _ = kinds.REFUSED[name]
    try:
        pack(make(), project)
    except CannotPack as error:
        return {"path": error.path, "reason": error.reason, "type": error.type_name}
    return {"path": None}


def names():
    kinds, _ = imported()
    return {"kinds": list(kinds.KINDS), "refused": {name: path for name, (_, path) in kinds.REFUSED.items()}}


known = forked(names)
folder = Path(sys.argv[2])
results = {}
for each in known["kinds"]:
    stored = forked(lambda each=each: store(each, folder))
    results[each] = [stored, forked(lambda each=each: rebuild(each, folder)) if "answer" in stored else {}]
refused = {name: [path, forked(lambda name=name: refuse(name))] for name, path in known["refused"].items()}
print(json.dumps({"kinds": results, "refused": refused}))
