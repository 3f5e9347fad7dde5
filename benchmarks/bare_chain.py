"""The least that a reload in a fresh process can do, in plain Python: what of a reload's time is the machine's own.

A watcher reads the file that was saved, another process puts it in place, and a process that was forked ahead, with the
libraries imported, compiles and runs it. That process has run the file once before it is needed, so that it has touched its
memory, which a reload that is to equal a cold start can't. Nothing is checked, hashed, logged or kept, no model is attached,
nothing is served.

Run by the user's interpreter with the project and a folder to work in; prints the moment of each "ready", CLOCK_MONOTONIC.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import socket
import struct
import sys
import time
from pathlib import Path

CLOSED_AFTER_WRITE, MOVED_TO = 0x8, 0x80


def main(project: Path, folder: Path) -> None:
    """Run until the standard input ends, or SIGINT."""
    tree = folder / "tree"
    shutil.copytree(project, tree)
    sys.path.insert(0, str(tree))
    _rehearse(tree)  # the libraries are imported once
    saved, placed = socket.socketpair(), socket.socketpair()
    children = [
        _fork(lambda: _watch(project, saved[0])),
        _fork(lambda: _place(saved[1], tree, placed[0])),
        _fork(lambda: _keep_a_worker_ready(placed[1], tree)),
    ]
    with contextlib.suppress(KeyboardInterrupt):
        sys.stdin.read()
    for pid in reversed(children):
        os.kill(pid, 9)


def _watch(project: Path, out: socket.socket) -> None:
    libc = ctypes.CDLL(None)
    events = libc.inotify_init()
    libc.inotify_add_watch(events, os.fsencode(project), CLOSED_AFTER_WRITE | MOVED_TO)
    print("up", flush=True)
    while True:
        if b"app.py\0" in os.read(events, 4096):
            _send(out, (project / "app.py").read_bytes())


def _place(saved: socket.socket, tree: Path, out: socket.socket) -> None:
    while True:
        content = _receive(saved)
        (tree / ".staged").write_bytes(content)
        (tree / ".staged").rename(tree / "app.py")
        _send(out, content)


def _keep_a_worker_ready(placed: socket.socket, tree: Path) -> None:
    def work() -> None:
        _rehearse(tree)
        _run_app(tree, _receive(placed))
        print(time.monotonic(), flush=True)

    while True:
        os.waitpid(_fork(work), 0)


def _rehearse(tree: Path) -> None:
    _run_app(tree, (tree / "app.py").read_bytes())
    for name in [name for name, module in sys.modules.items() if str(tree) in str(getattr(module, "__file__", ""))]:
        del sys.modules[name]


def _run_app(tree: Path, content: bytes) -> None:
    exec(compile(content, str(tree / "app.py"), "exec"), {"__name__": "app", "__file__": str(tree / "app.py")})


def _fork(work: object) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            work()  # type: ignore[operator]
        finally:
            os._exit(0)
    return pid


def _send(end: socket.socket, content: bytes) -> None:
    end.sendall(struct.pack("I", len(content)) + content)


def _receive(end: socket.socket) -> bytes:
    (size,) = struct.unpack("I", end.recv(4, socket.MSG_WAITALL))
    return end.recv(size, socket.MSG_WAITALL)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
