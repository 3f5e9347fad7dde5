"""The records that dispatch works on: a request on its way, a call of a worker, a generation, an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from hotloop.frozen import frozen
from hotloop.gpu_runtime.answers import error_body, json_fields
from hotloop.gpu_runtime.endpoints import EndpointSpec
from hotloop.gpu_runtime.exchange import Headers, Likeness
from hotloop.gpu_runtime.manners import Asked
from hotloop.gpu_runtime.routes import Routes
from hotloop.gpu_runtime.scheduler.lane import Batch
from hotloop.gpu_runtime.scheduler.waiting import ORDINARY, Wants
from hotloop.gpu_runtime.workers import Send, Worker

_NOTHING: Mapping[str, str] = {}


class Exchange(Protocol):
    """A request and the way to answer it: a client's by HTTP (`exchange.Request`) or gRPC, or one from inside.

    Attributes:
        on_disconnect: Called once if the client goes before the answer is complete.
    """

    on_disconnect: Callable[[], None] | None

    @property
    def asked(self) -> Asked | None:
        """What the headers ask of the queue, once somebody found that out."""
        ...

    @asked.setter
    def asked(self, asked: Asked | None) -> None: ...

    @property
    def method(self) -> str:
        """As in HTTP, in upper case."""
        ...

    @property
    def path(self) -> str:
        """Decoded, without the query."""
        ...

    @property
    def query(self) -> str:
        """As sent, without the question mark."""
        ...

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """In order; names in lower case."""
        ...

    @property
    def body(self) -> bytes | bytearray:
        """All of it."""
        ...

    @property
    def ends_with_status(self) -> bool:
        """Whether the end of a stream can still say that something went wrong."""
        ...

    @property
    def backlog_bytes(self) -> int:
        """Bytes of the answer that were not taken yet."""
        ...

    def header(self, name: bytes, default: bytes = b"") -> bytes:
        """Give the first header of that name (in lower case)."""
        ...

    def respond(self, status: int, headers: Headers = (), body: bytes | memoryview = b"", own: Headers = ()) -> None:
        """Answer at once.

        Args:
            status: As in HTTP.
            headers: The answer's, which others may have as well.
            body: All of it.
            own: Headers that hardly another answer has.
        """
        ...

    def respond_like(self, likeness: Likeness, own: tuple[bytes, bytes], body: bytes | memoryview) -> None:
        """Answer at once, as many others are answered, save one header."""
        ...

    def begin(self, status: int, headers: Headers = ()) -> None:
        """Start a streamed answer."""
        ...

    def write(self, data: bytes) -> None:
        """Send a piece of a streamed answer."""
        ...

    def finish(self, trailers: Headers = ()) -> None:
        """Complete a streamed answer.

        Args:
            trailers: What only its end knows; for those who can still send it.
        """
        ...

    def abort(self, error: bytes = b"") -> None:
        """End a streamed answer so that it shows that it is not whole.

        Args:
            error: The reason as the JSON body of an error, for those who can still tell it.
        """
        ...


@frozen
class Answer:
    """The answer to a request from inside.

    Attributes:
        status: As in HTTP.
        headers: Names in lower case.
        body: All of it, also of a stream.
        generation: Who answered; 0 for the runtime itself.
        took_s: From the submission to the end of the answer.
        compute_s: What the worker says that it took.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    generation: int
    took_s: float
    compute_s: float


@frozen
class RecordedRequest:
    """A request as it can be sent again. Of its headers only those that reach the app are kept: no credentials.

    Attributes:
        path: With the query, as for `Dispatcher.submit`.
    """

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Pending:
    """A request that is not answered yet.

    Attributes:
        id: Counts up, so that the order of identifiers is the order of arrival.
        endpoint: What it is for; None while it is held unrouted.
        call: The call that carries it; None while it waits.
        is_probe: Whether it is one of hotloop's own, which leaves no trace as a request.
        num_retries: How often a worker died under it and it was queued again.
        stream_type: The content type of its streamed answer; empty until that has begun.
        is_settled: Whether nothing more is to be told its client.
        wants: What it asks of the queue.
        like: What its worker has to know of its headers; one object for all that are alike.
        left_at_s: When it was sent to a worker.
    """

    __slots__ = (
        "arrived_at_s",
        "call",
        "compute_s",
        "endpoint",
        "exchange",
        "generation",
        "id",
        "is_probe",
        "is_settled",
        "left_at_s",
        "like",
        "num_retries",
        "status",
        "stream_type",
        "wants",
    )

    def __init__(
        self,
        request_id: int,
        exchange: Exchange,
        arrived_at_s: float,
        wants: Wants = ORDINARY,
        like: Mapping[str, str] = _NOTHING,
        *,
        is_probe: bool,
    ) -> None:
        self.id = request_id
        self.exchange = exchange
        self.arrived_at_s = arrived_at_s
        self.is_probe = is_probe
        self.endpoint: EndpointSpec | None = None
        self.call: Call | None = None
        self.generation = 0
        self.num_retries = 0
        self.stream_type = ""
        self.is_settled = False
        self.status = 0
        self.compute_s = 0.0
        self.wants = wants
        self.like = like
        self.left_at_s = arrived_at_s

    @property
    def endpoint_name(self) -> str:
        """Whose it is; empty if no endpoint's."""
        return "" if self.endpoint is None else self.endpoint.name

    @property
    def is_waiting(self) -> bool:
        """Whether it is neither answered nor with a worker."""
        return self.call is None and not self.is_settled

    def item(self) -> dict[str, Any]:
        """Describe it in a frame that has its body: what its worker has to know, of that what there is."""
        return {"id": self.id, "size": len(self.exchange.body), **self.like}

    def recorded(self) -> RecordedRequest:
        """Make what can be sent again."""
        exchange = self.exchange
        kept = {n: v for n in ("content-type", "accept") if (v := exchange.header(n.encode()).decode("latin-1"))}
        target = f"{exchange.path}?{exchange.query}" if exchange.query else exchange.path
        return RecordedRequest(exchange.method, target, kept, bytes(exchange.body))


