"""What the runtime holds of the resident models: a header, descriptors of the bytes, and the record of their loading.

Nothing here can read a model, or needs torch: a header and the descriptors are handed to workers as they came.
"""

from __future__ import annotations

import os
from typing import Any

from hotloop.frozen import frozen
from hotloop.gpu_runtime.user_env.wire import Message


@frozen
class Holding:
    """One resident model. The descriptors are the holder's to close.

    Attributes:
        about: The frame's header without its ``kind``: model, record, needs_project, modules, size_bytes.
    """

    about: dict[str, Any]
    header: bytes
    fds: tuple[int, ...]

    def frame(self, kind: str) -> tuple[dict[str, Any], bytes, tuple[int, ...]]:
        """The frame that hands the model to somebody."""
        return {**self.about, "kind": kind}, self.header, self.fds


class Holdings:
    """All resident models by name; the newest of each."""

    def __init__(self) -> None:
        self._by_name: dict[str, Holding] = {}

    def __iter__(self) -> Any:
        return iter(list(self._by_name.values()))

    def put(self, message: Message) -> Holding:
        """Take a model from a frame; its older version is dropped, and lives on where it is mapped."""
        about = {k: v for k, v in message.header.items() if k not in {"kind", "fds"}}
        holding = Holding(about, message.payload, message.fds)
        self.drop(about["model"])
        self._by_name[about["model"]] = holding
        return holding

    def drop(self, name: str) -> None:
        """Let go of a model."""
        old = self._by_name.pop(name, None)
        for fd in old.fds if old else ():
            os.close(fd)
