"""What a client of the HTTP front may do: every limit has its name and its default here, and nowhere else."""

from __future__ import annotations

from hotloop.frozen import frozen


@frozen
class Limits:
    """What a client may do.

    Attributes:
        max_head_bytes: Request line and headers together; above it 431. Also what may surround a body in chunks, beside
            what small chunks need.
        max_body_bytes: Above it 413.
        max_pipelined: Requests that are parsed ahead; the socket is not read while more wait.
        max_pipelined_bytes: Their bodies together; the socket is not read while they are more.
        max_connections: Beyond it whoever has owed a request the longest is cut off for whoever comes; if every one
            has an answer under way, the newcomer gets 503.
        head_timeout_s: From a request's first byte to the end of its headers; then 408.
        body_timeout_s: The longest pause within a body, and how long a body may be slower than
            `min_body_bytes_by_s`; then 408.
        min_body_bytes_by_s: What a client has to send of a body at the least, on average.
        idle_timeout_s: How long a connection may be open without a request.
        write_timeout_s: How long a client may take nothing of an answer, and how long it may take less of it than
            `min_taken_bytes_by_s`; then it is cut off.
        min_taken_bytes_by_s: What a client has to take of an answer that waits for it at the least, on average.
        linger_s: How long a refused client's bytes are thrown away, so that it can read why.
    """

    max_head_bytes: int = 64 * 1024
    max_body_bytes: int = 64 * 1024 * 1024
    max_pipelined: int = 16
    max_pipelined_bytes: int = 1024 * 1024
    max_connections: int = 4096
    head_timeout_s: float = 15.0
    body_timeout_s: float = 60.0
    min_body_bytes_by_s: int = 256
    idle_timeout_s: float = 75.0
    write_timeout_s: float = 60.0
    min_taken_bytes_by_s: int = 256
    linger_s: float = 2.0

    @property
    def sweep_every_s(self) -> float:
        """How often to look for clients that take too long."""
        timeouts_s = (self.head_timeout_s, self.body_timeout_s, self.idle_timeout_s, self.write_timeout_s)
        return min(1.0, min(timeouts_s) / 2)


class RefusedError(Exception):
    """A request that is not handed on: the answer to it, then the connection is closed."""

    def __init__(self, status: int, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.hint = hint
