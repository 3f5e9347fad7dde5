# pyright: basic
# The arguments are the user's.
"""Requests that came ahead of their calls: read while nothing else is to do, so that the front knows their sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hotloop.gpu_runtime.user_env.answers import Answer, item_of
from hotloop.gpu_runtime.user_env.served import Entry, Served
from hotloop.gpu_runtime.user_env.wire import Message

KINDS = frozenset({"stage", "drop"})


class Staging:
    """Keeps what came ahead until its call names it, or the front says that it is not wanted any more.

    Args:
        endpoints: By name.
        send: Sends a frame to the front.

    Attributes:
        is_used: Whether anything ever comes ahead: for endpoints whose requests only the worker can measure.
    """

    def __init__(self, endpoints: Mapping[str, Served], send: Callable[[dict[str, Any], bytes], None]) -> None:
        self._endpoints = endpoints
        self._send = send
        self._read: dict[int, Entry | Answer] = {}
        self.is_used = any(served.has_key for served in endpoints.values())

    def __len__(self) -> int:
        return len(self._read)

    def take_in(self, message: Message) -> None:
        """Take in a frame of one of `KINDS`."""
        if message.kind == "drop":
            for request_id in message.header["ids"]:
                self._read.pop(request_id, None)
            return
        served = self._endpoints[message.header["endpoint"]]
        offset = 0
        for item in message.header["items"]:
            body = message.payload[offset : offset + item["size"]]
            offset += item["size"]
            self._read[item["id"]] = served.read(item, body)
        self._tell([item["id"] for item in message.header["items"]])

    def pop(self, request_id: int) -> Entry | Answer:
        """Give a request that its call names."""
        return self._read.pop(request_id)

    def _tell(self, ids: list[int]) -> None:
        read = [(request_id, self._read[request_id]) for request_id in ids]
        answers = [(request_id, entry) for request_id, entry in read if isinstance(entry, Answer)]
        header = {
            "kind": "staged",
            "sizes": [[request_id, entry.size] for request_id, entry in read if isinstance(entry, Entry)],
            "items": [item_of(request_id, answer) for request_id, answer in answers],
        }
        self._send(header, b"".join(answer.body for _, answer in answers))
