"""A real HTTP front with a dispatcher, raw clients, and workers that answer when a test says so, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import uvloop

from hotloop import events
from hotloop.gpu_runtime import http
from hotloop.gpu_runtime.dispatch import Dispatcher
from hotloop.gpu_runtime.endpoints import EndpointSpec
from hotloop.gpu_runtime.limits import Limits
from hotloop.gpu_runtime.links import AsyncLink
from hotloop.gpu_runtime.user_env.items import columns, items
from hotloop.gpu_runtime.user_env.wire import Message

COLUMNS = {"ids", "lengths", "like"}


def run(coroutine: Coroutine[Any, Any, Any], timeout_s: float = 20) -> Any:
    return uvloop.run(asyncio.wait_for(coroutine, timeout_s))  # the loop that the runtime uses


async def until(condition: Callable[[], Any], timeout_s: float = 10) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "the condition did not come true"
        await asyncio.sleep(0.002)


class Response:
    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    def __repr__(self) -> str:
        return f"<{self.status} {self.headers} {self.body[:200]!r}>"

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def generation(self) -> int:
        return int(self.headers["x-hotloop-generation"])


class Client:
    """One raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, port: int) -> Client:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def ask(self, method: str, target: str, body: bytes = b"", *headers: str) -> None:
        lines = [f"{method} {target} HTTP/1.1", "Host: test", f"Content-Length: {len(body)}", *headers]
        self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    async def head(self) -> Response:
        text = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = text.strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return Response(int(first.split()[1]), headers, b"")

    async def chunk(self) -> bytes:
        size = int(await self.reader.readuntil(b"\r\n"), 16)
        return (await self.reader.readexactly(size + 2))[:-2]

    async def response(self, *, is_head: bool = False) -> Response:
        response = await self.head()
        if is_head or response.status in {100, 204}:
            return response
        if response.headers.get("transfer-encoding") == "chunked":
            while piece := await self.chunk():
                response.body += piece
        else:
            response.body = await self.reader.readexactly(int(response.headers["content-length"]))
        return response

    async def answer(self) -> Response:
        """The next response that answers: a slow server asks who has stopped sending whether it is there, by a 100."""
        while (response := await self.response()).status == 100:
            pass
        return response

    async def get(self, method: str, target: str, body: bytes = b"", *headers: str) -> Response:
        self.ask(method, target, body, *headers)
        return await self.response(is_head=method == "HEAD")

    async def is_closed(self) -> bool:
        with contextlib.suppress(ConnectionError):
            return await self.reader.read() == b""
        return True

    def close(self) -> None:
        self.writer.close()

    def abort(self) -> None:
        self.writer.transport.abort()


@contextlib.asynccontextmanager
async def serving(on_request: Any, limits: Limits | None = None) -> AsyncIterator[http.Server]:
    server = await http.serve("127.0.0.1", 0, on_request, limits)
    try:
        yield server
    finally:
        await server.close(timeout_s=0.02)


