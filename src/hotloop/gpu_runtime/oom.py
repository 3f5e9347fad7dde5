"""What the kernel does when memory runs out: whether it killed one of our processes for it, and which it takes first.

A process that is killed can't say why, and whoever waits for it sees SIGKILL alone. The kernel counts such kills, by memory
cgroup and for the machine, before it sends the signal. Linux only: elsewhere nothing is known, and nothing is done.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

KILLED = "SIGKILL: out of memory"
IN_THE_LOG = "its last lines are in the log"
RECENT_S = 2.0  # a death is heard of soon after the kill
SERVES, LOADS = 300, 1000  # above the runtime, which holds the models and the requests: who loads is killed first
_CGROUPS = Path("/sys/fs/cgroup")
_COUNT = re.compile(r"^oom_kill (\d+)", re.MULTILINE)


class Kills:
    """Watches the kernel's count of processes that it killed for memory.

    Args:
        count: Reads the count.
        clock: Gives seconds, monotonic.
    """

    def __init__(self, count: Callable[[], int] | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._read = count or num_killed
        self._clock = clock
        self._count = self._read()
        self._rose_s = -RECENT_S

    def look(self) -> None:
        """See whether the count rose: what is old by the next death must not explain it."""
        count = self._read()
        if count > self._count:
            self._count, self._rose_s = count, self._clock()

    def explain(self, cause: str) -> str:
        """Say how a process ended, given what its status says: SIGKILL by the kernel for memory is told from any other."""
        if cause != "SIGKILL":
            return cause
        self.look()
        return KILLED if self._clock() - self._rose_s < RECENT_S else cause


def hint(cause: str) -> str:
    """Say what to do about a process that ended so."""
    if cause != KILLED:
        return IN_THE_LOG
    return (
        f"the kernel killed it, for all memory was taken ({limit()}): take smaller batches, a smaller type for the weights, "
        "fewer replicas, or a runner with more"
    )


def limit() -> str:
    """Say how much memory there is for processes of this cgroup: ``450 MB, the limit of cgroup /app.slice``."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    smallest, text = total, f"{_size(total)}, all that the machine has"
    for root, folder in _folders():
        for above in (folder, *folder.parents):
            if above == root.parent:
                break
            for name in ("memory.max", "memory.limit_in_bytes"):
                with contextlib.suppress(OSError, ValueError):
                    bound = int((above / name).read_text())
                    if bound < smallest:
                        path = f"/{above.relative_to(root)}".removesuffix("/.")
                        smallest, text = bound, f"{_size(bound)}, the limit of cgroup {path}".rstrip()
    return text


def num_killed() -> int:
    """How many processes of this cgroup the kernel killed for memory so far; of the machine where it has no count; else 0."""
    files = [folder / name for _, folder in _folders() for name in ("memory.events", "memory.oom_control")]
    for file in (*files, Path("/proc/vmstat")):
        with contextlib.suppress(OSError):
            found = _COUNT.search(file.read_text())
            if found:
                return int(found[1])
    return 0


def prefer(pid: int, points: int) -> None:
    """Have the kernel kill a process of ours before this one, by so many thousandths of all memory."""
    with contextlib.suppress(OSError, ValueError):  # it is gone, or another system
        own = int(Path("/proc/self/oom_score_adj").read_text())
        Path(f"/proc/{pid}/oom_score_adj").write_text(str(min(own + points, 1000)))


def _folders() -> Iterator[tuple[Path, Path]]:
    """The roots of the hierarchies of cgroups that may count memory, with this process's folder in each."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root = _CGROUPS / "memory" if controllers else _CGROUPS
        folder = root / path.lstrip("/")
        yield root, folder if folder.is_dir() else root  # in a container its own cgroup is the root that it sees


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.0f} MB"
