"""Frames between the runtime, the zygote and the workers: a JSON header, bytes, and file descriptors.

The layout is ``u32 length of all that follows | u32 length of the header | header | payload`` (big endian). The
header is one JSON object with a ``kind``; ``fds`` in it says how many descriptors came along. The standard library is
all that is needed to read one.
"""

from __future__ import annotations

import array
import json
import os
import socket
import struct
from typing import Any, NamedTuple

from hotloop.gpu_runtime.user_env.json_encoder import encoder
from hotloop.gpu_runtime.user_env.lending import KINDS, Borrower, Lender, Payload, pieces_of

MAX_FRAME_BYTES = 1 << 31
MAX_FDS = 250  # Linux passes at most 253 in one message (SCM_MAX_FD)

_ROOM_FOR_FDS = socket.CMSG_LEN(MAX_FDS * array.array("i").itemsize)
_LENGTHS = struct.Struct(">II")
_encode = encoder(ensure_ascii=False)
_decode = json.JSONDecoder().raw_decode  # a header has no white space around it, which the whole decoder looks for


class LinkClosed(EOFError):
    """The other side is gone."""


class BadFrame(ValueError):
    """The bytes are no frame."""


class Message(NamedTuple):
    """One frame: its header, its payload, the descriptors that came with it (the receiver owns and closes them).

    A payload that was lent is a view of shared memory (`lending`); frames of other kinds have bytes.
    """

    header: dict[str, Any]
    payload: Any = b""
    fds: tuple[int, ...] = ()

    @property
    def kind(self) -> str:
        """What the frame is."""
        return self.header["kind"]


def pack(header: dict[str, Any], payload: Payload = b"") -> bytes:
    """Make the bytes of one frame (its descriptors travel beside them)."""
    text = _encode(header)
    try:
        head = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half of a surrogate pair, such as from a request's text in an exception's
        head = text.encode("utf-8", "replace")
    pieces = pieces_of(payload)
    size = len(pieces[0]) if len(pieces) == 1 else sum(map(len, pieces))
    return b"".join((_LENGTHS.pack(4 + len(head) + size, len(head)), head, *pieces))


def prepare(
    header: dict[str, Any], payload: Payload, fds: tuple[int, ...], lender: Lender | None
) -> tuple[bytes, tuple[int, ...]]:
    """Make the bytes of one frame, its payload lent if it is large.

    Returns:
        The bytes, and the descriptors of a buffer to send along and to close then.
    """
    is_lendable = header["kind"] in KINDS and not fds
    loan = lender.lend(payload) if lender is not None and is_lendable else None
    if loan is None:
        return pack({**header, "fds": len(fds)} if fds else header, payload), ()
    return pack({**header, "loan": loan.header, **({"fds": len(loan.fds)} if loan.fds else {})}), loan.fds


class FrameReader:
    """Cut a byte stream into frames. Feed it what was received; it keeps what is incomplete."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._fds: list[int] = []
        self._borrower = Borrower()

    def feed(self, data: bytes, fds: tuple[int, ...] | list[int] = ()) -> list[Message]:
        """Add received bytes and descriptors.

        Returns:
            The frames that are complete now, in order.

        Raises:
            BadFrame: A length is out of range or a header is no JSON object.
        """
        buffer = data
        if self._buffer:
            self._buffer += data
            buffer = self._buffer
        self._fds += fds
        messages: list[Message] = []
        with memoryview(buffer) as view:
            start = self._cut(view, messages)
        if buffer is self._buffer:
            del self._buffer[:start]
        else:
            self._buffer += data[start:]
        return messages

    def _cut(self, view: memoryview, messages: list[Message]) -> int:
        """Add the messages that begin at the view's start; gives where the last of them ends."""
        start, size = 0, len(view)
        while size - start >= _LENGTHS.size:
            length, head_length = _LENGTHS.unpack_from(view, start)
            if length > MAX_FRAME_BYTES or head_length > length - 4:
                msg = f"a frame of {length} bytes with a header of {head_length} is out of range"
                raise BadFrame(msg)
            body = start + _LENGTHS.size + head_length
            end = start + 4 + length
            if end > size:
                break
            try:
                header = _read_header(str(view[start + _LENGTHS.size : body], "utf-8", "surrogateescape"))
            except ValueError as error:
                msg = f"a frame's header can't be read: {error}"
                raise BadFrame(msg) from error
            messages.append(self._message(header, bytes(view[body:end])))
            start = end
        return start

    def _message(self, header: dict[str, Any], payload: bytes) -> Message:
        count = header.get("fds", 0)
        fds: tuple[int, ...] = ()
        if count:
            fds, self._fds = tuple(self._fds[:count]), self._fds[count:]
        loan: dict[str, Any] | None = header.pop("loan", None) if header.get("kind") in KINDS else None
        if loan is None:
            return Message(header, payload, fds)
        header.pop("fds", None)
        return Message(header, self._borrow(loan, fds))

    def close(self) -> None:
        """Let go of what came and belongs to no whole frame."""
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()
        self._borrower.close()

    def _borrow(self, loan: dict[str, Any], fds: tuple[int, ...]) -> memoryview:
        try:
            return self._borrower.take(loan, fds)
        except (OSError, KeyError) as error:
            msg = f"a frame's payload in shared memory can't be mapped: {error!r}"
            raise BadFrame(msg) from error


