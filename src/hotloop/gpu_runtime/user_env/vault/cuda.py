# pyright: basic, reportMissingImports=false
# (it calls the CUDA driver through ctypes and torch's private constructors)
"""The GPU half of the vault: allocations of the driver's virtual-memory API, held by file descriptors.

An allocation lives as long as any mapping, handle or exported descriptor of it, so the runtime, which has no CUDA
context, keeps it by its descriptor alone (`benchmarks/gpu.sh` asks a GPU whether that holds; docs/gpu.md has the answers).
Parameters are shared by all who attach and can only be read, other tensors (buffers, caches) are copied by each. A
mapping lasts as long as its process: storages built from a pointer do not own it.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from collections.abc import Sequence
from dataclasses import field
from typing import Any

from hotloop.frozen import frozen
from hotloop.gpu_runtime.user_env.vault.arena import Slot, place_all

_PINNED, _POSIX_FD, _ON_DEVICE = 1, 1, 1
_READ, _READ_WRITE = 1, 3
_NOT_INITIALIZED = 3


class CudaDriverError(RuntimeError):
    """A call of the driver that did not succeed."""


class _Location(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("id", ctypes.c_int)]


class _Flags(ctypes.Structure):
    _fields_ = [
        ("compression", ctypes.c_ubyte),
        ("rdma", ctypes.c_ubyte),
        ("usage", ctypes.c_ushort),
        ("reserved", ctypes.c_ubyte * 4),
    ]


class _Properties(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("handle_types", ctypes.c_int),
        ("location", _Location),
        ("win32", ctypes.c_void_p),
        ("flags", _Flags),
    ]


class _Access(ctypes.Structure):
    _fields_ = [("location", _Location), ("flags", ctypes.c_int)]


@frozen
class Block:
    """One allocation: all of a model's storages on one device."""

    device: int
    size_bytes: int


@frozen
class Stored:
    """What was written: a descriptor a block (the caller's), a slot a storage."""

    fds: list[int] = field(default_factory=list[int])
    slots: list[Slot] = field(default_factory=list[Slot])
    blocks: list[Block] = field(default_factory=list[Block])
    size_bytes: int = 0


@functools.cache
def _driver() -> Any:
    return ctypes.CDLL("libcuda.so.1")


def _call(name: str, *arguments: Any) -> None:
    status = getattr(_driver(), name)(*arguments)
    if status:
        text = ctypes.c_char_p()
        _driver().cuGetErrorString(status, ctypes.byref(text))
        msg = f"{name} returned {status}: {(text.value or b'?').decode()}"
        raise CudaDriverError(msg)


def _properties(device: int) -> _Properties:
    return _Properties(_PINNED, _POSIX_FD, _Location(_ON_DEVICE, device), None, _Flags())


