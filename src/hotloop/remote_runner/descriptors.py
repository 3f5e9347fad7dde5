"""Reading and writing pipes and terminals without blocking the event loop."""

from __future__ import annotations

import asyncio
import errno
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

BLOCK_BYTES = 64 << 10


async def read(fd: int) -> bytes:
    """Give the next bytes of a descriptor that does not block; empty at its end."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            return os.read(fd, BLOCK_BYTES)
        except BlockingIOError:
            await _ready(fd, loop.add_reader, loop.remove_reader)
        except OSError as error:
            if error.errno != errno.EIO:  # a terminal that nobody has open any more
                raise
            return b""


async def write(fd: int, data: bytes) -> None:
    """Write all bytes to a descriptor that does not block.

    Raises:
        OSError: Nobody reads it any more.
    """
    loop = asyncio.get_running_loop()
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:
            await _ready(fd, loop.add_writer, loop.remove_writer)


async def _ready(fd: int, add: Callable[..., None], remove: Callable[[int], Any]) -> None:
    ready = asyncio.get_running_loop().create_future()
    add(fd, lambda: ready.done() or ready.set_result(None))
    try:
        await ready
    finally:
        remove(fd)
