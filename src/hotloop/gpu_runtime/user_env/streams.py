# pyright: basic
# The items are whatever the user's generators yield.
"""How a stream's items are written: server-sent events, JSON lines, or as they are.

The client's Accept header chooses ``text/event-stream`` or ``application/x-ndjson``; otherwise the first item does: a
string makes a stream of plain text, bytes one of bytes, anything else JSON lines.
"""

from __future__ import annotations

import json
from typing import Any

from hotloop.gpu_runtime.user_env import jsonable
from hotloop.gpu_runtime.user_env.answers import Answer
from hotloop.gpu_runtime.user_env.values import OCTETS, TEXT

EVENTS = "text/event-stream"
LINES = "application/x-ndjson"
_MARKED = frozenset({EVENTS, LINES})


class StreamWriter:
    """Writes one stream's items.

    Attributes:
        type: The content type, empty until it is known.
    """

    def __init__(self, accept: str) -> None:
        self.type = next((kind for kind in (EVENTS, LINES) if kind in accept), "")

    @property
    def has_bounds(self) -> bool:
        """Whether only the pieces themselves show where one item ends."""
        return self.type not in _MARKED

    def start(self, first: Any) -> str:
        """Settle the content type by the first item, and give it as the response's header says it."""
        if not self.type:
            is_bytes = isinstance(first, bytes | bytearray | memoryview)
            self.type = OCTETS if is_bytes else TEXT if isinstance(first, str) or first is None else LINES
        return self.type if self.type in {OCTETS, LINES} else f"{self.type}; charset=utf-8"

    def write(self, item: Any) -> bytes:
        """Write one item.

        Raises:
            jsonable.NotEncodable: It has no form in JSON.
        """
        if self.type == EVENTS:
            return _event(item.encode("utf-8", "replace") if isinstance(item, str) else jsonable.dumps(item))
        if self.type == LINES:
            return jsonable.dumps(item) + b"\n"
        if isinstance(item, bytes | bytearray | memoryview) and self.type == OCTETS:
            return bytes(item)
        return item.encode("utf-8", "replace") if isinstance(item, str) else jsonable.dumps(item)

    def write_error(self, answer: Answer) -> bytes:
        """Write the error that ends a stream where its format has room for one."""
        if self.type == LINES:
            return json.dumps(json.loads(answer.body)).encode("ascii") + b"\n"
        return b"event: error\n" + _event(answer.body) if self.type == EVENTS else b""


def _event(content: bytes) -> bytes:
    if b"\n" not in content and b"\r" not in content:
        return b"data: %b\n\n" % content
    lines = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    return b"".join(b"data: " + line + b"\n" for line in lines) + b"\n"
