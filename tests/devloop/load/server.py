"""An HTTP server whose answers a test chooses, in a thread of its own, over real sockets."""

from __future__ import annotations

import asyncio
import threading
from typing import Self

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
TIMED = (
    b"HTTP/1.1 200 OK\r\nX-Hotloop-Queue-Ms: 2.5\r\nx-hotloop-compute-ms: 4\r\nx-hotloop-batch-size: 3\r\n"
    b"content-length: 2\r\n\r\n{}"
)


class Server:
    """Answers each request with what ``answer`` gives for its number; None: close the connection.

    Attributes:
        requests: Each request's first line and body.
        num_connections: How many were opened.
    """

    def __init__(self, answer=lambda _: OK, pause_s=lambda _: 0.0) -> None:
        self._answer = answer
        self._pause_s = pause_s
        self.requests: list[tuple[bytes, bytes]] = []
        self.num_connections = 0
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join(10)

    async def _run(self) -> None:
        self._loop, self._done = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=512)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        await self._done.wait()
        server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.num_connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.partition(b"content-length: ")[2].partition(b"\r")[0] or 0)
                body = await reader.readexactly(length)
                number = len(self.requests)
                self.requests.append((head.partition(b"\r\n")[0], body))
                await asyncio.sleep(self._pause_s(number))
                answer = self._answer(number)
                if answer is None:
                    break
                writer.write(answer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        writer.close()
