"""A load generator: requests at a steady rate, whatever the answers take, and a record of each."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Sent:
    """One request: when it was sent, and what came back. ``status`` 0: no answer came; ``body`` says why."""

    sent_at_s: float
    done_at_s: float
    status: int
    generation: int
    body: Any


class Load:
    """Sends requests to one endpoint at a rate, open loop, from a thread of its own. Use as a context manager."""

    def __init__(self, address: str, path: str, arguments: dict[str, Any], rate: float) -> None:
        self._parts = urlsplit(address)
        body = json.dumps(arguments).encode()
        self._request = (
            f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        ).encode() + body
        self._every_s = 1 / rate
        self._stop = threading.Event()
        self.sent: list[Sent] = []
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(90)
        assert not self._thread.is_alive(), "requests without an answer after 90 s"

    async def _run(self) -> None:
        tasks: set[asyncio.Task[None]] = set()
        due = time.monotonic()
        while not self._stop.is_set():
            task = asyncio.create_task(self._one())
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            due += self._every_s
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        await asyncio.gather(*tasks)
        for _, writer in self._idle:
            writer.close()

    async def _one(self) -> None:
        sent_at_s = time.monotonic()
        try:
            if self._idle:
                reader, writer = self._idle.pop()
            else:
                reader, writer = await asyncio.open_connection(self._parts.hostname, self._parts.port)
            sent_at_s = time.monotonic()
            writer.write(self._request)
            status, headers, body = await asyncio.wait_for(_read_answer(reader), 60)
            self._idle.append((reader, writer))
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
            self.sent.append(Sent(sent_at_s, time.monotonic(), 0, 0, repr(error)))
            return
        generation = int(headers.get("x-hotloop-generation", "0"))
        self.sent.append(Sent(sent_at_s, time.monotonic(), status, generation, json.loads(body)))


async def _read_answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    return int(head[0].split()[1]), headers, await reader.readexactly(int(headers["content-length"]))
