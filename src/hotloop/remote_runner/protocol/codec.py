# pyright: basic
"""Turn operations into messages and back. Basic type checks: what protoc generates derives from untyped classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotloop.changes import Changeset, Delete, Link, MakeDirectory, Operation, Put, content_digest
from hotloop.remote_runner.protocol import agent_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterable

PROTOCOL = 3
METHOD = "/hotloop.agent.v1.Agent/Session"
SERVICE = "hotloop.agent.v1.Agent"
INLINE_BYTES = 256 << 10  # a changeset with more content than this sends it as parts, before
PART_BYTES = 256 << 10
INPUT_WINDOW_BYTES = 256 << 10  # of a command's input: what a client may send before the command took it
ENTRIES_PER_FRAME = 4000  # keeps a frame under 1 MiB with long paths
MAX_MESSAGE_BYTES = 4 << 20

CHANNEL_OPTIONS = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.enable_retries", 0),
)


def encode_operation(operation: Operation) -> pb.Operation:
    """Make the message of one operation."""
    match operation:
        case Put(path, digest, size_bytes, executable):
            put = pb.Put(path=path, digest=bytes.fromhex(digest), size_bytes=size_bytes, executable=executable)
            return pb.Operation(put=put)
        case Link(path, target):
            return pb.Operation(link=pb.Link(path=path, target=target))
        case MakeDirectory(path):
            return pb.Operation(directory=path)
        case Delete(path):
            return pb.Operation(deleted=path)


def decode_operation(message: pb.Operation) -> Operation:
    """Read one operation.

    Raises:
        ValueError: It is of a kind that this version does not know.
    """
    match message.WhichOneof("kind"):
        case "put":
            put = message.put
            return Put(put.path, put.digest.hex(), put.size_bytes, put.executable)
        case "link":
            return Link(message.link.path, message.link.target)
        case "directory":
            return MakeDirectory(message.directory)
        case "deleted":
            return Delete(message.deleted)
        case other:
            msg = f"an operation of kind {other!r}"
            raise ValueError(msg)


def encode_changeset(changeset: Changeset, *, is_inline: bool) -> pb.Up:
    """Make the message of a changeset, with its contents or without."""
    contents = changeset.contents.values() if is_inline else ()
    operations = [encode_operation(operation) for operation in changeset.operations]
    return pb.Up(changeset=pb.Changeset(sequence=changeset.sequence, operations=operations, contents=contents))


def decode_changeset(message: pb.Changeset) -> Changeset:
    """Read a changeset; its contents are named by what they are, never by what was said."""
    operations = tuple(decode_operation(item) for item in message.operations)
    contents = {content_digest(content): content for content in message.contents}
    return Changeset(message.sequence, operations, contents, 0.0)


def manifest_frames(sequence: int, entries: Iterable[Operation]) -> list[pb.Up]:
    """Cut a whole tree into messages; the last one says so."""
    encoded = [encode_operation(entry) for entry in entries]
    frames: list[pb.Up] = []
    for start in range(0, max(len(encoded), 1), ENTRIES_PER_FRAME):
        some = encoded[start : start + ENTRIES_PER_FRAME]
        is_last = start + ENTRIES_PER_FRAME >= len(encoded)
        frames.append(pb.Up(manifest=pb.Manifest(sequence=sequence, entries=some, is_last=is_last)))
    return frames


def part(digest: str, offset: int, size_bytes: int, data: bytes) -> pb.Part:
    """Make one part of a large content."""
    return pb.Part(digest=bytes.fromhex(digest), offset=offset, size_bytes=size_bytes, data=data)