def _read_header(text: str) -> dict[str, Any]:
    header, end = _decode(text)
    if end != len(text) or not isinstance(header, dict):
        msg = "it is no JSON object"
        raise ValueError(msg)
    return header  # pyright: ignore[reportUnknownVariableType]


class Link:
    """A blocking socket that carries frames. One reader and one writer at a time.

    Attributes:
        lender: Sends large payloads in shared memory; None until the other end is one that can do with it.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._reader = FrameReader()
        self._ready: list[Message] = []
        self.lender: Lender | None = None

    def fileno(self) -> int:
        """The socket's descriptor, to wait on. Check `has_message` first: a frame may have been read already."""
        return self._socket.fileno()

    @property
    def has_message(self) -> bool:
        """Whether `receive` returns without waiting for the socket."""
        return bool(self._ready)

    def send(self, header: dict[str, Any], payload: Payload = b"", fds: tuple[int, ...] = ()) -> None:
        """Send one frame, blocking until all of it is written.

        Raises:
            LinkClosed: The other side is gone.
        """
        packed, lent = prepare(header, payload, fds, self.lender)
        data = memoryview(packed)
        try:
            sent = send_with_fds(self._socket, data, (*fds, *lent)) if fds or lent else 0
            while sent < len(data):
                sent += self._socket.send(data[sent:])
        except (BrokenPipeError, ConnectionResetError) as error:
            raise LinkClosed from error
        finally:
            for fd in lent:
                os.close(fd)

    def receive(self) -> Message:
        """Wait for the next frame.

        Raises:
            LinkClosed: The other side is gone.
            BadFrame: What came is no frame.
        """
        while not self._ready:
            data, fds = receive_with_fds(self._socket)
            if not data:
                raise LinkClosed
            self._ready = self._reader.feed(data, fds)
        return self._ready.pop(0)

    def receive_some(self) -> list[Message]:
        """Read once, and give the frames that are complete; for a loop that must not wait for the rest of one.

        Raises:
            LinkClosed: The other side is gone.
            BadFrame: What came is no frame.
        """
        data, fds = receive_with_fds(self._socket)
        if not data:
            raise LinkClosed
        self._ready += self._reader.feed(data, fds)
        ready, self._ready = self._ready, []
        return ready

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
        self._reader.close()
        if self.lender is not None:
            self.lender.close()


def send_with_fds(sock: socket.socket, data: bytes | memoryview, fds: tuple[int, ...]) -> int:
    """Send bytes with descriptors attached to the first of them; returns how many bytes were taken."""
    return sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])


def receive_with_fds(sock: socket.socket, size: int = 1 << 16) -> tuple[bytes, list[int]]:
    """Receive up to ``size`` bytes and the descriptors that came with them; no bytes when the other side is gone."""
    try:
        data, ancillary, _, _ = sock.recvmsg(size, _ROOM_FOR_FDS, socket.MSG_CMSG_CLOEXEC)
    except ConnectionResetError:
        return b"", []
    if not ancillary:
        return data, []
    fds = array.array("i")
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
    return data, list(fds)


def link_from_fd(fd: int) -> Link:
    """Take over an inherited descriptor of a stream socket."""
    os.set_inheritable(fd, False)
    return Link(socket.socket(fileno=fd))
