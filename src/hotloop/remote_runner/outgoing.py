# pyright: basic
"""A client's changes on their way: numbered, sent, sent again after a cut, until the agent has answered each.

Basic type checks: what protoc generates derives from untyped classes.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hotloop.remote_runner.contents import contents_of, large_contents, without
from hotloop.remote_runner.heartbeat import fail, settle
from hotloop.remote_runner.lanes import LANE, BulkLane, Flow
from hotloop.remote_runner.ordering import PathOrder
from hotloop.remote_runner.protocol import agent_pb2 as pb
from hotloop.remote_runner.protocol import codec
from hotloop.remote_runner.sending import BlockMemory, ChangedError, Content, messages
from hotloop.remote_runner.stream import LostError
from hotloop.remote_runner.told import Applied, RefusedError, ResyncError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from hotloop.changes import Changeset
    from hotloop.remote_runner.connection import Connection
    from hotloop.remote_runner.contents import SyncSource
    from hotloop.remote_runner.way import Way

SYNC_ATTEMPTS = 8
COPIED_BYTES = 16 << 10  # a changeset up to this size goes by both lanes
UNASKED_BYTES = 64 << 20  # of a first copy: each runner keeps as much free
YIELDS_S = 2.0  # bulk leaves the line free for so long after an edit: another one may follow


class Outgoing:
    """The changes of one session."""

    def __init__(self, connection: Connection, way: Way) -> None:
        """Prepare.

        Args:
            connection: What they go through; it tells this whatever concerns them.
            way: A second lane is made by it, if it has one.
        """
        self._connection = connection
        self._lane = BulkLane(way, self.answered, is_yielding=self._is_yielding) if way.num_lanes > LANE else None
        self._flow = Flow(connection.send, is_yielding=self._is_yielding)
        self._turn = asyncio.Lock()  # numbers are given, and sent, in order
        self._sync_lock = asyncio.Lock()
        self._bulk_lock = asyncio.Lock()
        self._order = PathOrder()
        self._blocks = BlockMemory()
        self._revision = 0  # the newest that is known
        self._sequence = 0  # the newest that was given
        self._synced_at = 0  # the number of the last comparison of the whole tree
        self._is_empty_there = False  # nothing needs to be asked before a first copy
        self._outbox: dict[int, _Sent] = {}  # by number: not acknowledged
        self._asked: dict[int, asyncio.Future[pb.Down]] = {}  # by number: manifests and offers
        self._offer_numbers = itertools.count(1 << 62)  # none of a changeset
        self._stream_number = 0
        self._edited_at_s = -YIELDS_S
        self._source: SyncSource | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether something was sent that the agent has yet to answer."""
        return bool(self._asked or self._outbox)

    async def sync(self, source: SyncSource) -> Applied:
        """As `AgentSession.sync`."""
        self._source = source
        return await self._sync(source)

    async def push(self, changeset: Changeset) -> Applied:
        """As `AgentSession.push`."""
        try:
            return await self._push_numbered(changeset)
        except ChangedError:
            if self._source is None:
                raise
            return await self._sync(self._source)  # it has the file as it is by now

    # --- what the connection tells

    def greeted(self, ok: pb.HelloOk, *, resumes: bool) -> None:
        """A stream is up; what is sent from now on goes through it."""
        self._revision = ok.revision
        self._sequence = max(self._sequence, ok.sequence) if resumes else ok.sequence
        self._is_empty_there = ok.is_empty
        self._stream_number += 1
        self._flow = Flow(self._connection.send, is_yielding=self._is_yielding)
        if not ok.is_empty:
            self._begin_lane()

    async def resume(self) -> None:
        """Send again what was not acknowledged."""
        async with self._turn:
            await self._flush()

    def received(self, message: pb.Down) -> None:
        """The agent wrote parts, did not take one, or answers."""
        match message.WhichOneof("body"):
            case "received":
                self._flow.received(message.received.num_bytes)
            case "refused" if not message.refused.sequence:
                self._flow.refused(message.refused)
            case _:
                self.answered(message)

    def answered(self, message: pb.Down) -> None:
        """Settle what waits for an answer. A changeset's may come by either lane."""
        kind = message.WhichOneof("body")
        sequence = getattr(message, kind).sequence if kind in {"ack", "need", "refused"} else 0
        if kind == "ack":
            message.ack.applied_at_s = self._connection.here(message.ack.applied_at_s)
        sent = self._outbox.get(sequence)
        settle(sent.answer if sent is not None else self._asked.get(sequence), message)

    def lost(self) -> None:
        """The stream ended."""
        self._flow.lost(LostError())
        if self._lane is not None:
            self._lane.end()
        fail([*self._asked.values()], LostError())

    def fail(self, error: Exception) -> None:
        """There will be no other stream."""
        self._flow.lost(error)
        fail([*(sent.answer for sent in self._outbox.values()), *self._asked.values()], error)

    async def close(self) -> None:
        """Let go of the second lane."""
        if self._lane is not None:
            await self._lane.close()

    # --- one exchange

    async def _sync(self, source: SyncSource) -> Applied:
        async with self._sync_lock:
            num_attempts, why = 0, ""
            while num_attempts < SYNC_ATTEMPTS:
                await self._connection.until_connected()
                try:
                    return await self._sync_once(source)
                except LostError:
                    continue
                except (ResyncError, ChangedError) as error:
                    num_attempts, why = num_attempts + 1, str(error)
                    if num_attempts > 1:  # not at once: what this finds is no edit of its own any more
                        source.look_again()
        if why:
            msg = f"The project could not be copied in {SYNC_ATTEMPTS} attempts: {why}"
            raise RefusedError(msg, hint="stop what writes there, here or on the runner, or ignore it")
        msg = f"The project's files changed during each of {SYNC_ATTEMPTS} attempts to copy them."
        raise RefusedError(msg, hint="stop what writes there, or ignore it")

    async def _sync_once(self, source: SyncSource) -> Applied:
        """Compare, send what is needed, and have it applied. Changesets may be applied before the last step."""
        await self._send_unasked(source)
        async with self._turn:
            entries = source.entries()
            answer = await self._ask_numbered(lambda sequence: codec.manifest_frames(sequence, entries))
            synced_at = self._sequence
        if answer.WhichOneof("body") == "need":
            async with self._bulk_lock:
                await self._send_needed(answer.need, contents_of(source, entries))
            async with self._turn:
                answer = await self._ask_numbered(lambda sequence: [pb.Up(become=pb.Become(sequence=sequence))])
        applied = self._applied(answer)
        self._begin_lane()
        self._synced_at = synced_at
        self._blocks.confirm()
        return applied

    def _begin_lane(self) -> None:
        """Have the lane, if it is not there: a first copy goes without, since connecting would take time from it."""
        if self._lane is not None and not self._lane.is_begun:
            self._lane.begin(self._connection.hello)

    async def _send_unasked(self, source: SyncSource) -> None:
        """Send all contents before the manifest, once, where nothing is there: asking takes many round trips of a new line.

        Large trees are asked for: the runner may have no room for them.
        """
        is_empty, self._is_empty_there = self._is_empty_there, False
        contents = contents_of(source, source.entries()) if is_empty else []
        if contents and sum(content.put.size_bytes for content in contents) <= UNASKED_BYTES:
            async with self._bulk_lock:
                await self._send(contents, self._flow, is_waiting=False)
        else:
            self._begin_lane()

    async def _ask_numbered(self, frames_of: Callable[[int], list[pb.Up]]) -> pb.Down:
        """Ask for a change that takes the next number if it is made. Only in one's turn."""
        sequence = self._sequence + 1
        answer = await self._ask(sequence, frames_of(sequence))
        if answer.WhichOneof("body") == "ack":
            self._sequence = answer.ack.sequence
        return answer

    async def _send_needed(self, need: pb.Need, contents: Sequence[Content]) -> None:
        needed = {digest.hex() for digest in need.digests}
        here = {partial.digest: partial.size_bytes for partial in need.partials}
        wanted = [
            dataclasses.replace(content, here_bytes=here.get(content.put.digest, 0))
            for content in contents
            if content.put.digest in needed
        ]
        flow = self._lane.flow if self._lane is not None and self._lane.flow is not None else self._flow
        await self._send(wanted, flow)

    async def _send(self, contents: Sequence[Content], flow: Flow, *, is_waiting: bool = True) -> None:
        refused = await flow.carry(messages(contents, self._blocks), is_waiting=is_waiting)
        if refused is not None:
            self._blocks.clear()  # a copy may have been of what the runner does not have
            self._raise_refused(refused)

    async def _push_numbered(self, changeset: Changeset) -> Applied:
        self._begin_lane()
        large = large_contents(changeset, self._source)
        if not large:  # one with large contents leaves the line free for others, not for itself
            self._edited_at_s = time.monotonic()
        async with self._order.turn(operation.path for operation in changeset.operations):
            if large:
                await self._offer(large)
            contents = without(changeset.contents, large)
            async with self._turn:
                await self._connection.until_connected()
                self._sequence = sequence = self._sequence + 1
                numbered = dataclasses.replace(changeset, sequence=sequence, contents=contents)
                future = await self._send_changeset(numbered)
        try:
            applied = self._applied(await future)
        except ResyncError as error:
            if self._source is None:
                raise RefusedError(str(error)) from error
            if self._synced_at >= sequence:
                return Applied(self._revision, time.monotonic())
            return await self._sync(self._source)
        finally:
            self._outbox.pop(sequence, None)
        if large:
            self._blocks.confirm()
        return applied

    async def _send_changeset(self, changeset: Changeset) -> asyncio.Future[pb.Down]:
        """Send a changeset after those before it; gives what will be its answer. Only in one's turn."""
        future = asyncio.get_running_loop().create_future()
        self._outbox[changeset.sequence] = _Sent(codec.encode_changeset(changeset), future)
        try:
            await self._flush()
        except asyncio.CancelledError:
            del self._outbox[changeset.sequence]  # nobody waits for it any more
            raise
        return future

    async def _offer(self, contents: Sequence[Content]) -> None:
        """Ask which large contents the runner lacks, and send those, however often the connection is lost meanwhile."""
        num_attempts = 0
        while True:
            await self._connection.until_connected()
            try:
                async with self._bulk_lock:  # another changeset may bring, or use up, the same content
                    await self._offer_once(contents)
            except LostError:
                continue
            except ResyncError as error:
                num_attempts += 1
                if num_attempts == SYNC_ATTEMPTS:
                    raise RefusedError(str(error), hint="save the file again") from error
                continue
            return

    async def _offer_once(self, contents: Sequence[Content]) -> None:
        number = next(self._offer_numbers)
        digests = [bytes.fromhex(content.put.digest) for content in contents]
        answer = await self._ask(number, [pb.Up(offer=pb.Offer(sequence=number, digests=digests))])
        await self._send_needed(answer.need, contents)

    async def _flush(self) -> None:
        """Send what the present stream has not carried yet, oldest first. Only in one's turn."""
        for message in list(self._outbox.values()):
            if message.stream == self._stream_number:
                continue
            number = self._stream_number
            try:
                sending = self._connection.send(message.frame)
                if self._lane is not None and message.frame.ByteSize() <= COPIED_BYTES:
                    self._lane.copy(message.frame)
                await sending
            except LostError:
                return
            message.stream = number  # not before: whoever sends may be cancelled, and it be another's

    def _is_yielding(self) -> bool:
        return bool(self._outbox) or time.monotonic() - self._edited_at_s < YIELDS_S

    def _applied(self, answer: pb.Down) -> Applied:
        if answer.WhichOneof("body") == "refused":
            self._raise_refused(answer.refused)
        ack = answer.ack
        self._revision = max(ack.revision, self._revision)
        return Applied(ack.revision, ack.applied_at_s)

    @staticmethod
    def _raise_refused(refused: pb.Refused) -> None:
        if refused.reason in (pb.Refused.GAP, pb.Refused.CONTENT):
            raise ResyncError(refused.message)
        raise RefusedError(refused.message, hint=refused.hint, path=refused.path)

    async def _ask(self, sequence: int, frames: Iterable[pb.Up]) -> pb.Down:
        """Send frames and wait for the one answer."""
        future = self._asked[sequence] = asyncio.get_running_loop().create_future()
        try:
            for frame in frames:
                await self._connection.send(frame)
                if future.done():
                    break
            return await future
        finally:
            self._asked.pop(sequence, None)


@dataclass(slots=True)
class _Sent:
    """A changeset that is not acknowledged; ``stream`` is the number of the newest stream that carried it."""

    frame: pb.Up
    answer: asyncio.Future[pb.Down]
    stream: int = 0
