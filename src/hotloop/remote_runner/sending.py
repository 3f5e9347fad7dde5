# pyright: basic
"""Cutting contents into messages: small ones together, large ones in parts, of which the runner copies what it has.

Basic type checks: what protoc generates derives from untyped classes.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import TYPE_CHECKING

from hotloop.changes import WHOLE_BYTES
from hotloop.frozen import frozen
from hotloop.remote_runner.protocol import agent_pb2 as pb
from hotloop.remote_runner.protocol import codec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hotloop.changes import Put

PARTS_PER_MESSAGE = 500
PART_OVERHEAD_BYTES = 100
COPIED_BLOCKS = 16  # in one part

ReadBlock = Callable[[int, int], "bytes | memoryview | None"]


class ChangedError(Exception):
    """A file is not what it was when its digest was made."""


@frozen
class Content:
    """A content to send.

    Attributes:
        put: A file that has it.
        read: Gives a number of bytes from an offset; None if the file is another by now.
        here_bytes: How much of it the runner has.
    """

    put: Put
    read: ReadBlock
    here_bytes: int = 0


@frozen
class _Blocks:
    digest: str
    hashes: tuple[bytes, ...]


class BlockMemory:
    """The hashes of the blocks of large files as they were last sent: what did not change need not be sent again."""

    def __init__(self) -> None:
        self._by_path: dict[str, _Blocks] = {}
        self._new: dict[str, _Blocks] = {}

    def base(self, put: Put) -> _Blocks | None:
        """What the runner had at a path, if that is known."""
        return self._by_path.get(put.path)

    def note(self, put: Put, hashes: list[bytes]) -> None:
        """Keep the hashes of what is being sent; they count after `confirm`."""
        self._new[put.path] = _Blocks(put.digest, tuple(hashes))

    def confirm(self) -> None:
        """What was noted is in the workspace."""
        self._by_path.update(self._new)
        self._new.clear()

    def clear(self) -> None:
        """Forget all: the runner does not have it."""
        self._by_path.clear()
        self._new.clear()


def messages(contents: Iterable[Content], memory: BlockMemory) -> Iterator[pb.Up]:
    """Make the messages of contents, reading each file only when its turn comes.

    Raises:
        ChangedError: A file is another by now.
    """
    waiting: list[pb.Part] = []
    size_bytes = 0
    for content in contents:
        for part in _parts(content, memory):
            part_bytes = len(part.data) + PART_OVERHEAD_BYTES
            if waiting and (size_bytes + part_bytes > codec.PART_BYTES or len(waiting) >= PARTS_PER_MESSAGE):
                yield codec.pack_parts(waiting)
                waiting, size_bytes = [], 0
            waiting.append(part)
            size_bytes += part_bytes
    if waiting:
        yield codec.pack_parts(waiting)


def _parts(content: Content, memory: BlockMemory) -> Iterator[pb.Part]:
    put = content.put
    if put.size_bytes > WHOLE_BYTES:
        yield from _blocks(content, memory)
        return
    start = min(content.here_bytes, max(put.size_bytes - 1, 0))
    for offset in range(start, max(put.size_bytes, 1), codec.PART_BYTES):
        data = _read(content, offset, min(codec.PART_BYTES, put.size_bytes - offset))
        yield codec.part(put.digest, offset, put.size_bytes, data)


def _blocks(content: Content, memory: BlockMemory) -> Iterator[pb.Part]:
    """Send a large file; a run of blocks that are as they were is one part that names them."""
    put, base = content.put, memory.base(content.put)
    hashes: list[bytes] = []
    run_bytes = 0
    start = content.here_bytes - content.here_bytes % codec.BLOCK_BYTES
    for offset in range(start, put.size_bytes, codec.BLOCK_BYTES):
        data = _read(content, offset, min(codec.BLOCK_BYTES, put.size_bytes - offset))
        hashes.append(blake2b(data, digest_size=16).digest())
        number = offset // codec.BLOCK_BYTES
        is_same = base is not None and number < len(base.hashes) and base.hashes[number] == hashes[-1]
        if run_bytes and base is not None and (not is_same or run_bytes >= COPIED_BLOCKS * codec.BLOCK_BYTES):
            yield codec.copied_part(put.digest, offset - run_bytes, put.size_bytes, base.digest, run_bytes)
            run_bytes = 0
        if is_same:
            run_bytes += len(data)
        else:
            yield codec.part(put.digest, offset, put.size_bytes, data)
    if run_bytes and base is not None:
        yield codec.copied_part(put.digest, put.size_bytes - run_bytes, put.size_bytes, base.digest, run_bytes)
    if not start:
        memory.note(put, hashes)


def _read(content: Content, offset: int, num_bytes: int) -> bytes | memoryview:
    data = content.read(offset, num_bytes)
    if data is None or len(data) != num_bytes:
        raise ChangedError
    return data