@dataclass(slots=True)
class Call:
    """One call of a worker.

    Attributes:
        batch: What the scheduler let go; it wants it back when the call is done.
        worker: Who has it.
        items: Its requests by identifier.
        is_cancelled: Whether the worker was told that nobody waits any more.
    """

    id: int
    batch: Batch
    worker: Worker
    items: dict[int, Pending]
    is_cancelled: bool = False

    @property
    def endpoint(self) -> EndpointSpec:
        """What is called."""
        return self.batch.endpoint

    @property
    def is_unwanted(self) -> bool:
        """Whether every client is gone."""
        return all(pending.is_settled for pending in self.items.values())


@dataclass(slots=True)
class Generation:
    """The workers that run one revision: active, or finishing what they have.

    Attributes:
        workers: Those that get calls, the one that became ready first before the others.
        calls: What they were sent and have not answered, by identifier.
        headers: Names it in answers.
    """

    number: int
    revision: int
    routes: Routes
    workers: list[Worker]
    calls: dict[int, Call] = field(default_factory=dict[int, Call])
    headers: tuple[tuple[bytes, bytes], ...] = ()

    def __post_init__(self) -> None:
        self.headers = (
            (b"x-hotloop-generation", b"%d" % self.number),
            (b"x-hotloop-revision", b"%d" % self.revision),
        )

    @property
    def send(self) -> Send:
        """Sends a frame to any one of its workers."""
        return self.workers[0].send

    def dismiss(self, number: int | None) -> bool:
        """Have one worker, or all, get no more calls; False if there is none such."""
        before = len(self.workers)
        self.workers[:] = [worker for worker in self.workers if number not in {None, worker.number}]
        return len(self.workers) < before

    def take_calls(self, number: int | None, but: Collection[int] = ()) -> list[Call]:
        """Take out what one worker, or all, did not answer, save some calls by their identifiers."""
        taken = [call for call in self.calls.values() if number in {None, call.worker.number} and call.id not in but]
        for call in taken:
            del self.calls[call.id]
        return taken


class InnerExchange:
    """A request from inside: its answer goes to a future."""

    ends_with_status = True

    def __init__(self, method: str, path: str, query: str, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.body: bytes | bytearray = body
        self.on_disconnect: Callable[[], None] | None = None
        self.asked: Asked | None = None
        self.backlog_bytes = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.status = 0
        self.answer_headers: Headers = ()
        self._pieces: list[bytes] = []

    @property
    def answer_body(self) -> bytes:
        """What was answered so far."""
        return b"".join(self._pieces)

    def header(self, name: bytes, default: bytes = b"") -> bytes:
        """Give the first header of that name (in lower case)."""
        return next((value for key, value in self.headers if key == name), default)

    def respond(self, status: int, headers: Headers = (), body: bytes | memoryview = b"", own: Headers = ()) -> None:
        """Answer at once."""
        self.begin(status, (*headers, *own))
        self.write(bytes(body))
        self.finish()

    def respond_like(self, likeness: Likeness, own: tuple[bytes, bytes], body: bytes | memoryview) -> None:
        """Answer at once, as many others are answered, save one header."""
        self.respond(likeness.status, likeness.headers, body, (own,))

    def begin(self, status: int, headers: Headers = ()) -> None:
        """Start a streamed answer."""
        self.status = status
        self.answer_headers = headers

    def write(self, data: bytes) -> None:
        """Add a piece."""
        self._pieces.append(data)

    def finish(self, trailers: Headers = ()) -> None:
        """Complete the answer."""
        del trailers
        if not self.done.done():
            self.done.set_result(None)

    def abort(self, error: bytes = b"") -> None:
        """Complete the answer as one that broke off."""
        if not self._pieces:
            self.answer_headers = json_fields()
            self.write(error or error_body("StreamBroken", "The answer broke off."))
        self.status = 502
        self.finish()
