"""Which contents a changeset or a tree brings, and where each is read from. Sends nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from hotloop.changes import WHOLE_BYTES, Put
from hotloop.remote_runner.protocol import codec
from hotloop.remote_runner.sending import Content

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hotloop.changes import Changeset
    from hotloop.remote_runner.sending import ReadBlock
    from hotloop.remote_runner.tree import Entry


class SyncSource(Protocol):
    """The client's tree, for the first sync. `hotloop.devloop.index.Index` is one."""

    def entries(self) -> Sequence[Entry]:
        """All that the workspace is to hold."""
        ...

    def read(self, put: Put) -> bytes | None:
        """A file's content; None if it is another by now, in which case `entries` says so from then on."""
        ...

    def read_block(self, put: Put, offset: int, num_bytes: int) -> bytes | None:
        """A piece of a file larger than `hotloop.changes.WHOLE_BYTES`; None likewise."""
        ...

    def look_again(self) -> None:
        """Have `entries` say what changed since they were made; `read` gives what they say from then on."""
        ...


def large_contents(changeset: Changeset, source: SyncSource | None) -> list[Content]:
    """The contents to send as parts: those that are still to be read, and all others if they are too much for one message."""
    puts = {operation.digest: operation for operation in changeset.operations if isinstance(operation, Put)}
    held = changeset.contents
    are_inline = sum(map(len, held.values())) <= codec.INLINE_BYTES
    large = [] if are_inline else [Content(puts[digest], _reader(content)) for digest, content in held.items()]
    if source is not None:
        to_read = [put for put in puts.values() if put.size_bytes > WHOLE_BYTES and put.digest not in held]
        large += [content_of(source, put) for put in to_read]
    return large


def without(contents: dict[str, bytes], sent: Sequence[Content]) -> dict[str, bytes]:
    """Those of a changeset's contents that are not sent before it."""
    digests = {content.put.digest for content in sent}
    return {digest: content for digest, content in contents.items() if digest not in digests}


def _reader(content: bytes) -> ReadBlock:
    view = memoryview(content)
    return lambda offset, num_bytes: view[offset : offset + num_bytes]


def contents_of(source: SyncSource, entries: Sequence[Entry]) -> list[Content]:
    """All contents of a tree, each once."""
    by_digest = {entry.digest: entry for entry in entries if isinstance(entry, Put)}
    return [content_of(source, put) for put in by_digest.values()]


def content_of(source: SyncSource, put: Put) -> Content:
    """One content, read from the source when its turn comes: a small file once."""
    whole: list[bytes | None] = []

    def read(offset: int, num_bytes: int) -> bytes | memoryview | None:
        if put.size_bytes > WHOLE_BYTES:
            return source.read_block(put, offset, num_bytes)
        if not whole:
            whole.append(source.read(put))
        content = whole[0]
        if content is not None and offset + num_bytes >= put.size_bytes:
            whole.clear()
        return content[offset : offset + num_bytes] if content is not None else None

    return Content(put, read)
