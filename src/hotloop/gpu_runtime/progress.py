"""How far a loader is: what its process has read so far. Nothing is asked of the loader, and nothing of quick ones.

Read is what went through `read`, and what was touched of mapped files: safetensors and torch map theirs. Pages that a
process lets go and touches again count twice, and so do modules that the loader imports; what a loader's own
child processes read is not seen.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from hotloop.events import ModelProgress
from hotloop.gpu_runtime import memory
from hotloop.gpu_runtime.memory import Taken

if TYPE_CHECKING:
    from hotloop.events import Event

QUICK_S = 0.5  # a loader that takes no longer is not watched
INTERVAL_S = 0.25


class Timer(Protocol):
    """What can be cancelled."""

    def cancel(self) -> None:
        """Do not call."""
        ...


@dataclass
class _Loader:
    """A loader that runs.

    Attributes:
        pids: The processes that may do it now: a hosted model's begins later than its worker. None: it is over.
        last: What each had taken when it was looked at last.
    """

    revision: int
    model: str
    pids: Callable[[], list[int]]
    last: dict[int, Taken] = field(default_factory=dict[int, Taken])
    done_bytes: int = 0
    told_bytes: int = 0


class Progress:
    """Tells of one loader at a time: a worker loads its models one after the other.

    Args:
        emit: Gets the events.
        later: Calls back after so many seconds.
        taken: Says what a process has taken from files.
    """

    def __init__(
        self,
        emit: Callable[[Event], None],
        later: Callable[[float, Callable[[], None]], Timer],
        taken: Callable[[int], Taken] = memory.taken,
    ) -> None:
        self._emit = emit
        self._later = later
        self._taken = taken
        self._loader: _Loader | None = None
        self._timer: Timer | None = None

    def began(self, revision: int, model: str, pids: Callable[[], list[int]]) -> None:
        """Watch a loader that begins now; the one before is over."""
        self.over()
        self._loader = _Loader(revision, model, pids)
        self._loader.last = {pid: self._taken(pid) for pid in pids()}
        self._timer = self._later(QUICK_S, self._look)

    def over(self, model: str = "") -> None:
        """Take note that a model is loaded, or will not be; whichever it is if none is named."""
        if self._loader is not None and model in {"", self._loader.model}:
            self._loader = None
            if self._timer is not None:
                self._timer.cancel()

    def _look(self) -> None:
        loader = self._loader
        if loader is None:
            return
        pids = loader.pids()
        if not pids:
            self.over()
            return
        for pid in pids:
            now, before = self._taken(pid), loader.last.get(pid, Taken(0, 0))
            loader.done_bytes += max(0, now.read_bytes - before.read_bytes)
            loader.done_bytes += max(0, now.mapped_bytes - before.mapped_bytes)
            loader.last[pid] = now
        if loader.done_bytes > loader.told_bytes:
            loader.told_bytes = loader.done_bytes
            self._emit(ModelProgress(time.monotonic(), loader.revision, loader.model, loader.done_bytes))
        self._timer = self._later(INTERVAL_S, self._look)
