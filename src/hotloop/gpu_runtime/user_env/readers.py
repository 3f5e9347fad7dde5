# pyright: basic
# What a generator yields is the user's.
"""Who reads what a generator yields: one request, or the requests of a batch. Each one's stream ends once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from hotloop.gpu_runtime.user_env.answers import CANCELLED, Answer, has_length, not_encodable
from hotloop.gpu_runtime.user_env.app import AppError, EndpointSpec, at
from hotloop.gpu_runtime.user_env.batch import DONE
from hotloop.gpu_runtime.user_env.jsonable import NotEncodable
from hotloop.gpu_runtime.user_env.opened import Opened
from hotloop.gpu_runtime.user_env.outbox import Outbox
from hotloop.gpu_runtime.user_env.streams import StreamWriter

Failure = Callable[[BaseException], Answer]

_ADVICE = (
    "yield a list with one entry a request, or a dict of some, {index: item}; hotloop.DONE as an entry ends that one"
)


@dataclass(slots=True)
class _Reader:
    """One request and how its stream is written."""

    item: dict[str, Any]
    writer: StreamWriter | None = None


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
        self._open = {index: _Reader(call.items[position]) for index, position in enumerate(positions)}
        self._positions = positions
        self._taken_away: set[int] = set()
        self._only = self._open[0] if call.endpoint.spec.batch is None else None

    @property
    def are_open(self) -> bool:
        """Whether someone still reads."""
        return bool(self._open)

    def taken_away(self) -> frozenset[int]:
        """Give the places, in the generator's lists, of those whose clients went since this was asked last."""
        taken, self._taken_away = frozenset(self._taken_away), set()
        return taken

    # --- what is yielded ----------------------------------------------------------------------------------------

    def take(self, value: Any) -> bool:
        """Hand out what was yielded; whether some of it was sent at once.

        Raises:
            AppError: It says not what is whose, or can't be written.
        """
        if self._only is not None:
            was_sent = self._put(self._only, value)
        else:
            was_sent = self._take_each(_entries(self._call.endpoint.spec, self._count, value))
        self.have_begun = True
        return was_sent

    def _take_each(self, entries: Iterable[tuple[int, Any]]) -> bool:
        was_sent = False
        for index, item in entries:
            reader = self._open.get(index)
            if reader is None:
                continue
            if item is DONE:
                self._end_well(index)
                was_sent = True
            else:
                was_sent |= self._put(reader, item)
        return was_sent

    def _put(self, reader: _Reader, value: Any) -> bool:
        writer, more = reader.writer, {}
        if writer is None:
            writer = StreamWriter(reader.item.get("accept") or "")
            more = {"type": writer.start(value), "status": 200}
        try:
            piece = writer.write(value)
        except NotEncodable as error:
            raise not_encodable(self._call.endpoint.spec, error) from error
        reader.writer = writer
        return self._outbox.put(self._call.id, reader.item["id"], piece, has_bounds=writer.has_bounds, **more)

    # --- how it ends --------------------------------------------------------------------------------------------

    def leave(self, gone: set[int]) -> None:
        """End the streams of the requests whose clients went while others read on."""
        if not gone:
            return
        for index in [index for index, reader in self._open.items() if reader.item["id"] in gone]:
            self._taken_away.add(index)
            self._end(self._open.pop(index), CANCELLED.error)

    def finish(self) -> None:
        """End all streams that are open, as the generator ended."""
        for index in list(self._open):
            self._end_well(index)

    def cancel(self) -> None:
        """End all streams: nobody reads them."""
        while self._open:
            self._end(self._open.popitem()[1], CANCELLED.error)

    def refuse(self, answers: dict[int, Answer]) -> None:
        """Answer requests that the generator never gets."""
        for index, position in enumerate(self._positions):
            self._end_badly(self._open.pop(index), answers[position])

    def fail(self, error: BaseException) -> None:
        """End all streams with what was raised: as a response of its own where nothing was sent yet."""
        if not self._open:
            self._failure(error)  # nobody is left to be told; the log is
            return
        answer = self._failure(error)
        while self._open:
            self._end_badly(self._open.pop(next(iter(self._open))), answer)

    def _end_well(self, index: int) -> None:
        reader = self._open.pop(index)
        if reader.writer is None:
            writer = StreamWriter(reader.item.get("accept") or "")
            self._outbox.put(self._call.id, reader.item["id"], b"", type=writer.start(None), status=200)
        self._end(reader)

    def _end_badly(self, reader: _Reader, answer: Answer) -> None:
        call_id, item_id = self._call.id, reader.item["id"]
        if reader.writer is None:
            self._outbox.put(call_id, item_id, answer.body, type=answer.type, status=answer.status)
            self._end(reader)
            return
        last = reader.writer.write_error(answer)
        if last:
            self._outbox.put(call_id, item_id, last, has_bounds=reader.writer.has_bounds)
        self._end(reader, answer.error)

    def _end(self, reader: _Reader, error: str = "") -> None:
        self._outbox.end(self._call.id, reader.item["id"], self._call.compute_s, error)


def _entries(spec: EndpointSpec, count: int, value: Any) -> Iterable[tuple[int, Any]]:
    """Say what of a yielded value is whose."""
    if isinstance(value, dict):
        for index in value:
            if type(index) is not int or not 0 <= index < count:
                raise _misdirected(spec, f"a dict with the key {index!r:.40} for {count} requests")
        return value.items()
    if not has_length(value, count):
        is_list = not isinstance(value, str | bytes | set) and hasattr(value, "__len__")
        shown = f"{len(value)} items" if is_list else f"a {type(value).__name__}"
        raise _misdirected(spec, f"{shown} for {count} requests")
    return enumerate(value)


def _misdirected(spec: EndpointSpec, what: str) -> AppError:
    msg = f"endpoint {spec.name!r} at {at(spec.file, spec.line)} is batched and yielded {what}"
    return AppError(msg, _ADVICE, spec.file, spec.line)
