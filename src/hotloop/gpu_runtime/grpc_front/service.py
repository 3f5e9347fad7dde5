# pyright: basic
"""The two methods of the service: a call becomes an exchange, what is answered to it becomes messages.

Basic type checks: grpc has no types.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc

from hotloop.gpu_runtime.answers import error_body, json_fields
from hotloop.gpu_runtime.grpc_front import serving_pb2 as pb
from hotloop.gpu_runtime.grpc_front import statuses
from hotloop.gpu_runtime.grpc_front.exchange import CallExchange
from hotloop.gpu_runtime.grpc_front.metadata import headers_of, metadata_of
from hotloop.gpu_runtime.grpc_front.target import Target

if TYPE_CHECKING:
    from collections.abc import Callable

    from hotloop.gpu_runtime.calls import Exchange, Generation
    from hotloop.gpu_runtime.limits import Limits

NAME = "hotloop.serving.v1.Endpoints"
_BROKEN_STATUS = 502


class Service:
    """Answers calls.

    Args:
        on_request: Takes each request; answers it now or later. It must not block.
        active: Gives the generation that serves, None if there is none.
        limits: What a client may do.
    """

    def __init__(
        self, on_request: Callable[[Exchange], None], active: Callable[[], Generation | None], limits: Limits
    ) -> None:
        self._on_request = on_request
        self._active = active
        self._limits = limits

    def handler(self) -> Any:
        """Make the handler that a server takes."""
        call = grpc.unary_unary_rpc_method_handler(self.call, pb.Request.FromString, pb.Answer.SerializeToString)
        stream = grpc.unary_stream_rpc_method_handler(self.stream, pb.Request.FromString, pb.Piece.SerializeToString)
        return grpc.method_handlers_generic_handler(NAME, {"Call": call, "Stream": stream})

    async def call(self, request: pb.Request, context: Any) -> pb.Answer:
        """Give the whole answer in one message."""
        exchange = self._exchange(request, context)
        try:
            self._hand_on(exchange)
            body = await exchange.whole()
            await _end(exchange, context, body)
            return pb.Answer(content_type=_type_of(exchange), body=body)
        finally:
            exchange.disconnect()

    async def stream(self, request: pb.Request, context: Any) -> None:
        """Send the answer as it comes."""
        exchange = self._exchange(request, context)
        try:
            self._hand_on(exchange)
            await exchange.begun()
            if statuses.code_of(exchange.status) is grpc.StatusCode.OK:
                await self._send(exchange, context)
                await _end(exchange, context)
            else:
                await _end(exchange, context, await exchange.whole())
        finally:
            exchange.disconnect()

    def _exchange(self, request: pb.Request, context: Any) -> CallExchange:
        headers = headers_of(context.invocation_metadata() or (), context.time_remaining())
        if request.content_type:
            headers.append((b"content-type", request.content_type.encode("latin-1", "replace")))
        if request.accept:
            headers.append((b"accept", request.accept.encode("latin-1", "replace")))
        target = Target(request.endpoint, request.method, has_body=bool(request.body), active=self._active)
        return CallExchange(target, headers, request.body)

    def _hand_on(self, exchange: CallExchange) -> None:
        limit = self._limits.max_body_bytes
        if len(exchange.body) > limit:
            message = f"The request's body is larger than {limit} bytes."
            exchange.respond(413, json_fields(), error_body("BodyTooLarge", message, "Send it in parts."))
        else:
            self._on_request(exchange)

    async def _send(self, exchange: CallExchange, context: Any) -> None:
        """Send a stream's pieces, as fast as the client takes them: what came meanwhile goes together."""
        await context.send_initial_metadata(metadata_of(exchange.answer_headers))
        content_type = _type_of(exchange)
        data = await exchange.take()
        while data or content_type:
            try:
                async with asyncio.timeout(self._limits.write_timeout_s):
                    await context.write(pb.Piece(content_type=content_type, data=data))
            except TimeoutError:
                exchange.disconnect()
                text = f"The client took nothing for {self._limits.write_timeout_s:g} s."
                await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, text)
            content_type = ""
            data = await exchange.take()


def _type_of(exchange: CallExchange) -> str:
    return dict(exchange.answer_headers).get(b"content-type", b"").decode("latin-1")


async def _end(exchange: CallExchange, context: Any, body: bytes = b"") -> None:
    """Send what the end of an answer says; an error ends the call here."""
    metadata = metadata_of(exchange.answer_headers)
    status, error = (_BROKEN_STATUS, exchange.error) if exchange.error else (exchange.status, body)
    code = statuses.code_of(status)
    if code is grpc.StatusCode.OK:
        context.set_trailing_metadata(metadata)
        return
    detail = statuses.body_of(error)
    more = (("x-hotloop-error-bin", detail),) if detail else ()
    await context.abort(code, statuses.message_of(status, error), (*metadata, ("x-hotloop-status", str(status)), *more))
