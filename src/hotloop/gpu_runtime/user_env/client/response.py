"""An HTTP/1.1 answer, from bytes. Knows no socket, so both clients share it.

It reads what servers send to a client that asks for one thing after the other: a head, then a body of known length, in
chunks, or up to the end of the connection. What is malformed raises `Malformed`; nothing is guessed.
"""

from __future__ import annotations

from enum import Enum

MAX_HEAD_BYTES = 64 * 1024
MAX_LINE_BYTES = 4096  # of a chunk's size with its extensions
_BODILESS = frozenset({204, 304})


class Malformed(Exception):
    """What came is no HTTP/1.1 answer."""


class _Part(Enum):
    HEAD = "head"
    COUNTED = "counted"  # what is left of a body, or of a chunk, is known
    CHUNK_SIZE = "chunk size"
    CHUNK_END = "chunk end"
    TRAILERS = "trailers"
    UNTIL_CLOSE = "until close"
    DONE = "done"


class ResponseReader:
    """Reads one answer.

    Attributes:
        status: 0 until the head is read.
        headers: Names in lower case; of a name that comes twice, the values joined by commas.
        is_stream: Whether the body comes in pieces whose end was not known when it began.
        keeps_alive: Whether the connection can be used again once the answer is read.
    """

    __slots__ = (
        "_buffer",
        "_failure",
        "_is_chunked",
        "_left",
        "_part",
        "headers",
        "is_stream",
        "keeps_alive",
        "status",
    )

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.is_stream = False
        self.keeps_alive = False
        self._buffer = b""
        self._failure: Malformed | None = None
        self._left = 0
        self._is_chunked = False
        self._part = _Part.HEAD

    @property
    def has_head(self) -> bool:
        """Whether status and headers are known."""
        return self._part is not _Part.HEAD

    @property
    def is_done(self) -> bool:
        """Whether the answer is complete."""
        return self._part is _Part.DONE

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes from the connection and give the pieces of the body in them; `check` says if they are all.

        Raises:
            Malformed: It is no answer.
        """
        self._buffer = self._buffer + data if self._buffer else data
        pieces: list[bytes] = []
        try:
            while self._step(pieces):
                pass
        except Malformed as error:
            if not pieces:
                raise
            self._failure = error
        return pieces

    def check(self) -> None:
        """See whether the answer can go on.

        Raises:
            Malformed: It can't: it was malformed behind the pieces given last.
        """
        if self._failure is not None:
            raise self._failure

    def end(self) -> None:
        """Take note that the other side closed the connection.

        Raises:
            Malformed: The answer is not complete.
        """
        if self._part is _Part.UNTIL_CLOSE:
            self._part = _Part.DONE
        elif self._part is not _Part.DONE:
            msg = "the connection was closed " + ("within the answer" if self.has_head else "before an answer came")
            raise Malformed(msg)

    def _step(self, pieces: list[bytes]) -> bool:
        """Read one more part; False if there are not enough bytes."""
        part = self._part
        if part is _Part.HEAD:
            return self._read_head()
        if part is _Part.COUNTED:
            return self._read_counted(pieces)
        if part is _Part.UNTIL_CLOSE:
            if self._buffer:
                pieces.append(self._buffer)
                self._buffer = b""
            return False
        if part is _Part.DONE:
            if self._buffer:  # nobody asked for more
                self.keeps_alive = False
            return False
        line = self._take_line(MAX_LINE_BYTES)
        return line is not None and self._read_line(line)

    def _read_line(self, line: bytes) -> bool:
        if self._part is _Part.CHUNK_SIZE:
            self._left = _chunk_size(line)
            self._part = _Part.COUNTED if self._left else _Part.TRAILERS
        elif self._part is _Part.CHUNK_END:
            if line:
                msg = f"a chunk goes on behind its end: {line[:40]!r}"
                raise Malformed(msg)
            self._part = _Part.CHUNK_SIZE
        elif not line:
            self._part = _Part.DONE
        return True

    def _read_counted(self, pieces: list[bytes]) -> bool:
        buffer = self._buffer
        if self._left:
            if not buffer:
                return False
            piece = buffer[: self._left]
            self._buffer = buffer[self._left :]
            self._left -= len(piece)
            pieces.append(piece)
        if not self._left:
            self._part = _Part.CHUNK_END if self._is_chunked else _Part.DONE
        return True

    def _take_line(self, limit: int) -> bytes | None:
        end = self._buffer.find(b"\r\n")
        if end > limit or (end < 0 and len(self._buffer) > limit + 1):
            msg = f"a line of the answer is longer than {limit} bytes"
            raise Malformed(msg)
        if end < 0:
            return None
        line, self._buffer = self._buffer[:end], self._buffer[end + 2 :]
        return line

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end > MAX_HEAD_BYTES or (end < 0 and len(self._buffer) > MAX_HEAD_BYTES + 3):
            msg = f"the answer's headers are larger than {MAX_HEAD_BYTES} bytes"
            raise Malformed(msg)
        if end < 0:
            return False
        first, *lines = self._buffer[:end].decode("latin-1").split("\r\n")
        self._buffer = self._buffer[end + 4 :]
        version, self.status = _status_line(first)
        self.headers = _fields(lines)
        if self.status >= 200:  # 1xx comes before the answer proper
            self._frame(version)
        return True

    def _frame(self, version: str) -> None:
        length, coding = self.headers.get("content-length"), self.headers.get("transfer-encoding", "").lower()
        self.keeps_alive = version == "HTTP/1.1" and "close" not in self.headers.get("connection", "").lower()
        if self.status in _BODILESS:
            self._part = _Part.DONE
        elif coding:
            self._frame_chunks(coding, length)
        elif length is not None:
            self._left = _length(length)
            self._part = _Part.COUNTED
        else:
            self.is_stream, self.keeps_alive = True, False
            self._part = _Part.UNTIL_CLOSE

    def _frame_chunks(self, coding: str, length: str | None) -> None:
        if coding != "chunked" or length is not None:
            msg = f"the answer's body is framed as {coding!r}" + (f" and as {length} bytes" if length else "")
            raise Malformed(msg)
        self.is_stream = self._is_chunked = True
        self._part = _Part.CHUNK_SIZE


def _status_line(line: str) -> tuple[str, int]:
    version, _, rest = line.partition(" ")
    code = rest[:3]
    is_number = len(code) == 3 and code.isascii() and code.isdecimal() and rest[3:4] in {"", " "}
    if version not in {"HTTP/1.1", "HTTP/1.0"} or not is_number or int(code) < 100:
        msg = f"expected the first line of an HTTP answer, got {line[:60]!r}"
        raise Malformed(msg)
    return version, int(code)


def _fields(lines: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            msg = f"expected a header, got {line[:60]!r}"
            raise Malformed(msg)
        name, value = name.lower(), value.strip(" \t")
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def _length(text: str) -> int:
    values = {value.strip() for value in text.split(",")}
    value = values.pop()
    if values or not value.isascii() or not value.isdecimal() or len(value) > 18:
        msg = f"expected a content-length, got {text[:40]!r}"
        raise Malformed(msg)
    return int(value)


def _chunk_size(line: bytes) -> int:
    digits = line.partition(b";")[0].strip(b" \t")
    if not 0 < len(digits) <= 15 or digits.strip(b"0123456789abcdefABCDEF"):
        msg = f"expected a chunk's size, got {line[:40]!r}"
        raise Malformed(msg)
    return int(digits, 16)
