# pyright: basic, reportMissingImports=false
# (it handles values of any type: the user's, torch's, numpy's)
"""Turn a loaded model into data that outlives its process: its bytes as descriptors, its objects as a pickle.

Every torch storage and every large buffer becomes a slot of an arena, so tied weights, views and strides survive.
Functions and classes are stored by name or by place in the source, never by value.
"""

from __future__ import annotations

import contextlib
import copyreg
import io
import os
import pickle
import sys
import types
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from hotloop.frozen import frozen
from hotloop.gpu_runtime.user_env.vault import arena, cuda
from hotloop.gpu_runtime.user_env.vault.reducers import Refused, rebuild_function, reduce

if TYPE_CHECKING:
    from hotloop.gpu_runtime.user_env.source import Project
    from hotloop.gpu_runtime.user_env.vault.arena import Slot
    from hotloop.gpu_runtime.user_env.vault.sharing import Shared, Way

_OUT_OF_BAND_FROM_BYTES = 16384
_OURS = __name__.rpartition(".")[0]
_DEPTH = 20000
_MAX_PATH = 120  # characters of a path that is told


@frozen
class Packed:
    """A model as data.

    Attributes:
        header: The pickle of its objects and the tables of its memory, opaque.
        fds: Descriptors of its memory, owned by whoever has this.
        size_bytes: How much memory it takes: what they hold, and the header, in which plain objects are.
        needs_project: It refers to the project's classes or functions: import the project before attaching.
        modules: The other modules that it refers to.
    """

    header: bytes
    fds: tuple[int, ...]
    size_bytes: int
    needs_project: bool
    modules: tuple[str, ...]


@frozen
class Tables:
    """Where a model's memory lies.

    Attributes:
        storages: A slot for each torch storage.
        buffers: A slot for each buffer that the pickle left out.
        gpu_blocks: The GPU allocations, in the order of their descriptors after the first.
        shared: Numbers of the GPU storages that hold parameters; any other is copied by each who attaches.
        next_hook: The number that torch would have given the next hook.
    """

    storages: list[Slot]
    buffers: list[Slot]
    gpu_blocks: list[cuda.Block]
    shared: frozenset[int]
    next_hook: int


class CannotPack(Exception):
    """A model that can't be stored.

    Attributes:
        path: How to get from the model to what is to blame, such as ``.decoder.cache``; empty for the model itself.
        type_name: That value's type.
        reason: Why it can't be stored.
    """

    def __init__(self, path: str, type_name: str, reason: str) -> None:
        self.path, self.type_name, self.reason = path, type_name, reason
        super().__init__(f"{path or 'the model itself'} is a {type_name}: {reason}")


class Packer(pickle.Pickler):
    """A pickler that keeps memory out of the pickle and notes which modules it refers to."""

    def __init__(self, file: io.BytesIO, project: Project, shared: Shared | None = None) -> None:
        super().__init__(file, protocol=5, buffer_callback=self._keep_out)
        self.dispatch_table = copyreg.dispatch_table.copy()
        self.project = project
        self._shared = shared
        self.storages: list[Any] = []
        self.buffers: list[pickle.PickleBuffer] = []
        self.modules: set[str] = set()
        self.parameters: set[int] = set()
        self._numbers: dict[int, int] = {}
        torch = sys.modules.get("torch")
        storage = getattr(torch, "storage", None)
        self._typed: type = getattr(storage, "TypedStorage", _Nothing)
        self._untyped: type = getattr(torch, "UntypedStorage", _Nothing)
        self._parameter: type = getattr(getattr(torch, "nn", None), "Parameter", _Nothing)

    def _keep_out(self, buffer: pickle.PickleBuffer) -> bool:
        if buffer.raw().nbytes < _OUT_OF_BAND_FROM_BYTES:
            return True
        self.buffers.append(buffer)
        return False

    def persistent_id(self, obj: Any) -> Any:
        """Name what is shared with others by the way to it, a torch storage by its number; anything else is pickled."""
        way = self._shared.way_to(obj) if self._shared is not None else None
        if way is not None:
            if way.is_global:
                self.modules.add(way.owner)
            return "shared", way
        if isinstance(obj, self._typed):
            return "typed", self._number(obj._untyped_storage), obj.dtype  # noqa: SLF001
        if isinstance(obj, self._untyped):
            return "untyped", self._number(obj)
        return None

    def _number(self, storage: Any) -> int | tuple[str, int] | Way:
        way = self._shared.way_to_storage(storage) if self._shared is not None else None
        if way is not None:
            if way.is_global:
                self.modules.add(way.owner)
            return way
        kind = storage.device.type
        if kind == "meta":
            return "meta", storage.nbytes()
        if kind not in {"cpu", "cuda"}:
            msg = f"its memory is on {storage.device}"
            raise Refused(msg)
        key = storage._cdata  # noqa: SLF001
        if key not in self._numbers:
            self._numbers[key] = len(self.storages)
            self.storages.append(storage)
        return self._numbers[key]

    def reducer_override(self, obj: Any) -> Any:
        """Store what `pickle` would refuse or get wrong."""
        self._note_module(obj)
        if isinstance(obj, self._parameter) and obj.device.type == "cuda":
            self.parameters.add(obj.untyped_storage()._cdata)  # noqa: SLF001
        try:
            reduced = reduce(obj, self.project)
        except Refused as error:
            error.culprit = obj
            raise
        if isinstance(reduced, tuple) and reduced[0] is rebuild_function:
            self.modules.add(reduced[1][0].module)
        return reduced

    def _note_module(self, obj: Any) -> None:
        if isinstance(obj, types.ModuleType):
            self.modules.add(obj.__name__)
        elif isinstance(obj, type) or hasattr(obj, "__qualname__"):
            module = getattr(obj, "__module__", None)
            if isinstance(module, str):
                self.modules.add(module)