def allocate(device: int, size_bytes: int) -> tuple[ctypes.c_ulonglong, int]:
    """Take memory of a device; returns its handle and its size, rounded up to what the device deals in."""
    properties, grain = _properties(device), ctypes.c_size_t()
    _call("cuMemGetAllocationGranularity", ctypes.byref(grain), ctypes.byref(properties), 0)
    size = -(-size_bytes // grain.value) * grain.value
    handle = ctypes.c_ulonglong()
    _call("cuMemCreate", ctypes.byref(handle), ctypes.c_size_t(size), ctypes.byref(properties), ctypes.c_ulonglong(0))
    return handle, size


def export_fd(handle: ctypes.c_ulonglong) -> int:
    """Make a descriptor that keeps an allocation alive and can be passed to another process."""
    fd = ctypes.c_int(-1)
    _call("cuMemExportToShareableHandle", ctypes.byref(fd), handle, _POSIX_FD, ctypes.c_ulonglong(0))
    os.set_inheritable(fd.value, False)
    return fd.value


def import_fd(fd: int) -> ctypes.c_ulonglong:
    """Turn a descriptor into a handle of this process."""
    handle = ctypes.c_ulonglong()
    _call("cuMemImportFromShareableHandle", ctypes.byref(handle), ctypes.c_void_p(fd), _POSIX_FD)
    return handle


def map_block(handle: ctypes.c_ulonglong, device: int, size_bytes: int, *, writable: bool = True) -> int:
    """Map an allocation; returns its address. The handle may be released afterwards."""
    address, size = ctypes.c_ulonglong(), ctypes.c_size_t(size_bytes)
    none = ctypes.c_ulonglong(0)
    _call("cuMemAddressReserve", ctypes.byref(address), size, ctypes.c_size_t(0), none, none)
    _call("cuMemMap", address, size, ctypes.c_size_t(0), handle, none)
    access = _Access(_Location(_ON_DEVICE, device), _READ_WRITE if writable else _READ)
    _call("cuMemSetAccess", address, size, ctypes.byref(access), ctypes.c_size_t(1))
    return address.value


def unmap_block(address: int, size_bytes: int) -> None:
    """Undo `map_block`."""
    _call("cuMemUnmap", ctypes.c_ulonglong(address), ctypes.c_size_t(size_bytes))
    _call("cuMemAddressFree", ctypes.c_ulonglong(address), ctypes.c_size_t(size_bytes))


def release(handle: ctypes.c_ulonglong) -> None:
    """Drop this process's handle of an allocation."""
    _call("cuMemRelease", handle)


def is_in_use() -> bool:
    """Whether this process has initialised the driver, by torch or behind its back. Never loads it, never initialises it."""
    try:
        driver = ctypes.CDLL("libcuda.so.1", mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
    except OSError:  # not loaded
        return False
    return driver.cuDeviceGetCount(ctypes.byref(ctypes.c_int())) != _NOT_INITIALIZED


def is_context_dead() -> bool:
    """Whether no operation on the GPU can succeed in this process any more, as after an illegal memory access."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return False
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return True
    return False


def warm_up(blocks: Sequence[Block]) -> None:
    """Have the math libraries set themselves up on the blocks' devices, so that no first request waits for that."""
    if not blocks:
        return
    import torch

    for device in {block.device for block in blocks}:
        for dtype in (torch.float32, torch.float16, torch.bfloat16):
            one = torch.ones((16, 16), device=torch.device("cuda", device), dtype=dtype)
            torch.nn.functional.linear(one, one, one[0]).softmax(-1)
        torch.cuda.synchronize(device)


def give_back_unused() -> None:
    """Return what torch holds in reserve to the GPU: a loader's own copy of the weights, once it is gone."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def store(storages: Sequence[Any], first_arena: int) -> Stored:
    """Copy CUDA storages, device to device, into allocations that outlive this process."""
    stored = Stored()
    if not storages:
        return stored
    by_device: dict[int, list[int]] = {}
    for number, storage in enumerate(storages):
        by_device.setdefault(storage.device.index, []).append(number)
    slots: dict[int, Slot] = {}
    for device, numbers in by_device.items():
        own, size = place_all([storages[number].nbytes() for number in numbers], first_arena + len(stored.blocks))
        slots.update(zip(numbers, own, strict=True))
        fd, block = _store_block(device, size, [(storages[number], slots[number]) for number in numbers])
        stored.fds.append(fd)
        stored.blocks.append(block)
    stored.slots.extend(slots[number] for number in range(len(storages)))
    return Stored(stored.fds, stored.slots, stored.blocks, sum(block.size_bytes for block in stored.blocks))


def _store_block(device: int, size_bytes: int, contents: list[tuple[Any, Slot]]) -> tuple[int, Block]:
    torch = sys.modules["torch"]
    with torch.cuda.device(device):
        torch.cuda.synchronize()
        handle, size = allocate(device, size_bytes)
        address = map_block(handle, device, size)
        for storage, slot in contents:
            source, target = ctypes.c_ulonglong(storage.data_ptr()), ctypes.c_ulonglong(address + slot.offset)
            if slot.size_bytes:
                _call("cuMemcpyDtoD_v2", target, source, ctypes.c_size_t(slot.size_bytes))
        torch.cuda.synchronize()
        fd = export_fd(handle)
        unmap_block(address, size)
        release(handle)
    return fd, Block(device, size)


class Mapped:
    """A model's blocks, mapped in this process until it ends or they are closed."""

    def __init__(self, blocks: Sequence[Block], addresses: Sequence[int]) -> None:
        self._blocks, self._addresses = blocks, addresses

    def close(self) -> None:
        """Unmap: no tensor of the model may be used from here on."""
        for block, address in zip(self._blocks, self._addresses, strict=True):
            unmap_block(address, block.size_bytes)
        self._blocks, self._addresses = (), ()

    def storage(self, slot: Slot, *, is_shared: bool) -> Any:
        """A torch storage over a slot: the memory itself, or a copy of this process's own."""
        import torch

        block = self._blocks[slot.arena - 1]
        device = torch.device("cuda", block.device)
        if not slot.size_bytes:
            return torch.UntypedStorage(0, device=device)
        address = self._addresses[slot.arena - 1] + slot.offset
        storage = torch._C._construct_storage_from_data_pointer(address, device, slot.size_bytes)  # noqa: SLF001
        return storage if is_shared else storage.clone()


def open_blocks(blocks: Sequence[Block], fds: Sequence[int], *, writable: bool = False) -> Mapped:
    """Map a model's blocks into this process; needs a CUDA context only if there are any.

    Every generation maps the same memory, so it is for reading: a write would change what the next one serves. It ends
    the process's CUDA context instead (an illegal memory access), and the memory stays as it was.
    """
    addresses: list[int] = []
    for block, fd in zip(blocks, fds, strict=True):
        import torch

        torch.cuda.init()
        with torch.cuda.device(block.device):
            torch.cuda.current_stream().synchronize()
            handle = import_fd(fd)
            addresses.append(map_block(handle, block.device, block.size_bytes, writable=writable))
            release(handle)
    return Mapped(blocks, addresses)
