# pyright: basic
# The values are whatever the endpoints return.
"""From an answer's body to a value, and from a stream's pieces to its items. Knows no socket."""

from __future__ import annotations

import codecs
import json
from collections import deque
from collections.abc import Callable
from typing import Any

from hotloop.gpu_runtime.user_env import arrays
from hotloop.gpu_runtime.user_env.client.failure import ClientError, in_stream
from hotloop.gpu_runtime.user_env.scalars import Mismatch

Build = Callable[[Any], Any]

LINES = "application/x-ndjson"
EVENTS = "text/event-stream"


def value_of(content_type: str, body: bytes, build: Build | None = None) -> Any:
    """Read a whole answer: JSON, text, an array, else its bytes.

    Args:
        content_type: As the header says it.
        body: All of it.
        build: Makes of a JSON value what the endpoint says that it returns; None leaves it as it is.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/json":
        return _built(_parsed(body), build)
    if kind == arrays.NPY and arrays.numpy() is not None:
        return arrays.from_npy(body)
    return body.decode("utf-8", "replace") if kind.startswith("text/") else body


class Items:
    """Takes a stream's pieces and gives its items: JSON lines, server-sent events, text, or bytes as they come."""

    def __init__(self, content_type: str) -> None:
        kind = content_type.partition(";")[0].strip().lower()
        self.build: Build | None = None
        self._buffer = b""
        self._separator = {LINES: b"\n", EVENTS: b"\n\n"}.get(kind)
        self._read = self._line if kind == LINES else self._event
        self._text = codecs.getincrementaldecoder("utf-8")("replace") if kind.startswith("text/") else None
        self._ready: deque[Any] = deque()
        self._failure: BaseException | None = None

    @property
    def has_next(self) -> bool:
        """Whether an item, or an error, is there to be taken."""
        return bool(self._ready) or self._failure is not None

    def take(self) -> Any:
        """Give the next item; what went wrong comes after the items that came before it."""
        if self._ready:
            return self._ready.popleft()
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        raise IndexError

    def fail(self, failure: BaseException) -> None:
        """Take note that the stream broke off."""
        self._failure = failure

    def feed(self, piece: bytes) -> None:
        """Take a piece.

        Raises:
            ClientError: The stream says that it broke off.
        """
        if self._separator is None:
            self._add(piece if self._text is None else self._text.decode(piece))
            return
        *whole, self._buffer = (self._buffer + piece).split(self._separator)
        for part in whole:
            if part.strip():
                self._ready.append(self._read(part))

    def end(self) -> None:
        """Take note that this was all."""
        if self._separator is None:
            self._add(self._text.decode(b"", final=True) if self._text is not None else b"")
        rest, self._buffer = self._buffer, b""
        if rest.strip():
            self._ready.append(self._read(rest))

    def _add(self, item: str | bytes) -> None:
        if item:
            self._ready.append(item)

    def _line(self, line: bytes) -> Any:
        value = _parsed(line)
        if isinstance(value, dict) and _is_epitaph(value):
            raise in_stream(value["error"])
        return _built(value, self.build)

    def _event(self, event: bytes) -> Any:
        lines = event.decode("utf-8", "replace").split("\n")
        data = "\n".join(line.removeprefix("data:").removeprefix(" ") for line in lines if line.startswith("data:"))
        if "event: error" in lines:
            error = _parsed(data.encode())
            raise in_stream(error.get("error", error) if isinstance(error, dict) else error)
        return data


def _is_epitaph(value: dict[str, Any]) -> bool:
    """Whether a line is the error that ends a stream: an item of the user's may be called ``error``, too."""
    error = value.get("error")
    return isinstance(error, dict) and {"type", "message"} <= error.keys() and value.keys() <= {"error", "problem"}


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError as error:
        message = f"the answer is said to be JSON and is not: {error}"
        raise ClientError(200, "BadAnswer", message, may_have_run=True) from None


def _built(value: Any, build: Build | None) -> Any:
    if build is None:
        return value
    try:
        return build(value)
    except Mismatch as error:
        place = f" at {error.where}" if error.where else ""
        message = f"the answer is not what the endpoint says that it returns{place}: {error.message}"
        hint = "the app that the client was given and the one that is served differ"
        raise ClientError(200, "WrongResult", message, hint=hint, may_have_run=True) from None
