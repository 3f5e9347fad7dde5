"""Requests that were pinned: sent again after every reload, and their answers compared."""

from __future__ import annotations

import base64
import time
from collections.abc import AsyncIterator
from typing import Any

from hotloop import events
from hotloop.gpu_runtime.dispatch import Dispatcher

MAX_OUTPUT_CHARACTERS = 200_000


class Pins:
    """The pinned requests of one app, by name."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._requests: dict[str, dict[str, Any]] = {}

    def __len__(self) -> int:
        return len(self._requests)

    def add(self, header: dict[str, Any]) -> dict[str, Any] | None:
        """Pin a request: the one in the header, or the last one that came in.

        Returns:
            The request as it can be pinned again: name, method, path, headers, body in base64. None: there was none.
        """
        request: dict[str, Any] | None = header.get("request")
        if request is None:
            last = self._dispatcher.last_request
            if last is None:
                return None
            request = {
                "name": header.get("name") or f"{last.method} {last.path}",
                "method": last.method,
                "path": last.path,
                "headers": last.headers,
                "body": base64.b64encode(last.body).decode(),
            }
        self._requests[request["name"]] = request
        return request

    def remove(self, name: str) -> None:
        """Forget a pinned request."""
        self._requests.pop(name, None)

    async def try_all(self, revision: int, generation: int, *, only: str = "") -> AsyncIterator[events.ProbeFinished]:
        """Send every pinned request again, one after the other, or the one of a name."""
        for name, request in list(self._requests.items()):
            if only not in {"", name}:
                continue
            answer = await self._dispatcher.submit(
                request["method"], request["path"], request["headers"], base64.b64decode(request["body"])
            )
            text = answer.body.decode("utf-8", "replace")[:MAX_OUTPUT_CHARACTERS]
            is_ok = answer.status < 400
            yield events.ProbeFinished(
                at_s=time.monotonic(),
                revision=revision,
                generation=answer.generation or generation,
                name=name,
                source="request",
                is_ok=is_ok,
                output=text if is_ok else f"{answer.status}: {text}",
                took_s=answer.took_s,
                compute_s=answer.compute_s,
            )
