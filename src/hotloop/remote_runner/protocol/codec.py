# pyright: basic
"""Turn operations into messages and back. Basic type checks: what protoc generates derives from untyped classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import zstandard
from google.protobuf.message import DecodeError

from hotloop import __version__
from hotloop.changes import Changeset, Delete, Link, MakeDirectory, Operation, Put, content_digest
from hotloop.errors import WorkspaceError
from hotloop.remote_runner.protocol import agent_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterable

PROTOCOL = 4
METHOD = "/hotloop.agent.v1.Agent/Session"
LANE_METHOD = "/hotloop.agent.v1.Agent/Lane"
SERVICE = "hotloop.agent.v1.Agent"
INLINE_BYTES = 256 << 10  # a changeset with more content than this sends it as parts, before
PART_BYTES = 256 << 10
INPUT_WINDOW_BYTES = 256 << 10  # of a command's input: what a client may send before the command took it
BLOCK_BYTES = 64 << 10  # of a large file, whose unchanged blocks the runner copies from what it has
MIN_COMPRESSED_BYTES = 512
MAX_UNPACKED_BYTES = 1 << 20
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
        WorkspaceError: It is of a kind that this version does not know.
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
            msg = f"An operation is of a kind that hotloop {__version__} does not know ({other})."
            raise WorkspaceError(msg, hint="use the same version of hotloop on both sides")


def encode_changeset(changeset: Changeset) -> pb.Up:
    """Make the message of a changeset with its contents."""
    contents = changeset.contents.values()
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
        manifest = pb.Manifest(entries=some)
        if packed := _packed(manifest.SerializeToString()):
            manifest = pb.Manifest(zstd=packed)
        manifest.sequence, manifest.is_last = sequence, is_last
        frames.append(pb.Up(manifest=manifest))
    return frames


def manifest_entries(message: pb.Manifest) -> list[Operation]:
    """Read the entries of a message.

    Raises:
        WorkspaceError: It is no message of entries, or unpacked it would be larger than any that is sent.
    """
    entries = _unpacked(pb.Manifest, message.zstd).entries if message.zstd else message.entries
    return [decode_operation(entry) for entry in entries]


def pack_parts(parts: list[pb.Part]) -> pb.Up:
    """Make one message of parts, compressed if that saves an eighth."""
    message = pb.Parts(parts=parts)
    packed = _packed(message.SerializeToString())
    return pb.Up(parts=pb.Parts(zstd=packed) if packed else message)


def unpack_parts(message: pb.Parts) -> list[pb.Part]:
    """Read the parts of a message.

    Raises:
        WorkspaceError: It is no message of parts, or unpacked it would be larger than any that is sent.
    """
    return list(_unpacked(pb.Parts, message.zstd).parts if message.zstd else message.parts)


def _packed(plain: bytes) -> bytes:
    """Compress a message; nothing if that does not save an eighth, or the other side would not unpack it."""
    if not MIN_COMPRESSED_BYTES < len(plain) <= MAX_UNPACKED_BYTES or not _is_compressible(plain):
        return b""
    packed = zstandard.ZstdCompressor(level=1).compress(plain)
    return packed if len(packed) < len(plain) * 7 // 8 else b""


def _unpacked(kind: Any, packed: bytes) -> Any:
    try:
        size_bytes = zstandard.frame_content_size(packed)
        if not 0 <= size_bytes <= MAX_UNPACKED_BYTES:
            msg = f"A compressed message unpacks to {size_bytes:,} bytes, more than {MAX_UNPACKED_BYTES:,}."
            raise WorkspaceError(msg, hint="use the same version of hotloop on both sides")
        return kind.FromString(zstandard.ZstdDecompressor().decompress(packed))
    except (zstandard.ZstdError, DecodeError) as error:
        msg = f"A compressed message can't be unpacked: {error}."
        raise WorkspaceError(msg, hint="use the same version of hotloop on both sides") from error


def _is_compressible(plain: bytes) -> bool:
    """Try a piece: weights and images cost more time than compressing them saves."""
    middle = plain[len(plain) // 2 : len(plain) // 2 + 4096]
    return len(zstandard.ZstdCompressor(level=1).compress(middle)) < len(middle) * 7 // 8


def part(digest: str, offset: int, size_bytes: int, data: bytes | memoryview) -> pb.Part:
    """Make one part of a content. A whole one needs no name: of small files that is a quarter of what is sent."""
    if len(data) == size_bytes:
        return pb.Part(size_bytes=size_bytes, data=bytes(data))
    return pb.Part(digest=bytes.fromhex(digest), offset=offset, size_bytes=size_bytes, data=bytes(data))


def copied_part(digest: str, offset: int, size_bytes: int, base: str, length_bytes: int) -> pb.Part:
    """Make a part that the runner reads, at the same place, from a file that it has."""
    copy = pb.Copy(base=bytes.fromhex(base), offset=offset, size_bytes=length_bytes)
    return pb.Part(digest=bytes.fromhex(digest), offset=offset, size_bytes=size_bytes, copy=copy)
