# pyright: basic, reportMissingImports=false
# (it rebuilds values of any type: the user's, torch's, numpy's)
"""Rebuild a stored model around its memory, without copying it."""

from __future__ import annotations

import gc
import io
import pickle
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hotloop.frozen import frozen
from hotloop.gpu_runtime.user_env.vault import arena, cuda
from hotloop.gpu_runtime.user_env.vault.reducers import CannotAttach, attaching
from hotloop.gpu_runtime.user_env.vault.sharing import Way, follow

if TYPE_CHECKING:
    import mmap

    from hotloop.gpu_runtime.user_env.source import Project
    from hotloop.gpu_runtime.user_env.vault.packing import Tables


class _Unpacker(pickle.Unpickler):
    def __init__(
        self, payload: bytes, buffers: Sequence[memoryview], memory: _Memory, models: Mapping[str, Any]
    ) -> None:
        super().__init__(io.BytesIO(payload), buffers=buffers)
        self._memory, self._models = memory, models

    def persistent_load(self, pid: Any) -> Any:
        if pid[0] == "shared":
            return follow(pid[1], self._models)
        is_shared = isinstance(pid[1], Way)
        storage = follow(pid[1], self._models).untyped_storage() if is_shared else self._memory.storage(pid[1])
        if pid[0] == "untyped":
            return storage
        import torch

        return torch.storage.TypedStorage(wrap_storage=storage, dtype=pid[2], _internal=True)


class _Memory:
    """The model's memory as torch storages; one a slot, so that what was shared stays shared."""

    def __init__(self, opened: Opened) -> None:
        self._memory, self._tables, self._gpu = opened.memory, opened.tables, opened.gpu
        self._storages: dict[int, Any] = {}

    def storage(self, number: int | tuple[str, int]) -> Any:
        import torch

        if isinstance(number, tuple):
            return torch.UntypedStorage(number[1], device="meta")
        if number not in self._storages:
            self._storages[number] = self._build(number, torch)
        return self._storages[number]

    def _build(self, number: int, torch: Any) -> Any:
        slot = self._tables.storages[number]
        if slot.arena:
            return self._gpu.storage(slot, is_shared=number in self._tables.shared)
        if not slot.size_bytes:
            return torch.UntypedStorage(0)
        data = torch.frombuffer(self._memory, dtype=torch.uint8, offset=slot.offset, count=slot.size_bytes)
        return data.untyped_storage()


@frozen
class Opened:
    """A model's memory, mapped in this process, and the pickle of what is to be built around it."""

    tables: Tables
    payload: bytes
    memory: mmap.mmap
    gpu: cuda.Mapped


def open_memory(header: bytes, fds: Sequence[int], *, is_ahead: bool = False) -> Opened:
    """Map a model's memory; runs none of the project's code.

    Args:
        header: What `pack` made.
        fds: Its descriptors; they stay the caller's to close.
        is_ahead: Have a thread enter the pages ahead of their first use, and set the GPU up for its first operations.
    """
    tables, payload = pickle.loads(header)
    opened = Opened(tables, payload, arena.open_private(fds[0]), cuda.open_blocks(tables.gpu_blocks, fds[1:]))
    if is_ahead:
        arena.prefault(opened.memory)
        cuda.warm_up(tables.gpu_blocks)
    return opened


def attach(header: bytes, fds: Sequence[int], project: Project) -> Any:
    """Map a model's memory and rebuild it. As `open_memory` and `rebuild`."""
    return rebuild(open_memory(header, fds), project)


def rebuild(opened: Opened, project: Project, models: Mapping[str, Any] | None = None) -> Any:
    """Rebuild a model around its memory.

    Args:
        opened: Its memory.
        project: The project as it is now; its modules are imported if the model needs them.
        models: Those that are attached already, by name: it may share something with them.

    Raises:
        CannotAttach: It does not fit the code that is there now. Load the model again.
    """
    view = memoryview(opened.memory)
    buffers = [view[slot.offset : slot.offset + slot.size_bytes] for slot in opened.tables.buffers]
    was_enabled = gc.isenabled()
    gc.disable()  # thousands of new objects, none of them garbage
    attaching.project = project
    try:
        value = _Unpacker(opened.payload, buffers, _Memory(opened), models or {}).load()
    except (AttributeError, ImportError) as error:
        raise CannotAttach(str(error)) from error
    finally:
        attaching.project = None
        if was_enabled:
            gc.enable()
    _keep_hooks_apart(opened.tables.next_hook)
    return value


def _keep_hooks_apart(next_hook: int) -> None:
    # Hooks are numbered by process: a new one must not take the number of one that came with the model.
    hooks = sys.modules.get("torch.utils.hooks")
    if hooks is not None and hooks.RemovableHandle.next_id < next_hook:
        hooks.RemovableHandle.next_id = next_hook