class _Nothing:
    pass


def pack(value: Any, project: Project, shared: Shared | None = None, *, is_mutable: bool = False) -> Packed:
    """Store a model. The value itself is left as it is.

    Args:
        value: The model.
        project: What its classes and functions may belong to.
        shared: What is stored by the way to it.
        is_mutable: Whoever attaches it gets GPU weights of their own.

    Raises:
        CannotPack: Something in it can't be stored.
    """
    file = io.BytesIO()
    packer = Packer(file, project, shared)
    try:
        with deep_recursion():
            packer.dump(value)
    except Exception as error:
        raise _culprit(value, project, error) from error
    if is_mutable:
        packer.parameters.clear()
    return _store(file.getvalue(), packer)


def _culprit(value: Any, project: Project, error: Exception) -> CannotPack:
    from hotloop.gpu_runtime.user_env.vault.culprit import find

    path, type_name, reason = find(value, project, error)
    is_long = len(path) > _MAX_PATH
    return CannotPack(f"{path[: _MAX_PATH // 2]}…{path[-_MAX_PATH // 2 :]}" if is_long else path, type_name, reason)


@contextlib.contextmanager
def deep_recursion() -> Iterator[None]:
    """Allow deep object graphs: a chain of modules recurses once a link."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, _DEPTH))
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


def _store(payload: bytes, packer: Packer) -> Packed:
    on_cpu = [storage for storage in packer.storages if storage.device.type == "cpu"]
    blocks = [*map(_bytes_of, on_cpu), *(buffer.raw() for buffer in packer.buffers)]
    slots, size = arena.place_all([block.nbytes for block in blocks], 0)
    fds = [arena.write(blocks, slots, size)]
    try:
        on_gpu = cuda.store([storage for storage in packer.storages if storage.device.type == "cuda"], first_arena=1)
    except BaseException:
        os.close(fds[0])
        raise
    fds += on_gpu.fds
    cpu_slots, gpu_slots = iter(slots), iter(on_gpu.slots)
    by_storage = [next(cpu_slots if each.device.type == "cpu" else gpu_slots) for each in packer.storages]
    shared = frozenset(n for n, each in enumerate(packer.storages) if each._cdata in packer.parameters)  # noqa: SLF001
    tables = Tables(by_storage, list(cpu_slots), on_gpu.blocks, shared, _next_hook())
    ours = {module for module in packer.modules if packer.project.owns_module(module)}
    header = pickle.dumps((tables, payload), protocol=5)
    return Packed(
        header,
        tuple(fds),
        len(header) + size + on_gpu.size_bytes,
        bool(ours),
        tuple(sorted(m for m in packer.modules - ours if not m.startswith(_OURS) and m != "builtins")),
    )


def _bytes_of(storage: Any) -> memoryview:
    import ctypes

    size = storage.nbytes()
    if not size:
        return memoryview(b"")
    # A view of the storage's own memory: numpy may be absent, and a copy would double the peak.
    return memoryview((ctypes.c_char * size).from_address(storage.data_ptr())).cast("B")


def _next_hook() -> int:
    hooks = sys.modules.get("torch.utils.hooks")
    return hooks.RemovableHandle.next_id if hooks else 0
