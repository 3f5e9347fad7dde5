"""What the loaders of a process left set in libraries, one after the other: the next one finds it."""

from __future__ import annotations

import json
from typing import Any

from hotloop.gpu_runtime.user_env.vault.code import hashed


class Left:
    """What the loaders so far set, that one which runs afterwards may depend on and that nothing else tells.

    Environment variables and settings that it reads are noted with it.
    """

    def __init__(self) -> None:
        self._set: dict[str, Any] = {}

    @property
    def digest(self) -> str:
        """Names it; empty if nothing was set."""
        return hashed(json.dumps(self._set, sort_keys=True)) if self._set else ""

    def add(self, left: dict[str, Any]) -> None:
        """Add what one loader left, as its record has it."""
        self._set |= {f"{module}.{path}": value for module, path, value in left["attributes"]}
        self._set |= {f"call {call}": True for call in left["calls"]}
        if "sys.path" in left["settings"]:
            self._set.setdefault("sys.path", []).append(left["settings"]["sys.path"])
