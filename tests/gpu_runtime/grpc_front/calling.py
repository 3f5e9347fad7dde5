"""A real gRPC front before the dispatcher, and a real client of it; workers that answer when a test says so."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from typing import Any

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # tests start processes while channels are open

import grpc
import grpc.aio

from hotloop.gpu_runtime.grpc_front import serving_pb2 as pb
from hotloop.gpu_runtime.grpc_front.server import GrpcServer, serve
from hotloop.gpu_runtime.grpc_front.service import NAME
from hotloop.gpu_runtime.limits import Limits
from tests.gpu_runtime.front import Front, fronting

CALL = f"/{NAME}/Call"
STREAM = f"/{NAME}/Stream"
TRACES_OF_TRANSPORT = {"user-agent"}


class Failure:
    """How a call failed."""

    def __init__(self, error: grpc.RpcError) -> None:
        self.code = error.code()
        self.text = error.details()
        self.metadata = dict(error.trailing_metadata() or ())

    def __repr__(self) -> str:
        return f"<{self.code} {self.text!r} {self.metadata}>"

    @property
    def error(self) -> Any:
        return json.loads(self.metadata["x-hotloop-error-bin"])["error"]


class Client:
    """The service's client, as generated code has it."""

    def __init__(self, channel: Any) -> None:
        self.channel = channel
        self.call = channel.unary_unary(CALL, pb.Request.SerializeToString, pb.Answer.FromString)
        self.stream = channel.unary_stream(STREAM, pb.Request.SerializeToString, pb.Piece.FromString)

    def ask(self, endpoint: str, body: bytes = b"", metadata: Any = None, timeout: float | None = None, **more: Any):
        return self.call(pb.Request(endpoint=endpoint, body=body, **more), metadata=metadata, timeout=timeout)

    def listen(self, endpoint: str, body: bytes = b"", metadata: Any = None, timeout: float | None = None, **more: Any):
        return self.stream(pb.Request(endpoint=endpoint, body=body, **more), metadata=metadata, timeout=timeout)


async def failure_of(call: Any) -> Failure:
    """Await a call that fails."""
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        return Failure(error)
    raise AssertionError(answer)


async def pieces_of(call: Any) -> tuple[list[pb.Piece], Failure | None]:
    """Read a stream to its end."""
    pieces: list[pb.Piece] = []
    try:
        while (piece := await call.read()) is not grpc.aio.EOF:
            pieces.append(piece)
    except grpc.aio.AioRpcError as error:
        return pieces, Failure(error)
    return pieces, None


def joined(pieces: list[pb.Piece]) -> bytes:
    return b"".join(piece.data for piece in pieces)


@contextlib.asynccontextmanager
async def calling(limits: Limits | None = None, **options: Any) -> AsyncIterator[tuple[Front, Client, GrpcServer]]:
    async with fronting(**options) as front:
        dispatcher = front.dispatcher
        server = await serve("127.0.0.1", 0, dispatcher.handle, lambda: dispatcher.active, limits)
        try:
            async with grpc.aio.insecure_channel(server.address, [("grpc.max_receive_message_length", -1)]) as channel:
                yield front, Client(channel), server
        finally:
            dispatcher.stop()
            await asyncio.wait_for(server.close(timeout_s=0.2), 5)
