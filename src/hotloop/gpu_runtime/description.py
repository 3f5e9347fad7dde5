"""The OpenAPI document of what serves: asked of the active worker when someone wants it, and kept for its generation."""

from __future__ import annotations

import asyncio

from hotloop.gpu_runtime import answers
from hotloop.gpu_runtime.calls import Exchange, Generation
from hotloop.gpu_runtime.user_env.wire import Message
from hotloop.gpu_runtime.workers import was_sent

WAIT_S = 10.0  # a worker answers between two calls
MAX_WAITING = 64


class Description:
    """Gives the document of the active generation.

    Args:
        wait_s: How long a request may wait for a worker that is busy.
    """

    def __init__(self, wait_s: float = WAIT_S) -> None:
        self._wait_s = wait_s
        self._generation = 0
        self._document = b""
        self._waiting: dict[int, dict[Exchange, asyncio.TimerHandle]] = {}

    def answer(self, request: Exchange, active: Generation | None) -> None:
        """Answer with the document, now or when the worker has made it."""
        if active is None:
            _refuse(request, "No generation serves yet.")
        elif self._generation == active.number:
            request.respond(200, answers.json_fields(), self._document)
        elif sum(map(len, self._waiting.values())) >= MAX_WAITING:
            _refuse(request, f"{MAX_WAITING} requests wait for the document already.")
        else:
            self._ask(request, active)

    def documented(self, generation: int, message: Message) -> None:
        """Take what a worker made, and answer all that wait for it."""
        error: str = message.header.get("error") or ""
        if not error and generation > self._generation:
            self._generation, self._document = generation, message.payload
        for request in list(self._waiting.get(generation, ())):
            self._drop(generation, request)
            if error:
                request.respond(500, answers.json_fields(), answers.error_body("NotDescribable", error))
            else:
                request.respond(200, answers.json_fields(), message.payload)

    def _ask(self, request: Exchange, active: Generation) -> None:
        number = active.number
        is_first = number not in self._waiting
        timer = asyncio.get_running_loop().call_later(self._wait_s, self._expire, number, request)
        self._waiting.setdefault(number, {})[request] = timer
        request.on_disconnect = lambda: self._drop(number, request)
        if is_first and not was_sent(active.send, {"kind": "document", "revision": active.revision}, b""):
            self._expire(number, request)

    def _expire(self, number: int, request: Exchange) -> None:
        self._drop(number, request)
        _refuse(request, f"The worker is busy: it did not answer in {self._wait_s:g} s.")

    def _drop(self, number: int, request: Exchange) -> None:
        waiting = self._waiting[number]
        waiting.pop(request).cancel()
        request.on_disconnect = None
        if not waiting:
            del self._waiting[number]


def _refuse(request: Exchange, message: str) -> None:
    body = answers.error_body("NotReady", message, "Try again in a moment.")
    request.respond(503, answers.json_fields(answers.RETRY_AFTER), body)
