# pyright: basic
# (torch has no types here)
"""How many threads torch computes with in each of several workers: together as many as there are cores.

With more, each worker's threads wait for cores that the others' hold. A number that the user chose is left alone: by
``OMP_NUM_THREADS`` and the like, or in code.
"""

from __future__ import annotations

import os
import sys

_CHOSEN = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


class Threads:
    """Torch's threads in one worker. Make it before the project's code runs."""

    def __init__(self) -> None:
        count = _count()
        cores = len(os.sched_getaffinity(0))
        # Where torch is imported later, it begins with a thread for each processor, or for each two that share a core.
        self._untouched = {cores, max(1, cores // 2)} if count is None else {count}

    def divide(self, replicas: int) -> None:
        """Leave the other workers their share of the cores, unless torch is not there or the user chose."""
        count = _count()
        share = max(1, len(os.sched_getaffinity(0)) // replicas)
        if count in self._untouched and count > share and not any(name in os.environ for name in _CHOSEN):
            sys.modules["torch"].set_num_threads(share)


def _count() -> int | None:
    torch = sys.modules.get("torch")
    return torch.get_num_threads() if torch is not None and hasattr(torch, "set_num_threads") else None