class FakeWorker:
    """The far end of a link: keeps the calls that came, and answers them when told to."""

    def __init__(self, front: Front, generation: int, number: int = 0) -> None:
        ours, theirs = socket.socketpair()
        self.front = front
        self.generation = generation
        self.number = number
        self.calls: list[Message] = []
        self.cancelled: list[int] = []
        self.left: list[tuple[int, int]] = []
        self.ahead: list[Message] = []
        self.dropped: list[int] = []
        self._kept: dict[int, bytes] = {}
        self.is_echoing = False
        self.compute_s = 0.25
        deliver = front.dispatcher.deliver
        self.link = AsyncLink(ours, lambda message: deliver(generation, message), self._gone)
        self._far = AsyncLink(theirs, self._received, lambda: None)
        self.num_lost: int | None = None

    def _gone(self) -> None:
        self.num_lost = self.front.dispatcher.lost(self.generation, "SIGKILL", self.number)

    def _received(self, message: Message) -> None:
        if message.kind == "cancel":
            if "item" in message.header:
                self.left.append((message.header["id"], message.header["item"]))
            else:
                self.cancelled.append(message.header["id"])
            return
        if message.kind == "stage":
            self.ahead.append(message)
            ids = [item["id"] for item in message.header["items"]]
            self._kept |= dict(zip(ids, self.bodies(message), strict=True))
            return
        if message.kind == "drop":
            self.dropped += message.header["ids"]
            return
        header = {name: value for name, value in message.header.items() if name not in COLUMNS}
        message = Message({**header, "items": items(message.header)}, message.payload)
        self.calls.append(message)
        if self.is_echoing:
            self.answer(message)

    async def call(self, number: int = 0) -> Message:
        await until(lambda: len(self.calls) > number)
        return self.calls[number]

    def bodies(self, call: Message) -> list[bytes]:
        start, bodies = 0, []
        for item in call.header["items"]:
            is_kept = item.get("is_staged")
            bodies.append(self._kept[item["id"]] if is_kept else call.payload[start : start + item["size"]])
            start += item["size"]
        return bodies

    def answer(self, call: Message, prefix: bytes = b"") -> None:
        bodies = [prefix + body for body in self.bodies(call)]
        ids = [item["id"] for item in call.header["items"]]
        answered = columns(ids, list(map(len, bodies)), {"status": 200, "type": "text/plain"})
        self._far.send(
            {"kind": "result", "id": call.header["id"], "compute_s": self.compute_s, **answered}, b"".join(bodies)
        )

    def stream(self, *parts: tuple[dict[str, Any], bytes]) -> None:
        """Send one frame with parts of streams; each part's size is added."""
        headers = [{**part, "size": len(data)} for part, data in parts]
        self._far.send({"kind": "stream", "parts": headers}, b"".join(data for _, data in parts))

    def chunk(self, call: Message, data: bytes, kind: str = "", number: int = 0, **more: Any) -> None:
        head = {"type": kind, "status": 200} if kind else {}
        self.stream(({**part_of(call, number), **head, **more}, data))

    def end(self, call: Message, error: str = "", number: int = 0) -> None:
        more = {"error": error} if error else {}
        self.stream(({**part_of(call, number), "is_end": True, "compute_s": 0.5, **more}, b""))

    def send_raw(self, header: dict[str, Any], payload: bytes = b"") -> None:
        self._far.send(header, payload)

    def die(self) -> None:
        self._far.close()

    def close(self) -> None:
        self._far.close()
        self.link.close()


def part_of(call: Message, number: int = 0) -> dict[str, Any]:
    """Name one request of a call in a part of a stream frame."""
    return {"id": call.header["id"], "item": call.header["items"][number]["id"]}


class Front:
    """A server, its dispatcher, what it emitted."""

    def __init__(self, hold_timeout_s: float, max_queued: int, weights: dict[str, float]) -> None:
        self.events: list[events.Event] = []
        self.idle: list[int] = []
        self.dispatcher = Dispatcher(time.monotonic, self.events.append, hold_timeout_s, max_queued, weights)
        self.dispatcher.on_idle = self.idle.append
        self.server: http.Server
        self._clients: list[Client] = []
        self._workers: list[FakeWorker] = []

    async def client(self) -> Client:
        client = await Client.connect(self.server.port)
        self._clients.append(client)
        return client

    async def clients(self, count: int) -> list[Client]:
        return [await self.client() for _ in range(count)]

    def worker(self, generation: int, *endpoints: EndpointSpec, is_echoing: bool = False) -> FakeWorker:
        worker = FakeWorker(self, generation)
        worker.is_echoing = is_echoing
        self._workers.append(worker)
        self.dispatcher.activate(generation, 10 * generation, endpoints, worker.link.send)
        return worker

    def join(self, generation: int, number: int, *, is_echoing: bool = False) -> FakeWorker:
        worker = FakeWorker(self, generation, number)
        worker.is_echoing = is_echoing
        self._workers.append(worker)
        self.dispatcher.join(generation, number, worker.link.send)
        return worker

    @property
    def finished(self) -> list[tuple[str, str, int, int]]:
        self.dispatcher.tell_rest()
        return [
            (event.method, event.path, event.status, event.generation)
            for event in self.events
            if isinstance(event, events.RequestFinished)
        ]

    def close(self) -> None:
        for client in self._clients:
            client.abort()
        for worker in self._workers:
            worker.close()


@contextlib.asynccontextmanager
async def fronting(
    hold_timeout_s: float = 30, max_queued: int = 1024, weights: dict[str, float] | None = None
) -> AsyncIterator[Front]:
    front = Front(hold_timeout_s, max_queued, weights or {})
    async with serving(front.dispatcher.handle) as front.server:
        try:
            yield front
        finally:
            front.close()
