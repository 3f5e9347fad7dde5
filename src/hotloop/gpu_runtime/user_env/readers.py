# pyright: basic
# What a generator yields is the user's.
"""Who reads what a generator yields: one request, or the requests of a batch. Each one's stream ends once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from hotloop.gpu_runtime.user_env.answers import CANCELLED, Answer, entries_of, not_encodable
from hotloop.gpu_runtime.user_env.app import AppError, EndpointSpec, at
from hotloop.gpu_runtime.user_env.batch import DONE
from hotloop.gpu_runtime.user_env.jsonable import NotEncodable
from hotloop.gpu_runtime.user_env.opened import Opened
from hotloop.gpu_runtime.user_env.outbox import Channel, Outbox
from hotloop.gpu_runtime.user_env.streams import StreamWriter

Failure = Callable[[BaseException], Answer]

_ADVICE = (
    "yield a list with one entry a request, or a dict of some, {index: item}; hotloop.DONE as an entry ends that one"
)


@dataclass(slots=True)
class Reader:
    """One request, how its stream is written, and where to."""

    item: dict[str, Any]
    channel: Channel
    writer: StreamWriter | None = None

    def write(self, value: Any) -> bytes:
        """Write an item; the first one settles how, unless it can't be written."""
        if self.writer is not None:
            return self.writer.write(value)
        writer = StreamWriter(self.item.get("accept") or "")
        kind = writer.start(value)
        piece = writer.write(value)
        self._begin(writer, kind)
        return piece

    def begin_empty(self) -> None:
        """Settle how a stream without items is written."""
        writer = StreamWriter(self.item.get("accept") or "")
        self._begin(writer, writer.start(None))

    def _begin(self, writer: StreamWriter, kind: str) -> None:
        self.writer = writer
        self.channel.head = {"type": kind, "status": 200}
        self.channel.has_bounds = writer.has_bounds


class Readers:
    """The requests that one run of a generator serves.

    Args:
        call: Their call.
        positions: Which of its requests.
        outbox: Sends what is yielded.
        failure: Makes an answer of what the user's code raised.

    Attributes:
        have_begun: Whether something was yielded.
    """

    def __init__(self, call: Opened, positions: list[int], outbox: Outbox, failure: Failure) -> None:
        self.have_begun = False
        self._call = call
        self._outbox = outbox
        self._failure = failure
        self._count = len(positions)
        self._open = {index: _reader(call, position) for index, position in enumerate(positions)}
        self._positions = positions
        self._taken_away: set[int] = set()

    @property
    def are_open(self) -> bool:
        """Whether someone still reads."""
        return bool(self._open)

    @property
    def only(self) -> Reader | None:
        """The one request, unless it is a batch."""
        return self._open[0] if self._call.endpoint.spec.batch is None else None

    def taken_away(self) -> frozenset[int]:
        """Give the places, in the generator's lists, of those whose clients went since this was asked last."""
        taken, self._taken_away = frozenset(self._taken_away), set()
        return taken

    # --- what is yielded ----------------------------------------------------------------------------------------

    def take(self, value: Any, now_s: float) -> bool:
        """Hand out what was yielded; whether some of it was sent at once.

        Raises:
            AppError: It says not what is whose, or can't be written.
        """
        was_sent = has_end = False
        for index, item in _entries(self._call.endpoint.spec, self._count, value):
            reader = self._open.get(index)
            if reader is None:
                continue
            if item is DONE:
                self._end_well(self._open.pop(index))
                has_end = True
            else:
                was_sent |= self.put(reader, item, now_s)
        if has_end:
            self._outbox.flush()
        self.have_begun = True
        return was_sent or has_end

    def put(self, reader: Reader, value: Any, now_s: float) -> bool:
        """Send one request's item; whether it went at once.

        Raises:
            AppError: It can't be written.
        """
        try:
            piece = reader.write(value)
        except NotEncodable as error:
            raise not_encodable(self._call.endpoint.spec, error) from None
        self.have_begun = True
        return self._outbox.put(reader.channel, piece, now_s)

    # --- how it ends --------------------------------------------------------------------------------------------

    def leave(self, gone: AbstractSet[int]) -> None:
        """End the streams of the requests whose clients went while others read on."""
        for index in [index for index, reader in self._open.items() if reader.item["id"] in gone]:
            self._taken_away.add(index)
            self._end(self._open.pop(index), CANCELLED.error)
        self._outbox.flush()

    def finish(self) -> None:
        """End all streams that are open, as the generator ended."""
        self._end_all(self._end_well)

    def cancel(self) -> None:
        """End all streams: nobody reads them."""
        self._end_all(lambda reader: self._end(reader, CANCELLED.error))

    def refuse(self, answers: dict[int, Answer]) -> None:
        """Answer requests that the generator never gets."""
        positions = iter(self._positions)
        self._end_all(lambda reader: self._end_badly(reader, answers[next(positions)]))

    def fail(self, error: BaseException) -> None:
        """End all streams with what was raised: as a response of its own where nothing was sent yet."""
        answer = self._failure(error)  # writes it to the log also if nobody is left to be told
        self._end_all(lambda reader: self._end_badly(reader, answer))

    def _end_all(self, end: Callable[[Reader], None]) -> None:
        for reader in self._open.values():
            end(reader)
        self._open.clear()
        self._outbox.flush()

    def _end_well(self, reader: Reader) -> None:
        if reader.writer is None:
            reader.begin_empty()
        self._end(reader)

    def _end_badly(self, reader: Reader, answer: Answer) -> None:
        if reader.writer is None:
            more = {"lost_host": answer.lost_host} if answer.lost_host else {}
            reader.channel.head = {"type": answer.type, "status": answer.status, **more}
            reader.channel.pieces.append(answer.body)
            self._end(reader)
            return
        last = reader.writer.write_error(answer)
        if last:
            reader.channel.pieces.append(last)
        self._end(reader, answer.error)

    def _end(self, reader: Reader, error: str = "") -> None:
        self._outbox.end(reader.channel, self._call.compute_s, error)


def _reader(call: Opened, position: int) -> Reader:
    item = call.items[position]
    return Reader(item, Channel(call.id, item["id"]))


def _entries(spec: EndpointSpec, count: int, value: Any) -> Iterable[tuple[int, Any]]:
    """Say what of a yielded value is whose."""
    if isinstance(value, dict):
        for index in value:
            if type(index) is not int or not 0 <= index < count:
                raise _misdirected(spec, f"a dict with the key {index!r:.40} for {count} requests")
        return value.items()
    entries = entries_of(value)
    if entries is None or len(entries) != count:
        shown = f"a {type(value).__name__}" if entries is None else f"{len(entries)} items"
        raise _misdirected(spec, f"{shown} for {count} requests")
    return enumerate(entries)


def _misdirected(spec: EndpointSpec, what: str) -> AppError:
    msg = f"endpoint {spec.name!r} at {at(spec.file, spec.line)} is batched and yielded {what}"
    return AppError(msg, _ADVICE, spec.file, spec.line)
