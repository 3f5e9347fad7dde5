# pyright: basic
"""What a client says of its tree, and what it is answered: changesets, whole manifests, contents in parts.

Basic type checks: grpc has no types, and what protoc generates derives from untyped classes.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
from typing import TYPE_CHECKING, Any

from hotloop.changes import content_digest
from hotloop.errors import HotloopError, WorkspaceError
from hotloop.remote_runner.outcome import Applied, ContentMissingError, GapError
from hotloop.remote_runner.protocol import agent_pb2 as pb
from hotloop.remote_runner.protocol import codec
from hotloop.remote_runner.stage import MismatchError
from hotloop.remote_runner.threads import finished
from hotloop.remote_runner.tree import Tree

if TYPE_CHECKING:
    from hotloop.remote_runner.sessions import Session
    from hotloop.remote_runner.workspace import Workspace

MAX_ENTRIES = 1_000_000


class TreeSync:
    """One connection's. Whoever calls holds the session's lock."""

    def __init__(self) -> None:
        self._target: list[Any] = []
        self._pending_tree: Tree | None = None  # the last manifest's, with the changesets since

    def changeset(self, session: Session, message: pb.Changeset) -> pb.Down:
        """Apply a changeset, or say again what came of it: a copy of it may have come by the other lane."""
        if message.sequence in session.answers:
            return session.answers[message.sequence]
        try:
            changeset = codec.decode_changeset(message)
            answer = _acknowledged(session.apply(changeset))
            if self._pending_tree is not None:
                self._pending_tree.apply(changeset.operations)
        except (HotloopError, OSError) as error:
            answer = _refused(message.sequence, error)
            if answer.refused.reason != pb.Refused.CHANGESET:
                return answer  # it may come again, when what it lacks is there
            with contextlib.suppress(OSError):  # a full disk: the next one finds a gap, and the trees are compared
                session.workspace.refuse(message.sequence)
        session.keep_answer(message.sequence, answer)
        return answer

    async def manifest(self, session: Session, manifest: pb.Manifest) -> pb.Down | None:
        """Take a part of a manifest; after the last one, say what it needs, or become it."""
        try:
            entries = codec.manifest_entries(manifest)
            if len(self._target) + len(entries) > MAX_ENTRIES:
                msg = f"The project has more than {MAX_ENTRIES:,} files."
                raise WorkspaceError(msg, hint="list what the app does not need in .hotloopignore")
            self._target += entries
            if not manifest.is_last:
                return None
            self._pending_tree = target = Tree(self._target)
            needed = sorted(await finished(asyncio.to_thread(session.workspace.missing, target)))
        except (HotloopError, OSError) as error:
            self._target, self._pending_tree = [], None
            return _refused(manifest.sequence, error)
        self._target = []
        return _need(session, manifest.sequence, needed) if needed else await self.become(session, manifest.sequence)

    async def become(self, session: Session, sequence: int) -> pb.Down:
        """Make the tree equal to the manifest, now that what it needed is here."""
        try:
            target, self._pending_tree = self._pending_tree, None
            if target is None:
                raise ContentMissingError("There was no whole Manifest before.")  # noqa: EM101
            return _acknowledged(await session.become(sequence, target))
        except (HotloopError, OSError) as error:
            return _refused(sequence, error)


def offered(session: Session, offer: pb.Offer) -> pb.Down:
    """Say which of the contents that a client could send are not here."""
    return _need(session, offer.sequence, session.workspace.lacks(digest.hex() for digest in offer.digests))


class Received:
    """How much of the parts on a stream is written."""

    def __init__(self) -> None:
        self._num_bytes = 0

    def count(self, parts: pb.Parts) -> pb.Down:
        """Note a message, and say so."""
        self._num_bytes += parts.ByteSize()
        return pb.Down(received=pb.Received(num_bytes=self._num_bytes))


async def take_parts(session: Session, message: pb.Parts, received: Received) -> list[pb.Down]:
    """Write parts; gives what is to be said: first what is refused, then how much came."""
    said: list[pb.Down] = []
    try:
        await asyncio.to_thread(_write_parts, session.workspace, message)
    except (HotloopError, OSError) as error:
        said.append(_refused(0, error))
    return [*said, received.count(message)]


def _write_parts(workspace: Workspace, message: pb.Parts) -> None:
    for part in codec.unpack_parts(message):
        data = part.data
        if part.HasField("copy"):
            data = workspace.read_at(part.copy.base.hex(), part.copy.offset, part.copy.size_bytes)
        digest = part.digest.hex() or content_digest(data)
        workspace.stage.add_part(digest, part.offset, part.size_bytes, data)


def _acknowledged(applied: Applied) -> pb.Down:
    ack = pb.Ack(sequence=applied.sequence, revision=applied.revision, applied_at_s=applied.applied_at_s)
    return pb.Down(ack=ack)


def _refused(sequence: int, error: HotloopError | OSError) -> pb.Down:
    reason = pb.Refused.CHANGESET
    if isinstance(error, GapError):
        reason = pb.Refused.GAP
    elif isinstance(error, ContentMissingError | MismatchError):
        reason = pb.Refused.CONTENT
    if isinstance(error, OSError):
        error = _translated(error)
    path = getattr(error, "path", "")
    refused = pb.Refused(reason=reason, message=str(error), hint=error.hint, sequence=sequence, path=path)
    return pb.Down(refused=refused)


def _translated(error: OSError) -> HotloopError:
    place = f" at {error.filename}" if error.filename else ""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        msg = f"The runner's disk is full{place}: the save was not applied."
        return WorkspaceError(msg, hint="free some space there; what was saved goes with the next save")
    msg = f"The runner can't write its workspace{place}: {error.strerror or error}."
    return WorkspaceError(msg, hint="look at the runner's disk and permissions")


def _need(session: Session, sequence: int, digests: list[str]) -> pb.Down:
    here = session.workspace.stage.partials()
    partials = [pb.Partial(digest=digest, size_bytes=here[digest]) for digest in digests if digest in here]
    need = pb.Need(sequence=sequence, digests=[bytes.fromhex(digest) for digest in digests], partials=partials)
    return pb.Down(need=need)
