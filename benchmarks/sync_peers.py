"""What developers use today to bring files to another machine: rsync and tar over ssh, in the same namespaces."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from benchmarks.wan import Wan
from hotloop.devloop.inotify import MOVED_TO, Inotify

TIMEOUT_S = 60.0
LINES = 60  # of a made-up source file: about 1.8 kB


def make_tree(folder: Path, num_files: int) -> Path:
    """A tree of small source files, 50 a folder; `app.py` is left to whoever needs one."""
    for number in range(num_files):
        path = folder / f"pkg{number // 2500}" / f"mod{number // 50 % 50}" / f"file{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source(number))
    return folder


def source(number: int) -> str:
    """Text that looks like a module, another for each number."""
    return "".join(f"def function_{number}_{line}():\n    return {number * line}\n" for line in range(LINES // 2))


def some_file(tree: Path) -> Path:
    """A file somewhere in the middle of a made-up tree."""
    files = sorted(tree.rglob("file*.py"))
    return files[len(files) // 2]


class Arrivals:
    """Notices files that are renamed into a folder, as rsync and hotloop both put them there."""

    def __init__(self, folder: Path) -> None:
        self._inotify = Inotify()
        self._inotify.add(folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._inotify.close()

    def wait_for(self, name: str) -> float:
        """The moment when a file of that name came, seconds of CLOCK_MONOTONIC.

        Raises:
            TimeoutError: It never did.
        """
        deadline = time.monotonic() + TIMEOUT_S
        while (left := deadline - time.monotonic()) > 0:
            select.select([self._inotify.fd], [], [], left)
            at_s = time.monotonic()
            if any(event.name == name and event.mask & MOVED_TO for event in self._inotify.read()):
                return at_s
        msg = f"{name} did not come within {TIMEOUT_S:.0f} s"
        raise TimeoutError(msg)

    def forget(self) -> None:
        """Drop what came so far."""
        self._inotify.read()


@contextmanager
def shared_connection(wan: Wan) -> Any:
    """An ssh connection that later commands share (ControlMaster); gives the options to name it."""
    socket = wan.folder / "control"
    options = ["-o", f"ControlPath={socket}"]
    master = subprocess.Popen(
        wan.on_laptop([*wan.ssh(*options, "-M", "-N"), "gpubox"]), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while not socket.exists():
        time.sleep(0.05)
    try:
        yield options
    finally:
        master.terminate()
        master.wait()


def rsync(wan: Wan, tree: Path, target: Path, *options: str, whole: bool = False) -> None:
    """Bring a tree over, as people do it: archive mode, compressed, deletions too."""
    how = ["-aW"] if whole else ["-az", "--delete"]
    command = ["rsync", *how, "-e", " ".join(wan.ssh(*options)), f"{tree}/", f"gpubox:{target}/"]
    subprocess.run(wan.on_laptop(command), check=True, capture_output=True)


def tar(wan: Wan, tree: Path, target: Path) -> None:
    """Bring a tree over in one stream."""
    there = f"mkdir -p {target} && tar -C {target} -xf -"
    script = f"tar -C {tree} -cf - . | {' '.join(wan.ssh())} gpubox '{there}'"
    subprocess.run(wan.on_laptop(["bash", "-c", script]), check=True, capture_output=True)


def timed_edits(edit: Callable[[int], None], target: Path, name: str, rounds: int) -> list[float]:
    """Seconds from the end of a save to the file's arrival, once a round; `edit` saves and brings it over."""
    samples: list[float] = []
    with Arrivals(target) as arrivals:
        for number in range(rounds):
            arrivals.forget()
            began = time.monotonic()
            edit(number)
            samples.append(arrivals.wait_for(name) - began)
    return samples


def rsync_edits(wan: Wan, tree: Path, target: Path, rounds: int, *options: str) -> list[float]:
    """One edited file by rsync of the tree."""
    file = some_file(tree)
    rsync(wan, tree, target, *options)

    def edit(number: int) -> None:
        # Another size each time: rsync overlooks a change of the same second that leaves the size.
        file.write_text(source(10_000_000 + number) + "#" * (number + 1))
        rsync(wan, tree, target, *options)

    return timed_edits(edit, target / file.parent.relative_to(tree), file.name, rounds)


def timed_first(bring: Callable[[Path], float | None], folder: Path) -> float:
    """Seconds for a first copy into a folder that is not there; `bring` gives when all was there, or ends then."""
    began = time.monotonic()
    took = (bring(folder) or time.monotonic()) - began
    os.sync()
    return took
